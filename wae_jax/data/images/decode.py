"""Decoding image files to uint8 RGB (H, W, 3), whole or only the part that a crop needs.

JPEG goes through simplejpeg (libjpeg-turbo), large PNG through OpenCV, everything else, CMYK
included, through Pillow. Images are turned upright as their Exif says; of several pages or frames
the first counts. Sizes are read from the header and checked before anything is decoded.
"""

import dataclasses
import io
import re
import warnings

import cv2
import numpy as np
import PIL.Image
import simplejpeg

from wae_jax.config import DataSettings
from wae_jax.data.bad import BadRecordError
from wae_jax.data.images.orientation import (
    UPRIGHT,
    Box,
    Turn,
    turn_of_jpeg,
    turn_of_opened,
    turn_of_png,
)

# What the names of photos in folders end in, in any case; a file that is named may have any name.
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

_JPEG_MAGIC, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_MAGIC, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
_CV2_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_PNG_SIZE = slice(16, 24)  # width and height, of four bytes each
# In pixels. For PNG of more OpenCV, with half of Pillow's memory; but it prints what it finds.
_LARGE = 1 << 24
_ERRORS = (
    OSError,
    MemoryError,
    ValueError,
    SyntaxError,
    cv2.error,
    PIL.Image.DecompressionBombError,
    UserWarning,  # Pillow's, of damaged TIFF, where warnings are errors
)
# libjpeg-turbo warns of these, but every pixel is there: bytes between the last one and the next
# marker (EOI, or a restart where we stop early), and a header that claims an odd JFIF version.
_BYTES_LEFT = re.compile(r"extraneous bytes before marker 0xd[0-79]")
_ODD_VERSION = "unknown JFIF revision"
_BASELINE, _SEGMENT_FREE = 0xC0, (0x01, 0xFF, *range(0xD0, 0xD9))
_MCU_ROWS = 16  # rows of the tallest block that is coded together, with the usual subsampling

# It warns from a half of its limit on; ours is the one that counts here.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)


class DecodeError(BadRecordError):
    """These bytes are no image that can be shown whole in RGB."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How image files are read.

    Attributes:
        exif_orientation: turn them upright, where Exif says how.
        max_pixels: larger images are refused before they are decoded. Where Pillow decodes, it has
            a limit of its own too, which is the default here.
    """

    exif_orientation: bool = DataSettings.exif_orientation
    max_pixels: int = DataSettings.max_pixels

    @classmethod
    def of(cls, settings: DataSettings) -> "Reading":
        """As the config says."""
        return cls(settings.exif_orientation, settings.max_pixels)

    def check(self, height: int, width: int) -> None:
        """Raises ValueError where an image is too large."""
        if height * width > self.max_pixels:
            raise ValueError(
                f"its {width} x {height} pixels are more than config.data.max_pixels="
                f"{self.max_pixels}"
            )


_DEFAULT = Reading()


def decode(data: bytes, reading: Reading = _DEFAULT) -> np.ndarray:
    """Decodes an image file as exactly as its format allows: uint8 (H, W, 3).

    Raises:
        DecodeError: the bytes are no image, cut short or damaged, or the image is too large.
    """
    return np.asarray(EncodedImage(data, reading))


