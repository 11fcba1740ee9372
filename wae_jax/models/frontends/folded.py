"""The auto-encoder's inference form when its trunk is linear: one strided convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.models.frontends.base import SubImages
from wae_jax.models.frontends.wae import SUB_IMAGE_CHANNELS, reflect
from wae_jax.models.layers import depth_to_space, space_to_depth

# On CPU the conv makes 2 x 2 pixels of both sub-images at once: 24 channels instead of 6 fill its
# vectors, and space-to-depth feeds it 48 instead of 3. Measured at 224 pixels (kernel 10): 1.2 ms
# against 2.5 at batch 1, and 0.6 ms an image against 1.9 at batch 8, although its kernel has zeros
# where a pixel's window ends before its block's.
CPU_TILE = 2


class FoldedEncoder(nn.Module):
    """Image -> both sub-images, normalised, by one convolution (B, H, W, 3) -> (B, h, w, 3 + C_H).

    The conv's weights are made by :mod:`wae_jax.inference.fold`.

    Attributes:
        kernel: the conv's side in pixels.
        reach: how far the image is mirrored beyond its borders, in pixels.
        levels: halvings of the side.
        high_channels: of I_H.
        tile: 1 for a strided conv; above 1 the conv makes tile x tile pixels at once, with weights
            made by :func:`tile_kernel`.
    """

    kernel: int
    reach: int
    levels: int
    high_channels: int = SUB_IMAGE_CHANNELS
    tile: int = 1
    dtype: jnp.dtype = jnp.float32
    can_synthesize = False

    @nn.compact
    def analyze(self, images: jax.Array, *, train: bool) -> SubImages:
        """(B, H, W, 3) -> normalised low and high, (B, ceil(H/2), ceil(W/2), 3)."""
        del train
        stride = 2**self.levels
        x = reflect(images, self.reach, stride)
        if self.tile == 1:
            both = self._conv(SUB_IMAGE_CHANNELS + self.high_channels, self.kernel, stride)(x)
        else:
            both = self._tiled(x, stride)
        return SubImages(low=both[..., :SUB_IMAGE_CHANNELS], high=both[..., SUB_IMAGE_CHANNELS:])

    def _conv(self, channels: int, size: int, stride: int) -> nn.Conv:
        return nn.Conv(
            channels,
            (size, size),
            strides=stride,
            padding="VALID",
            dtype=self.dtype,
            name="to_both",
        )

    def _tiled(self, x: jax.Array, stride: int) -> jax.Array:
        step, size = tile_geometry(self.kernel, stride, self.tile)
        height, width = ((side - self.kernel) // stride + 1 for side in x.shape[1:3])
        # Beyond the last window: read by zero taps, or for sub-image pixels that are cut off below.
        rows, columns = (step * (-(-n // self.tile) - 1) + size for n in (height, width))
        x = jnp.pad(
            x, ((0, 0), (0, max(0, rows - x.shape[1])), (0, max(0, columns - x.shape[2])), (0, 0))
        )[:, :rows, :columns]
        conv = self._conv(self.tile**2 * (SUB_IMAGE_CHANNELS + self.high_channels), size // step, 1)
        return depth_to_space(conv(space_to_depth(x, step)), self.tile)[:, :height, :width]

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """Nothing to do: the normalisation is folded in."""
        del train
        return sub_images


def tile_geometry(kernel: int, stride: int, tile: int) -> tuple[int, int]:
    """(pixels between tiles, side of a tile's window), the second a multiple of the first."""
    step = tile * stride
    return step, -(-(kernel + (tile - 1) * stride) // step) * step


def tile_kernel(
    kernel: np.ndarray, bias: np.ndarray, stride: int, tile: int
) -> dict[str, np.ndarray]:
    """The weights with which a tiled :class:`FoldedEncoder` equals a strided conv.

    Args:
        kernel: (K, K, 3, C) at ``stride``.
        bias: (C,).
        stride: of the conv, in pixels.
        tile: side in pixels of what the new conv makes at once.

    Returns:
        "kernel" (k, k, 3 * step**2, tile**2 * C) on space-to-depth input, and "bias".
    """
    side, _, channels, filters = kernel.shape
    step, size = tile_geometry(side, stride, tile)
    tiled = np.zeros((size, size, channels, tile, tile, filters), kernel.dtype)
    for i in range(tile):
        for j in range(tile):
            top, left = i * stride, j * stride
            tiled[top : top + side, left : left + side, :, i, j] = kernel
    k = size // step
    tiled = tiled.reshape(k, step, k, step, channels, tile**2 * filters)
    tiled = tiled.transpose(0, 2, 1, 3, 4, 5).reshape(k, k, step**2 * channels, -1)
    return {"kernel": tiled, "bias": np.tile(bias, tile**2)}


def untile_kernel(tiled: np.ndarray, side: int, stride: int, tile: int) -> np.ndarray:
    """Inverse of :func:`tile_kernel` for the kernel: (k, k, ..) -> (side, side, 3, C)."""
    step, size = tile_geometry(side, stride, tile)
    k, filters = size // step, tiled.shape[-1] // tile**2
    tiled = tiled.reshape(k, k, step, step, -1, tile**2, filters)[..., 0, :]
    return tiled.transpose(0, 2, 1, 3, 4, 5).reshape(size, size, -1, filters)[:side, :side]
