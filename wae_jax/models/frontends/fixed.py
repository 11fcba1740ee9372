"""Front ends without parameters: the two baselines, pixels as channels, and fixed wavelets."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.errors import UserError
from wae_jax.models import wavelets
from wae_jax.models.frontends.base import SubImages
from wae_jax.models.layers import depth_to_space, space_to_depth
from wae_jax.models.resize import area_resize, halve


class Identity(nn.Module):
    """The image itself: the full-resolution baseline."""

    can_synthesize = False

    def analyze(self, images: jax.Array, *, train: bool) -> SubImages:
        """(B, H, W, 3) -> low (B, H, W, 3), no high."""
        del train
        return SubImages(low=images)

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """Nothing to do."""
        del train
        return sub_images


class Downsample(nn.Module):
    """A smaller image: the plain low-resolution baseline, antialiased by the box filter.

    Without ``size`` each level is the mean of 2x2 pixels; an odd last row or column is averaged
    alone, so sizes round up.

    Attributes:
        levels: halvings of the side, where ``size`` is 0.
        size: pixels that the image's shorter side gets, by an area resize.
    """

    levels: int = 1
    size: int = 0
    can_synthesize = False

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the low sub-image, in pixels.

        Raises:
            UserError: ``size`` does not make the image smaller.
        """
        if not self.size:
            return -(-height // 2**self.levels), -(-width // 2**self.levels)
        shorter = min(height, width)
        if self.size >= shorter:
            raise UserError(
                f"config.model.frontend.size is {self.size}; it must be smaller than the image, "
                f"{shorter} pixels"
            )
        return round(height * self.size / shorter), round(width * self.size / shorter)

    def analyze(self, images: jax.Array, *, train: bool) -> SubImages:
        """(B, H, W, 3) -> low (B, h, w, 3), see :meth:`output_size`; no high."""
        del train
        if self.size:
            return SubImages(low=area_resize(images, self.output_size(*images.shape[1:3])))
        return SubImages(low=_halvings(images, self.levels))

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """Nothing to do."""
        del train
        return sub_images


def _halvings(images: jax.Array, levels: int) -> jax.Array:
    for _ in range(levels):
        images = halve(images)
    return images


class SpaceToDepth(nn.Module):
    """All pixels of a block as channels: their mean to the low branch, the rest to the high one.

    low is what :class:`Downsample` makes; high holds every pixel of a block but the last, less the
    mean. The last follows from the others.

    Attributes:
        levels: blocks are 2**levels pixels wide.
    """

    levels: int = 1
    can_synthesize = True

    def analyze(self, images: jax.Array, *, train: bool) -> SubImages:
        """(B, H, W, 3) -> low (B, h, w, 3) and high (B, h, w, 9 or 45), h = ceil(H/2**levels)."""
        del train
        block = 2**self.levels
        pad = [(0, -side % block) for side in images.shape[1:3]]
        deep = space_to_depth(jnp.pad(images, ((0, 0), *pad, (0, 0)), mode="edge"), block)
        low = _halvings(images, self.levels)
        return SubImages(low=low, high=deep[..., :-3] - jnp.tile(low, block**2 - 1))

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """Nothing to do."""
        del train
        return sub_images

    def synthesize(self, sub_images: SubImages, size: tuple[int, int]) -> jax.Array:
        """The image itself, to rounding: (B, *size, 3)."""
        low, high = sub_images.low, sub_images.high
        assert high is not None  # it makes both sub-images
        others = 4**self.levels - 1
        # Differences from a mean add up to 0. (A block that was padded does not keep its last.)
        last = -high.reshape(*high.shape[:3], others, 3).sum(-2)
        deep = jnp.concatenate([high, last], -1) + jnp.tile(low, others + 1)
        return depth_to_space(deep, 2**self.levels)[:, : size[0], : size[1]]


class Wavelet(nn.Module):
    """A fixed wavelet: cA to the low branch, cH, cV, cD to the high one (paper, "Wavelet+CNN").

    cA is divided by 2**levels, which brings it to the image's own scale. With two levels the finer
    details are folded 2x2 to the coarser size: 9 + 36 channels.

    Attributes:
        kind: "cdf97" or "haar".
        levels: halvings of the side.
    """

    kind: str
    levels: int = 1
    can_synthesize = True

    def analyze(self, images: jax.Array, *, train: bool) -> SubImages:
        """(B, H, W, 3) -> low (B, h, w, 3) and high (B, h, w, 9 or 45), h = ceil(H/2**levels)."""
        del train
        pyramid = wavelets.analyze_levels(images, self.kind, self.levels)
        coarse = pyramid[-1]
        assert coarse.approx is not None  # the coarsest level keeps it
        details = []
        for level, bands in enumerate(reversed(pyramid)):
            band = jnp.concatenate(bands[1:], axis=-1)
            if level:
                size = [2**level * side for side in coarse.approx.shape[1:3]]
                pad = [(0, size[0] - band.shape[1]), (0, size[1] - band.shape[2])]
                band = space_to_depth(jnp.pad(band, ((0, 0), *pad, (0, 0))), 2**level)
            details.append(band)
        return SubImages(
            low=coarse.approx * 0.5**self.levels, high=jnp.concatenate(details, axis=-1)
        )

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """Nothing to do."""
        del train
        return sub_images

    def synthesize(self, sub_images: SubImages, size: tuple[int, int]) -> jax.Array:
        """The image itself, to rounding: (B, *size, 3)."""
        sizes = [size]
        for _ in range(self.levels):
            height, width = sizes[-1]
            sizes.append((-(-height // 2), -(-width // 2)))
        pyramid, rest = [], sub_images.high
        assert rest is not None  # a wavelet makes both sub-images
        for level in range(self.levels):
            count = 9 * 4**level
            band, rest = rest[..., :count], rest[..., count:]
            height, width = sizes[self.levels - level]
            band = depth_to_space(band, 2**level)[:, :height, :width]
            approx = sub_images.low * 2.0**self.levels if level == 0 else None
            pyramid.append(wavelets.Bands(approx, *jnp.split(band, 3, axis=-1)))
        return wavelets.synthesize_levels(pyramid[::-1], size, self.kind)
