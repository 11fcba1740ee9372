"""Crops, flips and resizes on the host. Images are uint8 RGB, height x width x channels.

A transform is a small frozen dataclass that turns the images of one batch into one array. Images
that are still encoded it decodes only as far as it needs them. It gets its random numbers from
outside (`draws` per image, see `order.uniforms`), so that a batch does not depend on who makes it
or when. Normalisation is left to the device.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Literal, Protocol

import cv2
import numpy as np
import PIL.Image

from wae_jax.data.images.decode import EncodedImage
from wae_jax.data.images.orientation import UPRIGHT, Box, Edges, Turn
from wae_jax.errors import UserError

# A decoded image, or one that is decoded when it is needed.
Image = np.ndarray | EncodedImage

_CROP_TRIES = 10


class Transform(Protocol):
    """Images of one batch in, one array out.

    Attributes:
        size: height and width of what comes out, in pixels.
        draws: random numbers used per image.
    """

    @property
    def size(self) -> int: ...

    @property
    def draws(self) -> int: ...

    def __call__(self, images: Iterable[Image], numbers: np.ndarray) -> np.ndarray:
        """Transforms b images.

        Args:
            images: b images (H, W, 3), or one array (b, H, W, 3); gone through once.
            numbers: float64 (b, draws) in [0, 1).

        Returns:
            uint8 (b, size, size, 3).

        Raises:
            DecodeError: an encoded image is damaged.
        """


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

    def __call__(self, images: Iterable[Image], numbers: np.ndarray) -> np.ndarray:
        images = _stack_same_size(images, self.size)
        margin = (self.pad, self.pad)
        mode: Literal["reflect", "constant"] = (
            "reflect" if self.pad_mode == "reflect" else "constant"
        )
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

    def __call__(self, images: Iterable[Image], numbers: np.ndarray) -> np.ndarray:
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

    def __call__(self, images: Iterable[Image], numbers: np.ndarray) -> np.ndarray:
        out = np.empty((len(numbers), self.size, self.size, 3), np.uint8)
        for target, image, draws in zip(out, images, numbers, strict=True):
            height, width = image.shape[:2]
            turn = _turn_of(image)
            box = turn.stored_box(self.crop_box(height, width, draws), image.shape)
            resize_into(target, _region(image, box, self.size, fast=True))
            if turn is not UPRIGHT:
                target[:] = turn.upright(target.copy())
            if draws[-1] < 0.5:
                cv2.flip(target, 1, dst=target)
        return out

    def crop_box(self, height: int, width: int, draws: np.ndarray) -> Box:
        """Picks the crop: top, left, height, width. After ten misses the largest centre crop."""
        tries = draws[:-1].reshape(4, _CROP_TRIES).T.tolist()
        for area, ratio, down, right in tries:
            area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            ratio = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** ratio
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 1 <= w <= width and 1 <= h <= height:
                return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
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

    def __call__(self, images: Iterable[Image], numbers: np.ndarray) -> np.ndarray:
        out = np.empty((len(numbers), self.size, self.size, 3), np.uint8)
        for target, image in zip(out, images, strict=True):
            target[:] = self._one(image)
        return out

    def _one(self, image: Image) -> np.ndarray:
        factor = min(image.shape[:2]) / self.resize
        down, across = (_centred(side, self.size, factor) for side in image.shape[:2])
        # From here on in the stored image, whose blocks JPEG scales; what comes out is turned.
        turn = _turn_of(image)
        (top, bottom), (left, right) = turn.stored_edges(down, across, image.shape)
        height, width = turn.shape(image.shape)[:2]
        rows = _pixels_for((top, bottom), height, factor)
        columns = _pixels_for((left, right), width, factor)
        box = rows.start, columns.start, len(rows), len(columns)
        # Twice the size: what JPEG's own scaling loses must not be seen.
        found = _region(image, box, 2 * self.size, fast=False)
        scale = round(len(rows) / found.shape[0])
        outline = (
            (left - columns.start) / scale,
            (top - rows.start) / scale,
            min((right - columns.start) / scale, found.shape[1]),
            min((bottom - rows.start) / scale, found.shape[0]),
        )
        resized = PIL.Image.fromarray(found).resize(
            (self.size, self.size), PIL.Image.Resampling.BILINEAR, box=outline
        )
        return turn.upright(np.asarray(resized))


def _centred(side: int, size: int, factor: float) -> Edges:
    """Where a centre crop of `size` lies along a side that is resized by 1/`factor`."""
    resized = round(side / factor)
    offset = (resized - size) // 2
    return offset * side / resized, (offset + size) * side / resized


def _pixels_for(edges: Edges, side: int, factor: float) -> range:
    """The pixels along a side from which a part of it is made that is resized by 1/`factor`.

    Pillow's filter reaches one resized pixel further. The first is a multiple of 8, JPEG's largest
    scale.
    """
    reach = math.ceil(factor) + 1
    start = max(0, int(edges[0]) - reach) // 8 * 8
    return range(start, min(side, math.ceil(edges[1]) + reach))


def resize_into(target: np.ndarray, image: np.ndarray) -> None:
    """Resizes with antialiasing, at a fraction of the time of OpenCV's or Pillow's area filters.

    Between full and half size: bilinear interpolation of the image smoothed by three taps. Their
    variance and that of interpolating between neighbours, 1/6, make up the variance of an
    antialiased bilinear resize by the factor s, s^2 / 6. Below that OpenCV's area filter.

    Args:
        target: uint8 (h, w, 3), contiguous; gets the result.
        image: uint8 (H, W, 3).
    """
    height, width = target.shape[:2]
    factors = image.shape[1] / width, image.shape[0] / height
    if max(factors) > 2:
        cv2.resize(image, (width, height), dst=target, interpolation=cv2.INTER_AREA)
        return
    if max(factors) > 1:
        sides = [max(0.0, factor**2 - 1) / 12 for factor in factors]
        across, down = (np.array((side, 1 - 2 * side, side), np.float32) for side in sides)
        image = cv2.sepFilter2D(image, -1, across, down)
    cv2.resize(image, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)


def _turn_of(image: Image) -> Turn:
    """Arrays are upright."""
    return UPRIGHT if isinstance(image, np.ndarray) else image.turn


def _region(image: Image, box: Box, size: int, *, fast: bool) -> np.ndarray:
    if isinstance(image, np.ndarray):
        top, left, height, width = box
        return image[top : top + height, left : left + width]
    return image.region(box, (size, size), fast=fast)


def make_transform(
    kind: str, size: int, train: bool, *, pad: int = 4, min_area: float = 0.08
) -> Transform:
    """Returns the transform of a kind of data.

    Args:
        kind: "small" (images of `size` already, as in CIFAR-10) or "imagenet" (photos of any size).
        size: height and width of the result, in pixels.
        train: with augmentation, or the fixed transform for evaluation. For "imagenet" the latter
            keeps the usual 256 to 224 proportion.
        pad: for training on "small" images, the most that a crop is shifted, in pixels.
        min_area: for training on "imagenet" photos, the least area of a crop over the photo's.

    Raises:
        UserError: no such kind.
    """
    if kind == "small":
        return SmallTrain(size, pad) if train else SmallEval(size)
    if kind == "imagenet":
        if train:
            return ImageNetTrain(size, scale=(min_area, 1.0))
        return ImageNetEval(size, round(size * 256 / 224))
    raise UserError(f"there is no transform {kind!r}; choose 'small' or 'imagenet'")


def _stack_same_size(images: Iterable[Image], size: int) -> np.ndarray:
    """Stacks images to (b, size, size, 3); an array of that shape passes through."""
    if not isinstance(images, np.ndarray):
        images = [np.asarray(image) for image in images]
    for image in images if isinstance(images, list) else images[:1]:
        if image.shape != (size, size, 3):
            height, width = image.shape[:2]
            raise UserError(
                f"an image is {height} x {width} pixels where {size} x {size} was expected; "
                "set the image size to it, or use the transform 'imagenet', which resizes"
            )
    return np.stack(images) if isinstance(images, list) else images
