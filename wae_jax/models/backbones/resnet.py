"""ResNet trunks (He et al. 2016)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.models.backbones.sizes import Ranks, Widths
from wae_jax.models.layers import BATCH_NORM_EPSILON, BatchNorm
from wae_jax.models.low_rank import conv_layer
from wae_jax.models.pooling import max_pool
from wae_jax.models.resize import halve

BLOCKS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
    "resnet152": ("bottleneck", (3, 8, 36, 3)),
}

# Sizes of a block's kernels, by its kind.
_KERNELS = {"basic": (3, 3), "bottleneck": (1, 3, 1)}
_EXPANSION = {"basic": 1, "bottleneck": 4}


def resnet_convs(kind: str, blocks: tuple[int, ...]) -> dict[str, int]:
    """Sizes of the kernels in the blocks, by the conv's name as "stage1_block1/conv1"."""
    sizes: dict[str, int] = {}
    for s, count in enumerate(blocks, start=1):
        for b in range(1, count + 1):
            block = f"stage{s}_block{b}"
            sizes |= {f"{block}/conv{i}": k for i, k in enumerate(_KERNELS[kind], start=1)}
            if b == 1 and (s > 1 or kind == "bottleneck"):
                sizes[f"{block}/shortcut_conv"] = 1
    return sizes


