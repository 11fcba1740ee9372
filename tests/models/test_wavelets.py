import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt
from jax.test_util import check_grads

from wae_jax.models.wavelets import Bands, analyze, analyze_levels, synthesize, synthesize_levels

WAVELETS = ("cdf97", "haar")
PYWT = {"cdf97": "bior4.4", "haar": "haar"}
# Each size from 2 to 65 once, a third of them (odd by even, even by odd) in the default suite; then
# small squares.
SHAPES = [
    pytest.param((n, 67 - n), marks=pytest.mark.slow if n % 3 != 2 else ()) for n in range(2, 34)
]
SHAPES += [(n, n) for n in (2, 3, 4, 5)]
TWO_LEVEL_SHAPES = [(3, 3), (3, 4), (4, 5), (5, 6), (7, 9), (8, 8), (31, 34), (33, 65), (64, 32)]

jit_analyze = jax.jit(analyze, static_argnames="wavelet")


def images(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@functools.partial(
    jax.jit,
    static_argnames=("wavelet", "levels"),
    compiler_options={"xla_backend_optimization_level": 0},  # compiling is what takes time here
)
def round_trip(x, wavelet, levels):
    shape_hw = x.shape[1:3]
    if levels == 1:
        return synthesize(analyze(x, wavelet), shape_hw, wavelet)
    return synthesize_levels(analyze_levels(x, wavelet, levels), shape_hw, wavelet)


def check_reconstruction(shape_hw, wavelet, levels):
    x = images(2, *shape_hw, 3)
    np.testing.assert_allclose(round_trip(x, wavelet, levels), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("shape_hw", SHAPES, ids="{0[0]}x{0[1]}".format)
def test_perfect_reconstruction(shape_hw, wavelet):
    check_reconstruction(shape_hw, wavelet, levels=1)


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("shape_hw", TWO_LEVEL_SHAPES, ids="{0[0]}x{0[1]}".format)
def test_perfect_reconstruction_from_two_levels(shape_hw, wavelet):
    check_reconstruction(shape_hw, wavelet, levels=2)


@pytest.mark.slow
@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("size", range(2, 66))
def test_perfect_reconstruction_of_every_size(size, wavelet):
    check_reconstruction((size, size), wavelet, levels=1)
    if size > 2:  # the second level needs 2x2 too
        check_reconstruction((size, size), wavelet, levels=2)
        check_reconstruction((size, 68 - size), wavelet, levels=2)


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("shape_hw", [(32, 48), (33, 47), (32, 47), (33, 48)])
def test_equals_pywavelets_on_the_interior(shape_hw, wavelet):
    x = images(2, *shape_hw, 3)
    approx, details = pywt.dwt2(x, PYWT[wavelet], "symmetric", axes=(1, 2))
    bands = jit_analyze(x, wavelet)
    height, width = bands.approx.shape[1:3]
    assert (height, width) == (-(-shape_hw[0] // 2), -(-shape_hw[1] // 2))
    lead, border = {"cdf97": (2, 3), "haar": (0, 0)}[wavelet]  # haar: equal at the border too
    for name, ours, theirs in zip(Bands._fields, bands, (approx, *details), strict=True):
        theirs = theirs[:, lead : lead + height, lead : lead + width]
        inside = np.s_[:, border : height - border, border : width - border]
        np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-5, err_msg=name)


def test_two_levels_equal_pywavelets_on_the_interior():
    x = images(1, 64, 64, 1)
    fine, coarse = jax.jit(lambda x: analyze_levels(x, "cdf97", 2))(x)
    assert fine.approx is None
    theirs = pywt.wavedec2(x, "bior4.4", "symmetric", level=2, axes=(1, 2))
    for ours, full in zip(coarse, (theirs[0], *theirs[1]), strict=True):
        # Two rows are theirs alone, plus the one row that level-1 padding adds.
        np.testing.assert_allclose(ours[:, 4:12, 4:12], full[:, 7:15, 7:15], atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
def test_cdf97_mirrors_about_the_edge_sample(axis):
    x = np.moveaxis(images(1, 32, 8, 1), 1, axis)
    mirrored = jnp.pad(x, [(0, 0) if i != axis else (8, 8) for i in range(4)], mode="reflect")
    for ours, longer in zip(jit_analyze(x, "cdf97"), jit_analyze(mirrored, "cdf97"), strict=True):
        expected = jnp.moveaxis(longer, axis, 0)[4:20]
        np.testing.assert_allclose(jnp.moveaxis(ours, axis, 0), expected, atol=1e-5)


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("shape_hw", [(2, 2), (7, 8), (9, 5)])
def test_constant_images_have_no_details(shape_hw, wavelet):
    bands = jit_analyze(jnp.ones((1, *shape_hw, 1)), wavelet)
    np.testing.assert_allclose(bands.approx, 2, atol=1e-6)
    for detail in bands[1:]:
        np.testing.assert_allclose(detail, 0, atol=1e-6)


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_channels_and_images_are_independent(wavelet):
    x = images(2, 9, 8, 5)
    whole = jit_analyze(x, wavelet)
    part = jit_analyze(x[1:, :, :, 3:4], wavelet)
    for all_bands, one_band in zip(whole, part, strict=True):
        np.testing.assert_allclose(all_bands[1:, :, :, 3:4], one_band, atol=1e-6)


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_bfloat16_is_computed_in_float32(wavelet):
    x = jnp.asarray(images(1, 9, 12, 3), jnp.bfloat16)
    bands = jit_analyze(x, wavelet)
    for narrow, wide in zip(bands, jit_analyze(x.astype(jnp.float32), wavelet), strict=True):
        assert narrow.dtype == jnp.bfloat16
        np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))
    restored = synthesize(bands, (9, 12), wavelet)
    assert restored.dtype == jnp.bfloat16
    np.testing.assert_allclose(restored.astype(jnp.float32), x.astype(jnp.float32), atol=0.05)


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_gradients(wavelet):
    x = images(1, 6, 5, 2)
    forward = jax.jit(lambda x: analyze(x, wavelet))
    inverse = jax.jit(lambda bands: synthesize(bands, (6, 5), wavelet))
    for function, argument in ((forward, x), (inverse, forward(x))):
        check_grads(function, (argument,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_clear_errors():
    x = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(ValueError, match=r"unknown wavelet 'db4'; known: cdf97, haar"):
        analyze(x, "db4")
    with pytest.raises(ValueError, match="H and W at least 2"):
        analyze(x[:, :1], "haar")
    with pytest.raises(ValueError, match=r"\(B, H, W, C\)"):
        analyze(x[0], "haar")
    with pytest.raises(TypeError, match="floating point, got uint8"):
        analyze(x.astype(jnp.uint8), "haar")
    with pytest.raises(ValueError, match="levels must be at least 1"):
        analyze_levels(x, "haar", 0)
    with pytest.raises(ValueError, match="H and W at least 2"):
        analyze_levels(x[:, :4], "haar", 3)


def test_clear_errors_of_synthesis():
    bands = analyze(jnp.zeros((1, 8, 8, 3)), "haar")
    with pytest.raises(ValueError, match="unknown wavelet"):
        synthesize(bands, (8, 8), "db4")
    with pytest.raises(ValueError, match=r"10x8 image must be \(B, 5, 4, C\)"):
        synthesize(bands, (10, 8), "haar")
    with pytest.raises(ValueError, match="every band"):
        synthesize(bands._replace(approx=None), (8, 8), "haar")
    with pytest.raises(ValueError, match="every band"):
        synthesize(bands._replace(diagonal=bands.diagonal[..., :1]), (8, 8), "haar")
    with pytest.raises(ValueError, match="at least 2x2"):
        synthesize(bands, (1, 8), "haar")
    with pytest.raises(ValueError, match="no levels"):
        synthesize_levels([], (8, 8), "haar")
