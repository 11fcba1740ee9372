"""Pictures inside a page, as ``data:`` addresses."""

import base64
import io

import numpy as np
import PIL.Image

_SMALL = 64  # pixels: up to here every pixel is kept as it is
_SIDE = 96  # of a thumbnail, at most


def picture(image: np.ndarray) -> str:
    """uint8 RGB (h, w, 3) as the value of an ``src``: PNG where it is small, else WebP."""
    file = io.BytesIO()
    pixels = PIL.Image.fromarray(np.ascontiguousarray(image))
    if max(image.shape[:2]) <= _SMALL:
        pixels.save(file, "PNG", optimize=True)
        kind = "png"
    else:
        pixels.save(file, "WEBP", quality=85)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def thumbnail(image: np.ndarray) -> str:
    """As :func:`picture`, of at most 96 pixels a side."""
    if max(image.shape[:2]) > _SIDE:
        pixels = PIL.Image.fromarray(np.ascontiguousarray(image))
        pixels.thumbnail((_SIDE, _SIDE), PIL.Image.Resampling.BOX)
        image = np.asarray(pixels)
    return picture(image)
