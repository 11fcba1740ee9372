"""Convs by channel, which CP decompositions have."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.bench.macs import count_macs
from wae_jax.models.low_rank import LowRankConv, conv_by_channel

OPTIONS = {"feature_group_count": 6, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("axis", [0, 1])
def test_by_channel_is_xlas_conv(side, stride, axis):
    rng = np.random.default_rng(0)
    size, strides, padding = [1, 1], [1, 1], [(0, 0), (0, 0)]
    size[axis], strides[axis], padding[axis] = 3, stride, (1, 1)
    x = jnp.asarray(rng.normal(size=(2, side, side + 2, 6)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*size, 1, 6)), jnp.float32)
    convs = [
        functools.partial(conv, strides=strides, padding=padding, **OPTIONS)
        for conv in (
            conv_by_channel,
            lambda x, kernel, strides, padding, **o: jax.lax.conv_general_dilated(
                x, kernel, strides, padding, **o
            ),
        )
    ]
    ours, xlas = (
        jax.value_and_grad(lambda x, kernel, conv=conv: jnp.square(conv(x, kernel)).sum(), (0, 1))(
            x, kernel
        )
        for conv in convs
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-4), ours, xlas)
    half = [conv(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)) for conv in convs]
    assert half[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(*(y.astype(np.float32) for y in half), rtol=0.05, atol=0.1)


def test_a_cpu_gets_no_grouped_conv_and_all_count_its_products():
    layer = LowRankConv(8, 3, (4,))
    x = jnp.zeros((2, 8, 8, 6))
    variables = layer.init(jax.random.key(0), x)
    traced = jax.jit(layer.apply).trace(variables, x)
    of_cpu, of_gpu = (
        traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda")
    )
    assert "convolution" not in of_cpu
    assert of_gpu.count("feature_group_count = 4") == 2
    positions = 2 * 8 * 8
    assert count_macs(layer.apply, variables, x).total == positions * (6 * 4 + 2 * 3 * 4 + 4 * 8)
