"""Augmentation after the crop and flip: colour jitter, RandAugment, mixup and cutmix.

Like the crop, all of it is a function of the numbers that belong to a record in an epoch (see
`order.uniforms`), so that it does not depend on workers, processes or where a run was stopped.
Mixing joins the images of a global batch in pairs of neighbours, (0, 1), (2, 3), ...: the order is
a random one already, and a pair never spans two processes.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

import cv2
import numpy as np
import scipy.special

from wae_jax.config import ColourJitterSettings, DataSettings, RandAugmentSettings
from wae_jax.data.images import image_ops, transforms
from wae_jax.errors import UserError

_MAX_MAGNITUDE = 30
_JITTER_ORDERS = tuple(itertools.permutations(range(4)))


class ImageOp(Protocol):
    """Changes one image at random.

    Attributes:
        draws: random numbers used per image.
    """

    @property
    def draws(self) -> int: ...

    def __call__(self, image: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) and float64 (draws,) in [0, 1) -> uint8 (H, W, 3)."""


@dataclasses.dataclass(frozen=True)
class ColourJitter:
    """Random brightness, contrast, saturation and hue, in random order (as torchvision's).

    The first three factors are uniform in 1 - strength .. 1 + strength (not below 0); the hue turns
    by -strength .. strength of the circle.
    """

    strengths: ColourJitterSettings
    draws: ClassVar[int] = 5

    def __call__(self, image: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        s = self.strengths
        for part in _JITTER_ORDERS[int(numbers[4] * len(_JITTER_ORDERS))]:
            strength = (s.brightness, s.contrast, s.saturation, s.hue)[part]
            if not strength:
                continue
            op = (image_ops.brightness, image_ops.contrast, image_ops.saturation, image_ops.hue)[
                part
            ]
            low = -strength if op is image_ops.hue else max(0.0, 1 - strength)
            high = strength if op is image_ops.hue else 1 + strength
            image = op(image, low + numbers[part] * (high - low))
        return image


# RandAugment's operations: how each looks at a magnitude, a fraction -1..1 of the largest one. The
# ranges are torchvision's, which follow the paper's.
RAND_AUGMENT_OPS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda image, m: image,
    "autocontrast": lambda image, m: image_ops.autocontrast(image),
    "equalize": lambda image, m: image_ops.equalize(image),
    "rotate": lambda image, m: image_ops.rotate(image, 30 * m),
    "solarize": lambda image, m: image_ops.solarize(image, 255 * (1 - abs(m))),
    "colour": lambda image, m: image_ops.saturation(image, 1 + 0.9 * m),
    "posterize": lambda image, m: image_ops.posterize(image, 8 - round(4 * abs(m))),
    "contrast": lambda image, m: image_ops.contrast(image, 1 + 0.9 * m),
    "brightness": lambda image, m: image_ops.brightness(image, 1 + 0.9 * m),
    "sharpness": lambda image, m: image_ops.sharpness(image, 1 + 0.9 * m),
    "shear_x": lambda image, m: image_ops.shear_x(image, 0.3 * m),
    "shear_y": lambda image, m: image_ops.shear_y(image, 0.3 * m),
    "translate_x": lambda image, m: image_ops.translate_x(image, 150 / 331 * m),
    "translate_y": lambda image, m: image_ops.translate_y(image, 150 / 331 * m),
}


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """``ops`` random operations at one magnitude (Cubuk, Zoph, Shlens and Le, 2020).

    Each is any of the fourteen, with either sign where it has one.
    """

    settings: RandAugmentSettings

    @property
    def draws(self) -> int:
        return 2 * self.settings.ops

    def __call__(self, image: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        magnitude = self.settings.magnitude / _MAX_MAGNITUDE
        for which, sign in numbers.reshape(-1, 2):
            op = tuple(RAND_AUGMENT_OPS.values())[int(which * len(RAND_AUGMENT_OPS))]
            image = op(image, magnitude if sign < 0.5 else -magnitude)
        return image


@dataclasses.dataclass(frozen=True)
class Augmented:
    """A transform and what is done to its images afterwards."""

    crop: transforms.Transform
    ops: tuple[ImageOp, ...]

    @property
    def size(self) -> int:
        return self.crop.size

    @property
    def draws(self) -> int:
        return self.crop.draws + sum(op.draws for op in self.ops)

    def __call__(self, images: Iterable[transforms.Image], numbers: np.ndarray) -> np.ndarray:
        splits = np.cumsum([self.crop.draws, *(op.draws for op in self.ops)])
        for_crop, *for_ops = np.split(numbers, splits[:-1], axis=1)
        out = self.crop(images, for_crop)
        for i, image in enumerate(out):
            for op, draws in zip(self.ops, for_ops, strict=True):
                image = op(image, draws[i])
            out[i] = image
        return out


@dataclasses.dataclass(frozen=True)
class Mix:
    """Mixes the two images of each pair in a batch, and says how much of which label is in it.

    mixup (Zhang et al., 2018) blends them, cutmix (Yun et al., 2019) exchanges a box. With both on,
    each pair is drawn for one of them. As in both papers the share is drawn from
    Beta(alpha, alpha), and cutmix's is counted in the pixels exchanged.

    Attributes:
        mixup, cutmix: alpha of each; 0 is off.
    """

    mixup: float
    cutmix: float
    draws: ClassVar[int] = 4

    def check_batch_size(self, key: str, batch_size: int, process_count: int) -> None:
        """Raises UserError where a global batch cannot be shared in whole pairs."""
        if batch_size % (2 * process_count):
            raise UserError(
                f"{key} is {batch_size}; mixup and cutmix mix images in pairs, so it "
                f"must be a multiple of {2 * process_count}, two per process"
            )

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, numbers: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The part of a batch that is new.

        Args:
            images: uint8 (b, S, S, 3), b even; changed in place.
            labels: int32 (b,).
            numbers: float64 (b, draws) in [0, 1); a pair uses those of its first image.

        Returns:
            "image"; "label", the one that has the larger share in the image; "other_label", the one
            that has the rest; "label_weight" float32 (b,), the share of "label".
        """
        pairs = images.reshape(-1, 2, *images.shape[1:])
        shares = np.array([self._mix(pair, n) for pair, n in zip(pairs, numbers[::2], strict=True)])
        swapped = labels.reshape(-1, 2)[:, ::-1]
        own_first = (shares >= 0.5)[:, None]
        return {
            "image": images,
            "label": np.where(own_first, labels.reshape(-1, 2), swapped).reshape(-1),
            "other_label": np.where(own_first, swapped, labels.reshape(-1, 2)).reshape(-1),
            "label_weight": np.repeat(np.maximum(shares, 1 - shares), 2).astype(np.float32),
        }

    def _mix(self, pair: np.ndarray, numbers: np.ndarray) -> float:
        """Mixes two images in place; the share that each keeps of itself."""
        which, u, x, y = numbers
        cut = self.cutmix > 0 and (self.mixup == 0 or which < 0.5)
        alpha = self.cutmix if cut else self.mixup
        share = float(scipy.special.betaincinv(alpha, alpha, u))  # Beta's quantile function
        if cut:
            return _exchange_box(pair, share, x, y)
        first, second = pair
        blended = cv2.addWeighted(first, share, second, 1 - share, 0)
        pair[1] = cv2.addWeighted(second, share, first, 1 - share, 0)
        pair[0] = blended
        return share


def _exchange_box(pair: np.ndarray, share: float, x: float, y: float) -> float:
    """Exchanges a box around a random centre, clipped at the edges; the share outside of it."""
    height, width = pair.shape[1:3]
    side = math.sqrt(1 - share)
    top, bottom, left, right = (
        min(size, max(0, round(size * (at + sign * side / 2))))
        for size, at in ((height, y), (width, x))
        for sign in (-1, 1)
    )
    box = np.s_[top:bottom, left:right]
    pair[0][box], pair[1][box] = pair[1][box].copy(), pair[0][box].copy()
    return 1 - (bottom - top) * (right - left) / (height * width)


def train_transform(settings: DataSettings) -> transforms.Transform:
    """Crop and flip of the config's kind, then colour jitter and RandAugment where they are on.

    Raises:
        UserError: no such kind.
    """
    crop = transforms.make_transform(
        settings.augmentation,
        settings.image_size,
        train=True,
        pad=settings.crop_padding,
        min_area=settings.min_crop_area,
    )
    jitter, rand = settings.colour_jitter, settings.rand_augment
    ops: list[ImageOp] = []
    if any(dataclasses.astuple(jitter)):
        ops.append(ColourJitter(jitter))
    if rand.ops:
        ops.append(RandAugment(rand))
    return Augmented(crop, tuple(ops)) if ops else crop


def make_mix(settings: DataSettings) -> Mix | None:
    """The mixing that the config asks for, if any."""
    if settings.mixup or settings.cutmix:
        return Mix(settings.mixup, settings.cutmix)
    return None
