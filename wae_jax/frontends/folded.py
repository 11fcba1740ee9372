"""The auto-encoder's inference form when its trunk is linear: one strided convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.frontends.base import SubImages
from wae_jax.frontends.wae import SUB_IMAGE_CHANNELS, reflect


class FoldedEncoder(nn.Module):
    """Image -> both sub-images, normalised, by one convolution (B, H, W, 3) -> (B, h, w, 6).

    kernel: its side in pixels; reach: how far the image is mirrored beyond its borders.
    The kernel and bias are made by :func:`wae_jax.inference.for_inference`.
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
        block = 2**self.levels
        both = nn.Conv(2 * SUB_IMAGE_CHANNELS, (self.kernel, self.kernel), strides=block,
                       padding="VALID", dtype=self.dtype, name="to_both")(
                           reflect(images, self.reach, block))
        return SubImages(low=both[..., :SUB_IMAGE_CHANNELS], high=both[..., SUB_IMAGE_CHANNELS:])

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """Nothing to do: the normalisation is folded in."""
        del train
        return sub_images
