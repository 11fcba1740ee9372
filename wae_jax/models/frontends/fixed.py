"""Front ends without parameters: the two baselines and the fixed wavelets."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.models import wavelets
from wae_jax.models.frontends.base import SubImages
from wae_jax.models.layers import depth_to_space, space_to_depth


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
    """The image at 1/2**levels of its side: the plain low-resolution baseline.

    Each level is the mean of 2x2 pixels, the box filter: antialiased, and what an area resize by
    a whole factor does. An odd last row or column is averaged alone, so sizes round up.
    """

    levels: int = 1
    can_synthesize = False

    def analyze(self, images: jax.Array, *, train: bool) -> SubImages:
        """(B, H, W, 3) -> low (B, ceil(H/2**levels), ceil(W/2**levels), 3), no high."""
        del train
        for _ in range(self.levels):
            height, width = images.shape[1:3]
            pad = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
            x = jnp.pad(images, pad, mode="edge") if height % 2 or width % 2 else images
            rows = x[:, 0::2] + x[:, 1::2]
            images = (rows[:, :, 0::2] + rows[:, :, 1::2]) * 0.25
        return SubImages(low=images)

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """Nothing to do."""
        del train
        return sub_images


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
