"""VGG trunks (Simonyan and Zisserman 2015): 3x3 convs and 2x2 max-pools, without the FC part."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.errors import UserError
from wae_jax.models.backbones.sizes import Ranks, Widths
from wae_jax.models.layers import BATCH_NORM_EPSILON, BatchNorm
from wae_jax.models.low_rank import conv_layer
from wae_jax.models.pooling import max_pool
from wae_jax.models.resize import halve

PLANS = {
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def vgg_convs(plan: str) -> tuple[str, ...]:
    """Names of the convs of a plan, ``conv{block}_{i}``."""
    names, block, index = [], 1, 0
    for item in plan.split():
        block, index = (block + 1, 0) if item == "M" else (block, index + 1)
        if index:
            names.append(f"conv{block}_{index}")
    return tuple(names)


class VGG(nn.Module):
    """Features (B, h, w, C) of images (B, H, W, 3 or any).

    Attributes:
        plan: conv widths and "M" for a pool, separated by blanks. Convs are named
            ``conv{block}_{i}``.
        width: factor on every conv's filters.
        widths: filters of convs that have another number.
        ranks: of convs that are products of smaller ones, see :mod:`wae_jax.models.low_rank`.
        round_up: pools round odd sizes up, as in Caffe and the released network.
        slice_pool: how pools are computed, see :func:`wae_jax.models.pooling.max_pool`.
        halve_after_stem: the first conv's features are averaged over 2x2 pixels.
        rematerialise: the gradients keep the inputs of blocks (convs and their pool) alone, and
            compute the rest again.
    """

    plan: str
    width: float = 1.0
    widths: Widths = ()
    ranks: Ranks = ()
    batch_norm: bool = False
    round_up: bool = False
    halve_after_stem: bool = False
    slice_pool: bool | None = None
    rematerialise: bool = False
    norm_epsilon: float = BATCH_NORM_EPSILON
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        blocks = self.plan.split("M")
        for number, convs in enumerate(blocks, start=1):

            def block(module, x, number=number, convs=convs):
                x = module._convs(x, number, convs.split(), train=train)
                return x if number == len(blocks) else module._pool(x)

            # Without convs there is nothing to compute again.
            remat = self.rematerialise and convs.strip()
            x = (nn.remat(block) if remat else block)(self, x)
            if 0 in x.shape:
                raise UserError(
                    f"the image is too small for this VGG: nothing is left after {number} pools"
                )
        return x

    @nn.nowrap
    def _convs(self, x: jax.Array, block: int, items: list[str], *, train: bool) -> jax.Array:
        """The convs of a block, counted from 1; items: their widths in the plan."""
        widths, ranks, stem = dict(self.widths), dict(self.ranks), vgg_convs(self.plan)[0]
        for index, item in enumerate(items, start=1):
            name = f"conv{block}_{index}"
            x = conv_layer(
                widths.get(name, max(1, round(int(item) * self.width))),
                3,
                ranks=ranks.get(name),
                dtype=self.dtype,
                use_bias=not self.batch_norm,
                name=name,
            )(x)
            if self.batch_norm:
                x = BatchNorm(
                    epsilon=self.norm_epsilon,
                    dtype=self.dtype,
                    axis_name=self.axis_name,
                    name=name.replace("conv", "norm"),
                )(x, train=train)
            x = nn.relu(x)
            if self.halve_after_stem and name == stem:
                x = halve(x)
        return x

    @nn.nowrap
    def _pool(self, x: jax.Array) -> jax.Array:
        height, width = ((0, side % 2 if self.round_up else 0) for side in x.shape[1:3])
        return max_pool(x, 2, padding=(height, width), slices=self.slice_pool)
