"""A conv as a product of smaller ones, as decompositions of its kernel give them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.models.fast_conv import windows
from wae_jax.models.layers import Conv, channel_sums

# The factors by name, from the input side; the last one has the conv's bias.
REDUCE, CORE, VERTICAL, HORIZONTAL, EXPAND = "reduce", "core", "vertical", "horizontal", "expand"


_LECUN = nn.initializers.lecun_normal()  # flax's own


class LowRankConv(nn.Module):
    """(B, H, W, C) -> (B, h, w, features), as a conv of ``size`` padded by half of it.

    Attributes:
        ranks: (input, output) for Tucker-2 (Kim et al. 2016): a 1x1 conv, one of ``size`` and a 1x1
            conv; (rank,) for CP (Lebedev et al. 2015): a 1x1 conv, columns and rows by channel, and
            a 1x1 conv; where ``size`` is 1, two 1x1 convs. (0, columns, rows) for the 3-D
            decomposition of Zhang et al. 2016: convs of ``size`` x 1, 1 x ``size`` and a 1x1 conv.
    """

    features: int
    size: int
    ranks: tuple[int, ...]
    strides: int = 1
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def conv(features, size, name, strides=1, use_bias=False):
            return Conv(
                features,
                (size, size),
                strides=strides,
                padding=size // 2,
                use_bias=use_bias,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=name,
            )

        if len(self.ranks) == 3:
            _, columns, rows = self.ranks
            x = self._along(x, columns, VERTICAL, 0)
            x = self._along(x, rows, HORIZONTAL, 1)
            return conv(self.features, 1, EXPAND, use_bias=self.use_bias)(x)
        x = conv(self.ranks[0], 1, REDUCE, self.strides if self.size == 1 else 1)(x)
        if len(self.ranks) == 2:
            x = conv(self.ranks[1], self.size, CORE, self.strides)(x)
        elif self.size > 1:
            x = self._along(x, x.shape[-1], VERTICAL, 0, groups=x.shape[-1])
            x = self._along(x, x.shape[-1], HORIZONTAL, 1, groups=x.shape[-1])
        return conv(self.features, 1, EXPAND, use_bias=self.use_bias)(x)

    @nn.nowrap
    def _along(
        self, x: jax.Array, features: int, name: str, axis: int, groups: int = 1
    ) -> jax.Array:
        size, strides, padding = [1, 1], [1, 1], [(0, 0), (0, 0)]
        size[axis], strides[axis] = self.size, self.strides
        padding[axis] = (self.size // 2,) * 2
        return nn.Conv(
            features,
            size,
            strides=strides,
            padding=padding,
            feature_group_count=groups,
            conv_general_dilated=conv_by_channel if groups > 1 else None,
            use_bias=False,
            kernel_init=nn.initializers.he_normal() if groups == 1 else _LECUN,
            dtype=self.dtype,
            name=name,
        )(x)


def conv_by_channel(x: jax.Array, kernel: jax.Array, strides, padding, **options) -> jax.Array:
    """``lax.conv_general_dilated`` on NHWC with one filter (height, width, 1, C) for each channel.

    Where the program is lowered for CPU, a sum of slices: XLA's own takes hundreds of times as long
    there. ``options`` are those of the conv, whose inputs have no dilation.
    """
    strides, padding = tuple(strides), tuple(map(tuple, padding))
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _sum_of_slices(x, kernel, strides, padding),
        default=lambda x, kernel: jax.lax.conv_general_dilated(
            x, kernel, strides, padding, **options
        ),
    )


def _weighted_sum(x, kernel, strides, padding):
    parts = windows(x, kernel.shape[:2], strides, padding)
    factors = kernel.reshape(-1, kernel.shape[-1])
    return functools.reduce(jnp.add, map(jnp.multiply, parts, factors))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _sum_of_slices(x, kernel, strides, padding):
    return _weighted_sum(x, kernel, strides, padding)


def _sum_of_slices_forward(x, kernel, strides, padding):
    return _weighted_sum(x, kernel, strides, padding), (x, kernel)


def _sum_of_slices_backward(strides, padding, saved, dy):
    x, kernel = saved
    (dx,) = jax.vjp(lambda x: _weighted_sum(x, kernel, strides, padding), x)[1](dy)
    wide = dy.astype(jnp.float32)
    # As products with ones: XLA's reductions over positions are slow on CPU too.
    sums = [channel_sums(part * wide) for part in windows(x, kernel.shape[:2], strides, padding)]
    return dx, jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)


_sum_of_slices.defvjp(_sum_of_slices_forward, _sum_of_slices_backward)


def conv_layer(
    features: int, size: int, *, ranks: tuple[int, ...] | None, strides: int = 1, **options
) -> nn.Module:
    """A conv of ``size``, padded by half of it; a product of smaller ones where it has ranks."""
    if ranks:
        return LowRankConv(features, size, ranks, strides, **options)
    return Conv(
        features,
        (size, size),
        strides=strides,
        padding=size // 2,
        kernel_init=nn.initializers.he_normal(),
        **options,
    )
