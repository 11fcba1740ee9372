"""The front-end contract: an image becomes one or two smaller sub-images."""

from typing import Protocol

import flax.struct
import jax


class SubImages(flax.struct.PyTreeNode):
    """What a front end makes of images (B, H, W, 3).

    Attributes:
        low: (B, h, w, C_L), read by the standard network.
        high: (B, h, w, C_H), read by the light network; None where the front end has no such part.
    """

    low: jax.Array
    high: jax.Array | None = None


class Frontend(Protocol):
    """A Linen module that splits images. All image values are in the model's normalised units."""

    @property
    def can_synthesize(self) -> bool:
        """Whether :meth:`synthesize` exists."""

    def analyze(self, images: jax.Array, *, train: bool) -> SubImages:
        """(B, H, W, 3) -> sub-images before any normalisation: what the transform loss sees."""

    def prepare(self, sub_images: SubImages, *, train: bool) -> SubImages:
        """The sub-images as the branches read them (normalised where the front end does so)."""

    def synthesize(self, sub_images: SubImages, size: tuple[int, int]) -> jax.Array:
        """Sub-images -> (B, *size, 3). Only where ``can_synthesize`` is True."""
