"""The image operations of augmentation: uint8 RGB (H, W, 3) in, a new array of that kind out.

They do what Pillow's ImageOps and ImageEnhance and its affine transform do (tests hold them to it),
mostly as one table look-up or one pass of OpenCV.
"""

import cv2
import numpy as np
import numpy.typing as npt

_LEVELS = np.arange(256, dtype=np.float64)
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # Pillow's SMOOTH
FILL = (128, 128, 128)  # what comes in from outside the image (Cubuk et al.)


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replaces each level by the table's: (256,) for all channels, or (256, 3)."""
    table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table.reshape(1, 256, -1))


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """0 is black, 1 the image itself."""
    return _look_up(image, factor * _LEVELS)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """0 is the flat mean of the grey image, 1 the image itself."""
    mean = round(cv2.mean(_grey(image))[0])
    return _look_up(image, mean + factor * (_LEVELS - mean))


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """0 is the grey image, 1 the image itself."""
    return cv2.transform(image, factor * np.eye(3) + (1 - factor) * _LUMINANCE[None])


def hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Turns the colours of the HSV circle by a fraction of it, -0.5..0.5."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(turn * 256) % 256)  # wraps
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """0 is the image smoothed by 3 x 3 pixels, 1 the image itself; the outermost pixels stay."""
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    out = cv2.addWeighted(image, factor, smooth, 1 - factor, 0)
    for edge in (0, -1):
        out[edge], out[:, edge] = image[edge], image[:, edge]
    return out


def autocontrast(image: np.ndarray) -> np.ndarray:
    """Stretches each channel's levels to 0..255."""
    table = np.empty((256, 3))
    for channel, plane in enumerate(cv2.split(image)):
        low, high = cv2.minMaxLoc(plane)[:2]
        table[:, channel] = _LEVELS  # an image of one level stays
        if high > low:
            scale = 255 / (high - low)
            table[:, channel] = np.floor(_LEVELS * scale - low * scale)  # as Pillow rounds
    return _look_up(image, table)


def equalize(image: np.ndarray) -> np.ndarray:
    """Makes each channel's histogram as even as a mapping of levels can."""
    table = np.empty((256, 3))
    for channel in range(3):
        counts = cv2.calcHist([image], [channel], None, [256], [0, 256])[:, 0].astype(np.int64)
        highest = counts[np.flatnonzero(counts)[-1]]
        step = (counts.sum() - highest) // 255
        below = np.cumsum(counts) - counts
        table[:, channel] = (step // 2 + below) // step if step else _LEVELS
    return _look_up(image, table)


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keeps the highest bits of each level, 1..8."""
    return image & np.uint8(256 - (1 << (8 - bits)))


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Inverts the levels from the threshold on."""
    table = _LEVELS.copy()
    table[table >= threshold] = 255 - table[table >= threshold]
    return _look_up(image, table)


def affine(image: np.ndarray, matrix: npt.ArrayLike) -> np.ndarray:
    """Draws the image anew, bilinearly; what lies outside is ``FILL``.

    Args:
        image: uint8 (H, W, 3).
        matrix: (2, 3), from places in the result to places in the image, both (x, y) in pixels from
            the upper left corner of the upper left pixel.
    """
    places = np.array(matrix, np.float64)
    places[:, 2] += places[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from that pixel's centre
    height, width = image.shape[:2]
    return cv2.warpAffine(
        image,
        places,
        (width, height),
        borderValue=FILL,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )


def shear_x(image: np.ndarray, slope: float) -> np.ndarray:
    """Moves each row sideways by its distance from the top times the slope."""
    return affine(image, [[1.0, slope, 0.0], [0.0, 1.0, 0.0]])


def shear_y(image: np.ndarray, slope: float) -> np.ndarray:
    """Moves each column by its distance from the left times the slope."""
    return affine(image, [[1.0, 0.0, 0.0], [slope, 1.0, 0.0]])


def translate_x(image: np.ndarray, fraction: float) -> np.ndarray:
    """Moves the image sideways by a fraction of its width."""
    return affine(image, [[1, 0, fraction * image.shape[1]], [0, 1, 0]])


def translate_y(image: np.ndarray, fraction: float) -> np.ndarray:
    """Moves the image by a fraction of its height."""
    return affine(image, [[1, 0, 0], [0, 1, fraction * image.shape[0]]])


def rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turns the image about its centre, counter-clockwise."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([image.shape[1] / 2, image.shape[0] / 2])
    return affine(image, np.column_stack([turn, centre - turn @ centre]))
