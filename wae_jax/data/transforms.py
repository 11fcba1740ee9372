"""Decoding and augmentation on the host. Images are uint8 RGB, height x width x channels.

A transform is a small frozen dataclass that turns the decoded images of one batch into one array.
It gets its random numbers from outside (`draws` per image, see `order.uniforms`), so that a batch
does not depend on who makes it or when. Normalisation is left to the device.
"""

import dataclasses
import io
from collections.abc import Iterable
from typing import Protocol

import cv2
import numpy as np
import PIL.Image
import simplejpeg

from wae_jax.errors import UserError

_JPEG_MAGIC, _PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_CV2_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_DECODER_ERRORS = (OSError, ValueError, SyntaxError, cv2.error, PIL.Image.DecompressionBombError)
_CROP_TRIES = 10


class DecodeError(ValueError):
    """These bytes are no image that can be shown whole in RGB."""


class Transform(Protocol):
    """Images of one batch in, one array out.

    Attributes:
      size: height and width of what comes out, in pixels.
      draws: random numbers used per image.
    """

    size: int
    draws: int

    def __call__(self, images: Iterable[np.ndarray], numbers: np.ndarray) -> np.ndarray:
        """Transforms b images.

        Args:
          images: b uint8 arrays (H, W, 3), or one array (b, H, W, 3); gone through once.
          numbers: float64 (b, draws) in [0, 1).

        Returns:
          uint8 (b, size, size, 3).
        """


def decode(data: bytes) -> np.ndarray:
    """Decodes an image file to uint8 (H, W, 3) RGB, ignoring orientation tags as TFDS does.

    simplejpeg and OpenCV are the fastest for JPEG and PNG; Pillow knows the rest, CMYK included.

    Raises:
      DecodeError: the bytes are no image, cut short or damaged.
    """
    try:
        if data.startswith(_JPEG_MAGIC):
            if simplejpeg.decode_jpeg_header(data)[2] in ("YCbCr", "Gray", "RGB"):
                return simplejpeg.decode_jpeg(data, colorspace="RGB")
        elif data.startswith(_PNG_MAGIC):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), _CV2_FLAGS)
            if image is None:
                raise ValueError("PNG is cut short or damaged")
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        with PIL.Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except _DECODER_ERRORS as error:
        raise DecodeError(f"image of {len(data)} bytes cannot be decoded: {error}") from error


@dataclasses.dataclass(frozen=True)
class SmallTrain:
    """Pad, crop at random, flip at random: the usual training transform of CIFAR-10.

    Attributes:
      size: height and width of the images, before and after.
      pad: pixels added on each side before the crop.
      pad_mode: "reflect" or "zero".
    """

    size: int
    pad: int = 4
    pad_mode: str = "reflect"
    draws = 3

    def __post_init__(self):
        if self.pad_mode not in ("reflect", "zero"):
            raise ValueError(f"pad_mode {self.pad_mode!r} is neither 'reflect' nor 'zero'")

    def __call__(self, images: Iterable[np.ndarray], numbers: np.ndarray) -> np.ndarray:
        images = _stack_same_size(images, self.size)
        margin = (self.pad, self.pad)
        mode = "reflect" if self.pad_mode == "reflect" else "constant"
        padded = np.pad(images, ((0, 0), margin, margin, (0, 0)), mode)
        tops, lefts = (numbers[:, :2].T * (2 * self.pad + 1)).astype(int)
        flips = numbers[:, 2] < 0.5
        out = np.empty_like(images)
        for i, (top, left, flip) in enumerate(zip(tops, lefts, flips, strict=True)):
            crop = padded[i, top : top + self.size, left : left + self.size]
            out[i] = crop[:, ::-1] if flip else crop
        return out


@dataclasses.dataclass(frozen=True)
class SmallEval:
    """Images as they are; they must have the right size already."""

    size: int
    draws = 0

    def __call__(self, images: Iterable[np.ndarray], numbers: np.ndarray) -> np.ndarray:
        del numbers
        return _stack_same_size(images, self.size)


