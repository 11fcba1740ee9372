"""Small layers that every network here shares.

Everything is NHWC. ``axis_name`` is the name of the device axis under ``jax.pmap``; it stays
None under ``jax.jit``, where a batch sharded over a mesh is still one global batch.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.models.fast_conv import WINOGRAD_PRODUCTS, conv, patches, product, winograd_conv

# Names of parameters that stand in place of a "kernel".
BY_OUTPUT = "by_output"
WINOGRAD = tuple(f"winograd_{i}" for i in range(WINOGRAD_PRODUCTS))


class Dense(nn.Dense):
    """flax's Dense that also takes its weights as ``by_output`` (out, in), in inference on CPU."""

    def __call__(self, x: jax.Array) -> jax.Array:
        if not self.has_variable("params", BY_OUTPUT):
            return super().__call__(x)
        return product(
            self.get_variable("params", BY_OUTPUT), x, self.get_variable("params", "bias")
        )


class Conv(nn.Conv):
    """flax's Conv, square and padded by half its size, that also takes its weights in other forms.

    In inference on CPU they may be ``by_output`` (out, height, width, in) or, for a 3x3 conv with
    stride 1, ``winograd_0`` .. ``winograd_15``, see :mod:`wae_jax.models.fast_conv`.
    """

    strides: int = 1
    conv_general_dilated: Callable = conv

    def __call__(self, x: jax.Array) -> jax.Array:
        bias: jax.Array | None = self.get_variable("params", "bias")
        if self.has_variable("params", BY_OUTPUT):
            weights: jax.Array = self.get_variable("params", BY_OUTPUT)
            size = weights.shape[1], weights.shape[2]
            return product(
                weights.reshape(weights.shape[0], -1),
                patches(x, size, self.strides, size[0] // 2),
                bias,
            )
        if self.has_variable("params", WINOGRAD[0]):
            factors: list[jax.Array] = [self.get_variable("params", name) for name in WINOGRAD]
            return winograd_conv(x, factors, bias)
        return super().__call__(x)


def space_to_depth(x: jax.Array, block: int) -> jax.Array:
    """(B, H, W, C) -> (B, H/block, W/block, block*block*C); channel order (row, column, C)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // block, block, w // block, block, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // block, w // block, block * block * c)


def depth_to_space(x: jax.Array, block: int) -> jax.Array:
    """Inverse of :func:`space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, block, block, c // (block * block))
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * block, w * block, -1)


BATCH_NORM_EPSILON = 1e-5
_BATCH_NORM_MOMENTUM = 0.9


def channel_sums(x: jax.Array) -> jax.Array:
    """Sums (C,) of float32 (..., C) over all axes but the last.

    On CPU as a product with ones: XLA's reductions over leading axes take 3 to 15 times as long
    there and use one core.
    """
    return jax.lax.platform_dependent(
        x.reshape(-1, x.shape[-1]), cpu=_sums_by_product, default=lambda x: x.sum(0)
    )


def _sums_by_product(x: jax.Array) -> jax.Array:
    count, channels = x.shape
    # Rows side by side: wider products are faster, and shorter sums more exact.
    side = math.gcd(count, 64)
    rows = x.reshape(-1, side * channels)
    return (jnp.ones((1, len(rows)), x.dtype) @ rows).reshape(side, channels).sum(0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def normalise_batch(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    axis_name: str | None,
    epsilon: float = BATCH_NORM_EPSILON,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch normalisation of (..., C) with scale and bias (C,): (y, mean, variance).

    Statistics are float32, over all axes but the last and over ``axis_name``'s devices; no
    gradient flows through the returned ones. The gradient is written out because it then needs one
    pass over x and dy; derived through mean and variance it takes several, which are a tenth of a
    training step on CPU.
    """
    return _normalise_batch_forward(x, scale, bias, axis_name, epsilon)[0]


def _normalise_batch_forward(x, scale, bias, axis_name, epsilon):
    wide = x.astype(jnp.float32)
    count = x.size // x.shape[-1]
    mean, square = channel_sums(wide) / count, channel_sums(jnp.square(wide)) / count
    if axis_name is not None:
        mean, square = jax.lax.pmean((mean, square), axis_name)
    variance = jnp.maximum(square - jnp.square(mean), 0.0)
    rsqrt = jax.lax.rsqrt(variance + epsilon)
    y = (wide * (scale * rsqrt) + (bias - mean * scale * rsqrt)).astype(x.dtype)
    return (y, mean, variance), (x, scale, mean, rsqrt)


def _normalise_batch_backward(axis_name, epsilon, saved, cotangents):
    del epsilon
    x, scale, mean, rsqrt = saved
    wide, dy = x.astype(jnp.float32), cotangents[0].astype(jnp.float32)
    d_bias = channel_sums(dy)
    d_scale = (channel_sums(dy * wide) - mean * d_bias) * rsqrt
    count = x.size // x.shape[-1]
    sum_dy, sum_dy_x = d_bias, d_scale
    if axis_name is not None:
        sum_dy, sum_dy_x = jax.lax.psum((sum_dy, sum_dy_x), axis_name)
        count *= jax.lax.axis_size(axis_name)
    # dx = scale / std * (dy - mean(dy) - x_hat * mean(dy * x_hat)), as multiples of x and dy.
    slope = -scale * jnp.square(rsqrt) * sum_dy_x / count
    shift = -scale * rsqrt * sum_dy / count - slope * mean
    return (dy * (scale * rsqrt) + wide * slope + shift).astype(x.dtype), d_scale, d_bias


normalise_batch.defvjp(_normalise_batch_forward, _normalise_batch_backward)


class BatchNorm(nn.Module):
    """Batch normalisation with a running average of factor 0.9.

    Variables have flax's names: params ``scale``, ``bias`` (with ``affine``), batch_stats ``mean``,
    ``var``. ``zero_scale`` starts the scale at 0.
    """

    affine: bool = True
    zero_scale: bool = False
    epsilon: float = BATCH_NORM_EPSILON
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        var = self.variable("batch_stats", "var", jnp.ones, channels)
        scale, bias = jnp.ones(channels), jnp.zeros(channels)
        if self.affine:
            init = nn.initializers.zeros if self.zero_scale else nn.initializers.ones
            scale = self.param("scale", init, channels)
            bias = self.param("bias", nn.initializers.zeros, channels)
        x = x.astype(self.dtype)
        if not train:
            factor = scale * jax.lax.rsqrt(var.value + self.epsilon)
            y = x.astype(jnp.float32) * factor + (bias - mean.value * factor)
            return y.astype(self.dtype)
        y, batch_mean, batch_var = normalise_batch(x, scale, bias, self.axis_name, self.epsilon)
        keep = _BATCH_NORM_MOMENTUM
        mean.value = keep * mean.value + (1 - keep) * batch_mean
        var.value = keep * var.value + (1 - keep) * batch_var
        return y


class Dropout(nn.Module):
    """Dropout whose mask is that of the global batch, however the batch is split.

    Under ``jax.pmap`` every device draws the mask of the whole batch and takes its own rows, so
    that one device, a mesh and ``pmap`` train alike. The masks are of FC features: small.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not train or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        devices = 1 if self.axis_name is None else jax.lax.axis_size(self.axis_name)
        shape = (devices * x.shape[0], *x.shape[1:])
        mask = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
        if self.axis_name is not None:
            start = jax.lax.axis_index(self.axis_name) * x.shape[0]
            mask = jax.lax.dynamic_slice_in_dim(mask, start, x.shape[0])
        return jnp.where(mask, x / keep, 0).astype(x.dtype)
