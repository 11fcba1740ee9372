"""Layers that are written for speed compute what flax's and the definition do."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.models.layers import BatchNorm, Conv, channel_sums, normalise_batch


def random(*shape, seed=0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (11, 4)], ids=str)
def test_channel_sums(shape):
    x = random(*shape)
    expected = np.asarray(x, np.float64).reshape(-1, shape[-1]).sum(0)
    np.testing.assert_allclose(channel_sums(x), expected, rtol=1e-5, atol=1e-5)
    traced = jax.jit(channel_sums).trace(x)
    for platform in ("cpu", "cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("dot_general" in text) == (platform == "cpu")


def test_sums_of_many_positions_stay_exact():
    x = 100.0 + random(16, 56, 56, 8)
    expected = np.asarray(x, np.float64).mean((0, 1, 2))
    mean, variance = normalise_batch(x, jnp.ones(8), jnp.zeros(8), None)[1:]
    np.testing.assert_allclose(mean, expected, rtol=2e-6)
    # The squares are about 10,000: float32 keeps their mean to some 1e-3.
    np.testing.assert_allclose(variance, np.asarray(x, np.float64).var((0, 1, 2)), rtol=1e-2)


def test_batch_norm_and_its_gradient_are_flaxs():
    x, cotangent = random(4, 6, 5, 3) * 2 + 1, random(4, 6, 5, 3, seed=1)
    variables = BatchNorm().init(jax.random.key(0), x, train=True)
    params = jax.tree.map(lambda p: p + random(3, seed=2), variables["params"])

    def value(module, options):
        def apply(params, x):
            return module.apply(
                {**variables, "params": params}, x, mutable=["batch_stats"], **options
            )

        y, transpose, updated = jax.vjp(apply, params, x, has_aux=True)
        return y, transpose(cotangent), updated

    own = value(BatchNorm(), {"train": True})
    flax = value(nn.BatchNorm(momentum=0.9), {"use_running_average": False})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), own, flax)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_1x1_conv_and_its_gradient_are_flaxs(stride, dtype):
    x = random(2, 7, 8, 5)
    options = {"features": 4, "kernel_size": (1, 1), "strides": stride, "padding": 0}
    modules = [kind(dtype=dtype, **options) for kind in (Conv, nn.Conv)]
    variables = modules[0].init(jax.random.key(0), x)

    def loss(module):
        return jax.value_and_grad(
            lambda v, x: jnp.sum(jnp.sin(module.apply(v, x).astype(jnp.float32))), argnums=(0, 1)
        )(variables, x)

    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        *map(loss, modules),
    )
    text = jax.jit(modules[0].apply).lower(variables, x).as_text()
    assert "convolution" not in text and "dot_general" in text
