import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.models.resize import area_resize, area_weights, halve

rng = np.random.default_rng(3)
# Periods of 3 and 7 old pixels, a whole factor, and one above the bound of the slices.
SIZES = [((24, 42), (16, 30)), ((48, 48), (12, 12)), ((45, 44), (23, 29))]


@pytest.mark.parametrize("old, new", SIZES)
def test_area_resize_is_opencvs(old, new):
    images = rng.integers(0, 256, (2, *old, 3)).astype(np.float32)
    found = jax.jit(area_resize, static_argnums=1)(images, new)
    expected = [cv2.resize(image, new[::-1], interpolation=cv2.INTER_AREA) for image in images]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_at_half_the_size_it_is_the_2x2_mean_bit_for_bit():
    x = jnp.asarray(rng.standard_normal((2, 10, 14, 3)), jnp.float32)
    np.testing.assert_array_equal(area_resize(x, (5, 7)), halve(x))
    np.testing.assert_array_equal(area_weights(10, 5), [[0.5, 0.5]])


def test_it_keeps_the_dtype_and_a_flat_image():
    x = jnp.full((1, 45, 44, 3), 1.25, jnp.bfloat16)
    for size in ((23, 29), (15, 22)):
        found = area_resize(x, size)
        assert found.dtype == jnp.bfloat16 and np.all(found == 1.25)


@pytest.mark.parametrize("old, new", [(224, 160), (224, 97), (7, 7), (9, 1)])
def test_every_old_pixel_counts_alike_and_every_new_one_is_a_mean(old, new):
    weights = area_weights(old, new)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(0), new / old, rtol=1e-5)


def test_its_gradient_spreads_over_the_area():
    gradient = jax.grad(lambda x: area_resize(x, (2, 2))[0, 0, 0, 0])(jnp.zeros((1, 3, 3, 1)))
    share = np.array([2, 1, 0]) / 3
    np.testing.assert_allclose(gradient[0, :, :, 0], np.outer(share, share), rtol=1e-6)