@dataclasses.dataclass(frozen=True)
class ImageNetTrain:
    """Random resized crop (Szegedy et al., 2015) and random flip.

    Attributes:
      size: height and width of the result.
      scale: range of the crop's area as a fraction of the image's area, uniform.
      ratio: range of the crop's width over height, log-uniform.
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    draws = 4 * _CROP_TRIES + 1

    def __call__(self, images: Iterable[np.ndarray], numbers: np.ndarray) -> np.ndarray:
        out = np.empty((len(numbers), self.size, self.size, 3), np.uint8)
        for target, image, draws in zip(out, images, numbers, strict=True):
            top, left, height, width = self.crop_box(*image.shape[:2], draws)
            crop = image[top : top + height, left : left + width]
            shrinking = height * width > self.size**2
            resized = cv2.resize(
                crop,
                (self.size, self.size),
                interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR,
            )
            target[:] = resized[:, ::-1] if draws[-1] < 0.5 else resized
        return out

    def crop_box(self, height: int, width: int, draws: np.ndarray) -> tuple[int, int, int, int]:
        """Picks the crop: top, left, height, width. After ten misses the largest centre crop."""
        areas, ratios, down, right = draws[:-1].reshape(4, _CROP_TRIES)
        areas = height * width * (self.scale[0] + areas * (self.scale[1] - self.scale[0]))
        ratios = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** ratios
        widths = np.rint(np.sqrt(areas * ratios)).astype(int)
        heights = np.rint(np.sqrt(areas / ratios)).astype(int)
        fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
        if fits.any():
            i = int(np.argmax(fits))
            h, w = int(heights[i]), int(widths[i])
            return int(down[i] * (height - h + 1)), int(right[i] * (width - w + 1)), h, w
        h = min(height, max(1, round(width / self.ratio[0])))
        w = min(width, max(1, round(height * self.ratio[1])))
        return (height - h) // 2, (width - w) // 2, h, w


@dataclasses.dataclass(frozen=True)
class ImageNetEval:
    """Resizes the shorter side to `resize` with antialiasing, then crops the centre.

    Raises:
      UserError: `resize` is smaller than `size`.
    """

    size: int = 224
    resize: int = 256
    draws = 0

    def __post_init__(self):
        if self.resize < self.size:
            raise UserError(
                f"the shorter side cannot be resized to {self.resize} pixels for crops of "
                f"{self.size}"
            )

    def __call__(self, images: Iterable[np.ndarray], numbers: np.ndarray) -> np.ndarray:
        out = np.empty((len(numbers), self.size, self.size, 3), np.uint8)
        for target, image in zip(out, images, strict=True):
            target[:] = self._one(image)
        return out

    def _one(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        factor = self.resize / min(height, width)
        new_height, new_width = round(height * factor), round(width * factor)
        top, left = (new_height - self.size) // 2, (new_width - self.size) // 2
        # Only the crop is computed: the box is its outline in the coordinates of the whole image.
        box = (
            left * width / new_width,
            top * height / new_height,
            (left + self.size) * width / new_width,
            (top + self.size) * height / new_height,
        )
        resized = PIL.Image.fromarray(image).resize(
            (self.size, self.size), PIL.Image.Resampling.BILINEAR, box=box
        )
        return np.asarray(resized)


def make_transform(kind: str, size: int, train: bool, *, pad: int = 4) -> Transform:
    """Returns the transform of a kind of data.

    Args:
      kind: "small" (images of `size` already, as in CIFAR-10) or "imagenet" (photos of any size).
      size: height and width of the result, in pixels.
      train: with augmentation, or the fixed transform for evaluation. For "imagenet" the latter
        keeps the usual 256 to 224 proportion.
      pad: for training on "small" images, the most that a crop is shifted, in pixels.

    Raises:
      UserError: no such kind.
    """
    if kind == "small":
        return SmallTrain(size, pad) if train else SmallEval(size)
    if kind == "imagenet":
        return ImageNetTrain(size) if train else ImageNetEval(size, round(size * 256 / 224))
    raise UserError(f"there is no transform {kind!r}; choose 'small' or 'imagenet'")


def _stack_same_size(images: Iterable[np.ndarray], size: int) -> np.ndarray:
    """Stacks images to (b, size, size, 3); an array of that shape passes through."""
    images = images if isinstance(images, np.ndarray) else list(images)
    for image in images if isinstance(images, list) else images[:1]:
        if image.shape != (size, size, 3):
            height, width = image.shape[:2]
            raise UserError(
                f"an image is {height} x {width} pixels where {size} x {size} was expected; "
                "set the image size to it, or use the transform 'imagenet', which resizes"
            )
    return np.stack(images) if isinstance(images, list) else images
