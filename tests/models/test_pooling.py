"""Max-pooling as slices is flax's, in values and gradients."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.models.pooling import max_pool

NONE = ((0, 0), (0, 0))


def random(*shape) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@pytest.mark.parametrize(
    "size", [(4, 4), (5, 4), (4, 7), (5, 5), (3, 3)], ids="{0[0]}x{0[1]}".format
)
@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize(
    "padding", [NONE, ((0, 1), (0, 1)), ((1, 1), (1, 1))], ids=["none", "end", "around"]
)
def test_it_agrees_with_flax(size, window, padding):
    x = random(2, *size, 4) - 10  # all negative: padding with zeros would show

    def flax(x):
        return nn.max_pool(x, window_shape=(window,) * 2, strides=(2, 2), padding=padding)

    def own(slices):
        return lambda x: max_pool(x, window, padding=padding, slices=slices)

    def value_and_gradient(function, x):
        y, transpose = jax.vjp(function, x)
        return y, transpose(random(*y.shape))[0]

    functions = (flax, own(None), own(True), own(False))
    compiled = jax.jit(lambda x: [value_and_gradient(function, x) for function in functions])
    (expected, gradient), *others = compiled(x)
    for found, own_gradient in others:
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(own_gradient, gradient, rtol=1e-6)


@pytest.mark.parametrize("window", [2, 3])
def test_the_first_of_equal_maxima_gets_the_gradient(window):
    x = jax.random.randint(jax.random.key(1), (1, 9, 9, 3), 0, 2).astype(jnp.float32)
    gradients = [
        jax.grad(lambda x, s=slices: jnp.sum(max_pool(x, window, slices=s) * 3.0))(x)
        for slices in (True, False)
    ]
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("slices", [None, True, False])
def test_nothing_is_left_of_too_small_an_image(slices):
    assert max_pool(random(2, 1, 3, 4), 2, slices=slices).shape == (2, 0, 1, 4)


def test_it_is_chosen_where_an_exported_program_runs():
    x = random(2, 5, 6, 4)
    function = jax.jit(lambda x: max_pool(x, 3))
    exported = jax.export.export(function, platforms=("cpu", "cuda"))(x)
    np.testing.assert_array_equal(exported.call(x), function(x))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("gradient", [False, True])
def test_it_is_chosen_by_the_platform_it_is_lowered_for(gradient, platform):
    def pooled(x):
        return max_pool(x, 2, padding=((0, 1), (0, 0))).sum()

    function = jax.jit(jax.value_and_grad(pooled) if gradient else pooled)
    traced = function.trace(random(2, 5, 6, 4))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("reduce_window" in text) == (platform != "cpu")
    assert bool(re.search(r"slice .*:\d+:2", text)) == (platform == "cpu")