class EncodedImage:
    """An image file that is decoded when asked, and then no more of it than needed.

    Attributes:
        shape: (height, width, 3), upright.
        turn: how the stored image is to be turned for that.

    Raises:
        DecodeError: also from its methods: the bytes are no image, cut short or damaged, or the
            image is too large.
    """

    def __init__(self, data: bytes, reading: Reading = _DEFAULT):
        self._data = data
        # As stored; decoded already, where the format has no cheaper way to its size.
        self._image: np.ndarray | None = None
        self.turn = UPRIGHT
        try:
            shape = _plain_jpeg_shape(data) if data.startswith(_JPEG_MAGIC) else None
            if shape is None:
                self._image, self.turn = _decode_other(data, reading)
                shape = self._image.shape
            else:
                reading.check(*shape[:2])
                if reading.exif_orientation:
                    self.turn = turn_of_jpeg(data)
        except _ERRORS as error:
            raise _error(data, error) from error
        self._stored_shape: tuple[int, ...] = shape
        self.shape = self.turn.shape(shape)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """The whole image, upright, by the accurate inverse DCT and interpolated chroma."""
        del dtype, copy
        stored = self._image
        if stored is None:
            stored = self._decode(self._data, self._stored_shape[:2], fast=False)
        return np.ascontiguousarray(self.turn.upright(stored))

    def region(self, box: Box, size: tuple[int, int], *, fast: bool) -> np.ndarray:
        """Decodes a part of the stored image, at a smaller scale if that still has `size` pixels.

        Of baseline JPEG only the rows down to the part's last are decoded; damage below is not seen
        then. A file without a JPEG's end is decoded whole. Other formats are decoded whole before,
        and their parts come smaller only where they are very large.

        Args:
            box: the part, in the image as it is stored, not turned (`turn.stored_box`).
            size: height and width that the result should have at least, as far as the part has
                them.
            fast: decode with a slightly inexact inverse DCT and chroma that is not interpolated.

        Returns:
            uint8 (h, w, 3): the box as stored, or at 1/2, 1/4 or 1/8 scale. May be a view.
        """
        top, left, height, width = box
        scale = max(
            s for s in (1, 2, 4, 8) if s == 1 or (height >= s * size[0] and width >= s * size[1])
        )
        if self._image is not None:
            part = self._image[top : top + height, left : left + width]
            return _shrink(part, scale) if height * width > _LARGE else part
        image = self._rows_until(top + height, scale, fast)
        if scale == 1:
            return image[top : top + height, left : left + width]
        bottom, right = -(-(top + height) // scale), -(-(left + width) // scale)
        return image[top // scale : bottom, left // scale : right]

    def _rows_until(self, bottom: int, scale: int, fast: bool) -> np.ndarray:
        """The whole width of at least the rows above `bottom`, at 1/scale."""
        height, width = self._stored_shape[:2]
        # Interpolated chroma looks at the row below, so leave one block more.
        rows = -(-bottom // _MCU_ROWS) * _MCU_ROWS + (0 if fast else _MCU_ROWS)
        if rows < height and self._data.endswith(_JPEG_END):
            shorter = with_height(self._data, rows)
            if shorter is not None:
                try:
                    return self._decode(shorter, (rows, width), scale=scale, fast=fast)
                except DecodeError:
                    pass  # the whole file will tell
        return self._decode(self._data, (height, width), scale=scale, fast=fast)

    def _decode(self, data, shape: tuple[int, ...], *, scale: int = 1, fast: bool) -> np.ndarray:
        height, width = (-(-side // scale) for side in shape)
        image = np.empty((height, width, 3), np.uint8)
        try:
            # The smallest scale that has these sizes is the one asked for.
            simplejpeg.decode_jpeg(
                data,
                "RGB",
                fastdct=fast,
                fastupsample=fast,
                buffer=image,
                min_height=height,
                min_width=width,
            )
        except ValueError as error:
            # A warning, raised after the image was written. Only the first of a file is told, and
            # this one comes last.
            if not _BYTES_LEFT.search(str(error)):
                raise _error(self._data, error) from error
        return image


def with_height(data: bytes, rows: int) -> bytearray | None:
    """A copy of a baseline JPEG file that claims to have only its first `rows` rows.

    A decoder then stops after them. None where the file is of another kind (progressive, ...) or
    has no more rows than that.
    """
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _BASELINE:
            if int.from_bytes(data[at + 5 : at + 7], "big") <= rows:
                return None
            shorter = bytearray(data)
            shorter[at + 5 : at + 7] = rows.to_bytes(2, "big")
            return shorter
        if marker in _SEGMENT_FREE or (0xC0 < marker < 0xD0 and marker not in (0xC4, 0xC8, 0xCC)):
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _plain_jpeg_shape(data: bytes) -> tuple[int, ...] | None:
    """(height, width, 3), or None for a JPEG that is better left to Pillow: CMYK, odd version."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if _ODD_VERSION in str(error):
            return None
        raise
    return (height, width, 3) if colours in ("YCbCr", "Gray", "RGB") else None


def _decode_other(data: bytes, reading: Reading) -> tuple[np.ndarray, Turn]:
    """The image as stored, and its turn."""
    if data.startswith(_PNG_MAGIC):
        width, height = np.frombuffer(data[_PNG_SIZE], ">u4").tolist()
        reading.check(height, width)
        if _PNG_END not in data:  # Pillow is content with pixels without checksum and end
            raise ValueError("PNG is cut short")
        if height * width > _LARGE:
            rgb = cv2.imdecode(np.frombuffer(data, np.uint8), _CV2_FLAGS)
            if rgb is None:
                raise ValueError("PNG is cut short or damaged")
            return rgb, turn_of_png(data) if reading.exif_orientation else UPRIGHT
    with PIL.Image.open(io.BytesIO(data)) as image:
        reading.check(image.height, image.width)
        if image.mode in ("I", "F"):
            raise ValueError(
                f"its pixels are 32-bit numbers (mode {image.mode}), whose range is not known"
            )
        turn = turn_of_opened(image)
        image.load()
        pixels = _rgb(image)
        if image.format == "TIFF":  # these Pillow has turned already
            return (pixels if reading.exif_orientation else turn.stored(pixels)), UPRIGHT
        return pixels, turn if reading.exif_orientation else UPRIGHT


def _shrink(image: np.ndarray, scale: int) -> np.ndarray:
    """The mean of blocks of so many pixels, as far as there are whole ones."""
    height, width = (side // scale for side in image.shape[:2])
    whole = image[: height * scale, : width * scale]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _rgb(image: PIL.Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):  # 16 bits, which Pillow would clip and not scale
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _error(data: bytes, error: Exception | str) -> DecodeError:
    if isinstance(error, PIL.UnidentifiedImageError):  # its message shows a Python object
        error = "the format is unknown"
    return DecodeError(f"image of {len(data)} bytes cannot be decoded: {error}")
