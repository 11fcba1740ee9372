"""Convs computed in other ways give what XLA's conv gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.models import fast_conv


@pytest.fixture
def arrays():
    """Function: normal float32 arrays of some shapes."""
    rng = np.random.default_rng(0)
    return lambda *shapes: [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


@functools.partial(jax.jit, static_argnames=("stride", "padding"))
def conv(x, kernel, bias, *, stride=1, padding=1):
    return bias + jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


def close(found, expected):
    return (
        found.shape == expected.shape
        and jnp.abs(found - expected).max() <= 2e-6 * jnp.abs(expected).max()
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 3), (5, 4), (7, 7), (8, 13)])
@pytest.mark.parametrize("large", [False, True])
def test_winograd(size, large, arrays, monkeypatch):
    if large:
        monkeypatch.setattr(fast_conv, "_LARGE", 0)
    x, kernel, bias = arrays((3, *size, 6), (3, 3, 6, 5), (5,))
    weights = fast_conv.winograd_weights(kernel)
    found = jax.jit(lambda x, bias=None: fast_conv.winograd_conv(x, weights, bias))
    assert close(found(x, bias), conv(x, kernel, bias))
    assert close(found(x[:1]), conv(x[:1], kernel, 0.0))


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("size", [(1, 4), (7, 6)])
def test_weights_by_output(kernel_size, stride, size, arrays):
    k = kernel_size
    x, kernel, bias = arrays((2, *size, 3), (k, k, 3, 4), (4,))

    @jax.jit
    def found(x, kernel, bias):
        columns = fast_conv.patches(x, (k, k), stride, k // 2)
        return fast_conv.product(jnp.moveaxis(kernel, -1, 0).reshape(4, -1), columns, bias)

    assert close(found(x, kernel, bias), conv(x, kernel, bias, stride=stride, padding=k // 2))


def test_the_weights_stay_the_left_operand():
    """XLA must not swap the operands back: the order is what makes it fast."""
    weights, x = jnp.ones((512, 1024)), jnp.ones((8, 1024))
    text = jax.jit(lambda w, x: fast_conv.product(w, x, None)).lower(weights, x).compile()
    dots = [line for line in text.as_text().splitlines() if " dot(" in line]
    assert len(dots) == 1
    assert "f32[512,8]" in dots[0]
