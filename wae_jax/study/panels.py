"""What a front end makes of photos: pictures to look at, and the figures of each photo."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import cv2
import jax
import numpy as np

from wae_jax.evaluation import low_image
from wae_jax.models.classifier import Classifier, run

BATCH_SIZE = 8
DECIBELS = 80.0  # from the brightest to black in a spectrum
_SEEN = 99.5  # percentile of what is amplified that is as bright as can be
_MOST_OF_ERROR = 50.0  # amplification of an error map: beyond it one sees float rounding


@dataclasses.dataclass(frozen=True)
class Panel:
    """One kind of picture, of all photos.

    Attributes:
        name: What it is, with the factor by which it is amplified.
        images: uint8 (N, h, w, 3).
        size: Height and width of what it shows: a picture of several channels has tiles.
    """

    name: str
    images: np.ndarray
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class PhotoFigures:
    """Of one photo; None where a figure does not exist.

    Attributes:
        psnr: Of the reconstruction, dB.
        high_energy: Energy of I_H over that of I_L.
        low_correlation: Of the half-resolution image with the best linear map of I_L's channels,
            see :mod:`wae_jax.evaluation.low_image`.
    """

    psnr: float | None
    high_energy: float | None
    low_correlation: float | None

    @property
    def lines(self) -> list[str]:
        """A line for each figure that there is."""
        found = []
        if self.psnr is not None:
            found.append(f"PSNR {self.psnr:.1f} dB")
        if self.high_energy is not None:
            found.append(f"energy I_H/I_L {self.high_energy:.2g}")
        if self.low_correlation is not None:
            found.append(f"correlation {self.low_correlation:.4f}")
        return found


@dataclasses.dataclass(frozen=True)
class _Split:
    """Photos and what the network makes of them, float32, colours in RGB.

    Attributes:
        images: (N, H, W, 3), 0..255; rebuilt: the same from both sub-images, clipped, or None.
        low, high: (N, h, w, C) in the network's units; high may be None.
    """

    images: np.ndarray
    rebuilt: np.ndarray | None
    low: np.ndarray
    high: np.ndarray | None
    moments: dict[str, np.ndarray] | None


def make_panels(
    model: Classifier, variables: Any, images: np.ndarray
) -> tuple[list[Panel], list[PhotoFigures]]:
    """Pictures of the parts that the front end has, and the figures of each photo.

    I_L is shown as the image that it is: each channel is shifted and scaled to the photos' own mean
    and contrast, and nothing else is done to it. I_H is shown around its mean on the same scale,
    times the factor in the panel's name. All spectra are on one scale.

    Args:
        model: In its training form.
        variables: Of it.
        images: uint8 RGB (N, S, S, 3).

    Returns:
        The panels, in the order in which they are looked at, and N figures.
    """
    split = _split(model, variables, images)
    low, units = _as_image(split.low, split.images)
    panels = [Panel("I", images, images.shape[1:3])]
    name = "I"
    if low.shape != images.shape:  # else I_L is the image itself
        name = "I_L"
        panels.append(_panel(name, low))
    if split.high is not None:
        detail = units * (split.high - split.high.mean((0, 1, 2)))
        factor = _factor(np.percentile(np.abs(detail), _SEEN), 127.5, math.inf)
        tiles = _tiles(_bytes(127.5 + factor * detail))
        panels.append(Panel(f"I_H, {factor:g}x", tiles, split.high.shape[1:3]))
    if split.rebuilt is not None:
        error = np.abs(split.images - split.rebuilt).mean(-1, keepdims=True)
        factor = _factor(np.percentile(error, _SEEN), 255.0, _MOST_OF_ERROR)
        panels.append(_panel("I' (rebuilt)", split.rebuilt))
        panels.append(_panel(f"|I - I'|, {factor:g}x", np.repeat(factor * error, 3, axis=-1)))
    panels += _spectra(split, name)
    return panels, list(_figures(split))


def _split(model: Classifier, variables: Any, images: np.ndarray) -> _Split:
    @jax.jit
    def compute(variables, batch):
        outputs = run(model, variables, batch, classify=False, reconstruct=True)
        sub = outputs.sub_images
        assert sub is not None and outputs.images is not None  # as after every run
        low, high, rebuilt = sub.low, sub.high, outputs.reconstruction
        parts: dict[str, Any] = {"low": low, "high": high}
        if rebuilt is not None:
            parts["rebuilt"] = model.denormalise(rebuilt).clip(0, 255)
        if _is_halving(batch.shape[1:3], low.shape[1:3]):
            parts["moments"] = low_image.moments(outputs.images, low)
        return parts

    starts = range(0, len(images), BATCH_SIZE)
    batches = [jax.device_get(compute(variables, images[at : at + BATCH_SIZE])) for at in starts]
    parts = jax.tree.map(lambda *each: np.concatenate(each).astype(np.float32), *batches)
    order = slice(None, None, -1 if model.channel_order == "BGR" else 1)
    return _Split(
        images.astype(np.float32),
        parts.get("rebuilt"),
        parts["low"][..., order],
        parts["high"],
        parts.get("moments"),
    )


def _is_halving(size: tuple[int, ...], low: tuple[int, ...]) -> bool:
    """Whether a low image is smaller than the image, by halving its sides."""
    halved = tuple(size)
    while halved[0] > low[0]:
        halved = tuple(-(-side // 2) for side in halved)
    return tuple(low) == halved != tuple(size)


def _as_image(low: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, float]:
    """I_L in grey levels, and how many of them its unit is (mean over the channels)."""
    axes = (0, 1, 2)
    units = images.std(axes) / np.maximum(low.std(axes), 1e-8)
    return (low - low.mean(axes)) * units + images.mean(axes), float(units.mean())


def _factor(found: float, wanted: float, most: float) -> float:
    """The largest 1, 2, 3 or 5 times a power of ten that makes ``found`` at most ``wanted``."""
    limit = min(wanted / max(float(found), 1e-6), most)
    power = 10.0 ** math.floor(math.log10(limit))
    return max(step * power for step in (1, 2, 3, 5) if step * power <= limit * (1 + 1e-9))


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def _panel(name: str, images: np.ndarray) -> Panel:
    return Panel(name, _bytes(images), images.shape[1:3])


def _tiles(images: np.ndarray) -> np.ndarray:
    """(N, h, w, C) as RGB: three channels as they are, more side by side on a grid."""
    count, height, width, channels = images.shape
    if channels % 3:
        tiles = np.repeat(images[..., None], 3, axis=-1)  # each in grey
    else:
        tiles = images.reshape(count, height, width, channels // 3, 3)
    columns = math.ceil(math.sqrt(tiles.shape[3]))
    rows = math.ceil(tiles.shape[3] / columns)
    grid = np.full((count, rows * height, columns * width, 3), 128, np.uint8)
    for number in range(tiles.shape[3]):
        top, left = height * (number // columns), width * (number % columns)
        grid[:, top : top + height, left : left + width] = tiles[:, :, :, number]
    return grid


def _spectra(split: _Split, name_of_low: str) -> Iterator[Panel]:
    """Log power spectra, frequency 0 in the middle, each channel less its mean."""
    powers = {name_of_low: _power(split.low)}
    if split.high is not None:
        powers["I_H"] = _power(split.high)
    brightest = max(powers[name_of_low].max(), 1e-30)
    for name, power in powers.items():
        decibels = 10 * np.log10(np.maximum(power / brightest, 1e-30))
        grey = _bytes(255 * (1 + decibels / DECIBELS))
        coloured = [cv2.applyColorMap(each, cv2.COLORMAP_MAGMA)[..., ::-1] for each in grey]
        yield Panel(f"log-spectrum of {name}", np.stack(coloured), power.shape[1:3])


def _power(images: np.ndarray) -> np.ndarray:
    """(N, h, w, C) -> (N, h, w), mean over the channels; a window keeps the borders out."""
    window = np.hanning(images.shape[1] + 2)[1:-1, None] * np.hanning(images.shape[2] + 2)[1:-1]
    spread = (images - images.mean((1, 2), keepdims=True)).astype(np.float64)
    found = np.fft.fft2(spread * window[None, :, :, None], axes=(1, 2))
    return np.fft.fftshift((np.abs(found) ** 2).mean(-1), axes=(1, 2))


def _figures(split: _Split) -> Iterator[PhotoFigures]:
    for number, image in enumerate(split.images):
        psnr = high_energy = correlation = None
        if split.rebuilt is not None:
            error = np.square(image - split.rebuilt[number], dtype=np.float64).mean()
            psnr = float(10 * np.log10(255.0**2 / max(error, 1e-10)))
        if split.high is not None:
            low, high = (
                np.square(each[number], dtype=np.float64).sum() for each in (split.low, split.high)
            )
            high_energy = float(high / low) if low > 0 else None
        if split.moments is not None:
            mean, product = (
                split.moments[name][number].astype(np.float64)
                for name in ("low_mean", "low_product")
            )
            correlation = low_image.correlation(mean, product)
        yield PhotoFigures(psnr, high_energy, correlation)