def inner_convs(kind: str, blocks: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the convs that write to no residual stream: another number of filters is free."""
    last = f"conv{len(_KERNELS[kind])}"
    return tuple(
        name for name in resnet_convs(kind, blocks) if not name.endswith((last, "shortcut_conv"))
    )


def streams(kind: str, blocks: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the residual streams: what all blocks of a stage add to, and the stem's.

    Basic blocks of the first stage go on in the stem's channels.
    """
    stages = tuple(f"stage{s}" for s in range(1, len(blocks) + 1))
    return stages if kind == "basic" else ("stem", *stages)


class Block(nn.Module):
    """A residual block: two 3x3 convs ("basic"), or 1x1, 3x3, 1x1 with 4x expansion ("bottleneck").

    The shortcut is a strided 1x1 conv where the shape changes, else the identity. The last norm
    starts at scale 0, so that a new block starts as its shortcut (Goyal et al. 2017).
    ``widths`` and ``ranks`` are as in :class:`ResNet`, by the conv's name in the block;
    ``stream``: channels of what it adds to; ``shortcut``: whether that begins here, with a conv.
    """

    kind: str
    filters: int
    stream: int
    shortcut: bool
    widths: Widths
    ranks: Ranks
    stride: int
    stride_on: str  # the bottleneck's conv that has the stride: 3x3 or (first) 1x1
    folded: bool  # no norms, convs with biases
    norm_epsilon: float
    dtype: jnp.dtype
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def norm(x, name, **options):
            if self.folded:
                return x
            return BatchNorm(
                epsilon=self.norm_epsilon,
                dtype=self.dtype,
                axis_name=self.axis_name,
                name=name,
                **options,
            )(x, train=train)

        def conv(features, size, stride, name):
            # Explicit padding: "SAME" would pad a strided conv on one side only.
            return conv_layer(
                dict(self.widths).get(name, features),
                size,
                ranks=dict(self.ranks).get(name),
                strides=stride,
                use_bias=self.folded,
                dtype=self.dtype,
                name=name,
            )

        if self.kind == "basic":
            plan = [(self.filters, 3, self.stride), (self.stream, 3, 1)]
        else:
            first, second = (self.stride, 1) if self.stride_on == "1x1" else (1, self.stride)
            plan = [(self.filters, 1, first), (self.filters, 3, second), (self.stream, 1, 1)]
        y = x
        for i, (features, size, stride) in enumerate(plan, start=1):
            last = i == len(plan)
            y = conv(features, size, stride, f"conv{i}")(y)
            y = norm(y, f"norm{i}", zero_scale=last)
            if not last:
                y = nn.relu(y)
        if self.shortcut:
            x = conv(y.shape[-1], 1, self.stride, "shortcut_conv")(x)
            x = norm(x, "shortcut_norm")
        return nn.relu(x + y)


def _ceil_padding(side: int) -> int:
    """Pixels after the last that complete the windows of a 3x3 pool with stride 2."""
    return 3 - side if side < 3 else (side - 3) % 2


class ResNet(nn.Module):
    """Features (B, h, w, C) of images (B, H, W, 3 or any).

    Blocks are named ``stage{s}_block{b}``, counted from 1.

    Attributes:
        kind: of the blocks, see :class:`Block`.
        blocks: how many in each stage.
        width: factor on every layer's filters.
        widths: filters of convs within blocks that have another number, and channels of
            :func:`streams`.
        ranks: of convs that are products of smaller ones, see :mod:`wae_jax.models.low_rank`.
        stem: "imagenet" (7x7 stride 2, 3x3 max-pool stride 2) or "small" (3x3 stride 1, no pool).
        stem_pool: "pad" (one pixel on each side, sizes round down) or "ceil" (none, they round up).
        stride_on: which conv of a bottleneck has its stride, "3x3" (torchvision, timm) or "1x1"
            (He et al., Caffe, Keras).
        halve_after_stem: what the stem makes, its pool included, is averaged over 2x2 pixels.
        folded: no norms, convs with biases (inference form).
        slice_pool: how the pool is computed, see :func:`wae_jax.models.pooling.max_pool`.
        rematerialise: the gradients keep the blocks' inputs alone, and compute the rest again.
    """

    kind: str
    blocks: tuple[int, ...]
    width: float = 1.0
    widths: Widths = ()
    ranks: Ranks = ()
    stem: str = "imagenet"
    stem_pool: str = "pad"
    stride_on: str = "3x3"
    halve_after_stem: bool = False
    norm_epsilon: float = BATCH_NORM_EPSILON
    folded: bool = False
    slice_pool: bool | None = None
    rematerialise: bool = False
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        base = max(1, round(64 * self.width))
        widths = dict(self.widths)
        size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = nn.Conv(
            widths.get(streams(self.kind, self.blocks)[0], base),
            (size, size),
            strides=stride,
            padding=size // 2,
            use_bias=self.folded,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name="stem_conv",
        )(x)
        if not self.folded:
            x = BatchNorm(
                epsilon=self.norm_epsilon,
                dtype=self.dtype,
                axis_name=self.axis_name,
                name="stem_norm",
            )(x, train=train)
        x = nn.relu(x)
        if self.stem == "imagenet":
            height, width = (
                (1, 1) if self.stem_pool == "pad" else (0, _ceil_padding(side))
                for side in x.shape[1:3]
            )
            x = max_pool(x, 3, padding=(height, width), slices=self.slice_pool)
        if self.halve_after_stem:
            x = halve(x)

        def apply(block, x):
            return block(x, train=train)

        apply = nn.remat(apply) if self.rematerialise else apply
        for s, count in enumerate(self.blocks):
            for b in range(count):
                stride = 2 if s > 0 and b == 0 else 1
                name = f"stage{s + 1}_block{b + 1}"
                block = Block(
                    kind=self.kind,
                    filters=base * 2**s,
                    stream=widths.get(f"stage{s + 1}", base * 2**s * _EXPANSION[self.kind]),
                    shortcut=b == 0 and (s > 0 or self.kind == "bottleneck"),
                    widths=_of_block(name, self.widths),
                    ranks=_of_block(name, self.ranks),
                    stride=stride,
                    stride_on=self.stride_on,
                    norm_epsilon=self.norm_epsilon,
                    folded=self.folded,
                    dtype=self.dtype,
                    axis_name=self.axis_name,
                    name=name,
                )
                x = apply(block, x)
        return x


def _of_block(block: str, values: tuple) -> tuple:
    start = f"{block}/"
    return tuple((name.removeprefix(start), v) for name, v in values if name.startswith(start))
