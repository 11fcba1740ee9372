"""The auto-encoder's inference form when its trunk is linear: one strided convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.models.frontends.base import SubImages
from wae_jax.models.frontends.wae import SUB_IMAGE_CHANNELS, reflect
from wae_jax.models.layers import depth_to_space, space_to_depth

# The conv makes 2 x 2 pixels of both sub-images at once: 24 channels instead of 6 fill the CPU's
# vectors, and space-to-depth feeds it 48 instead of 3. Measured on CPU at 224 pixels (kernel 10):
# 1.2 ms against 2.5 at batch 1, and 0.6 ms an image against 1.9 at batch 8, although its kernel has
# zeros where a pixel's window ends before its block's.
TILE = 2


class FoldedEncoder(nn.Module):
    """Image -> both sub-images, normalised, by one convolution (B, H, W, 3) -> (B, h, w, 6).

    kernel: its side in pixels; reach: how far the image is mirrored beyond its borders.
    The conv's weights are made by :mod:`wae_jax.inference.fold` with :func:`tile_kernel`.
    """

    kernel: int
    reach: int
    levels: int
    dtype: jnp.dtype = jnp.float32
    can_synthesize = False

    @nn.compact
    def analyze(self, images: jax.Array, *, train: bool) -> SubImages:
        """(B, H, W, 3) -> normalised low and high, (B, ceil(H/2), ceil(W/2), 3)."""
        del train
        stride = 2**self.levels
        step, size = tile_geometry(self.kernel, stride)
        x = reflect(images, self.reach, stride)
        height, width = ((side - self.kernel) // stride + 1 for side in x.shape[1:3])
        # Beyond the last window: read by zero taps, or for sub-image pixels that are cut off below.
        rows, columns = (step * (-(-n // TILE) - 1) + size for n in (height, width))
        x = jnp.pad(
            x, ((0, 0), (0, max(0, rows - x.shape[1])), (0, max(0, columns - x.shape[2])), (0, 0))
        )[:, :rows, :columns]
        tiles = nn.Conv(
            TILE**2 * 2 * SUB_IMAGE_CHANNELS,
            (size // step,) * 2,
            padding="VALID",
            dtype=self.dtype,
            name="to_both",
        )(space_to_depth(x, step))
        both = depth_to_space(tiles, TILE)[:, :height, :width]
        return SubImages(low=both[..., :SUB_IMAGE_CHANNELS], high=both[..., SUB_IMAGE_CHANNELS:])

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """Nothing to do: the normalisation is folded in."""
        del train
        return sub_images


def tile_geometry(kernel: int, stride: int) -> tuple[int, int]:
    """(pixels between tiles, side of a tile's window), the second a multiple of the first."""
    step = TILE * stride
    return step, -(-(kernel + (TILE - 1) * stride) // step) * step


def tile_kernel(kernel: np.ndarray, bias: np.ndarray, stride: int) -> dict[str, np.ndarray]:
    """The conv of :class:`FoldedEncoder` that equals a strided conv.

    kernel: (K, K, 3, C) at ``stride``; bias (C,).
    Returns "kernel" (k, k, 3 * step**2, TILE**2 * C) on space-to-depth input, and "bias".
    """
    side, _, channels, filters = kernel.shape
    step, size = tile_geometry(side, stride)
    tiled = np.zeros((size, size, channels, TILE, TILE, filters), kernel.dtype)
    for i in range(TILE):
        for j in range(TILE):
            top, left = i * stride, j * stride
            tiled[top : top + side, left : left + side, :, i, j] = kernel
    k = size // step
    tiled = tiled.reshape(k, step, k, step, channels, TILE**2 * filters)
    tiled = tiled.transpose(0, 2, 1, 3, 4, 5).reshape(k, k, step**2 * channels, -1)
    return {"kernel": tiled, "bias": np.tile(bias, TILE**2)}


def untile_kernel(tiled: np.ndarray, side: int, stride: int) -> np.ndarray:
    """Inverse of :func:`tile_kernel` for the kernel: (k, k, ..) -> (side, side, 3, C)."""
    step, size = tile_geometry(side, stride)
    k, filters = size // step, tiled.shape[-1] // TILE**2
    tiled = tiled.reshape(k, k, step, step, -1, TILE**2, filters)[..., 0, :]
    return tiled.transpose(0, 2, 1, 3, 4, 5).reshape(size, size, -1, filters)[:side, :side]
