"""Exif's orientation: how the pixels of a file are to be turned so that the photo stands upright.

Only headers are read, JPEG's and PNG's; what Pillow decodes tells its own. Cameras leave the pixels
as the sensor saw them, so portraits are stored lying on their side.
"""

import dataclasses
import struct
import warnings
from collections.abc import Callable

import numpy as np
import PIL.Image

# Top, left, height and width in pixels.
Box = tuple[int, int, int, int]
# First and last edge along a side, in pixels.
Edges = tuple[float, float]

TAG = 0x0112  # Exif's Orientation
_EXIF, _PNG_CHUNK = b"Exif\0\0", b"eXIf"
_APP1, _START_OF_SCAN, _END = 0xE1, 0xDA, 0xD9


# Such a photo is shown as it is stored.
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)


@dataclasses.dataclass(frozen=True)
class Turn:
    """From the image as it is stored to the upright one: first the flips, then the exchange.

    Attributes:
        rows, columns: whether their order is reversed.
        exchanged: whether rows become columns.
    """

    rows: bool = False
    columns: bool = False
    exchanged: bool = False

    def upright(self, stored: np.ndarray) -> np.ndarray:
        """A view (H, W, ...) or (W, H, ...) of the stored (H, W, ...)."""
        turned = stored[:: -1 if self.rows else 1, :: -1 if self.columns else 1]
        return turned.swapaxes(0, 1) if self.exchanged else turned

    def stored(self, upright: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`upright`."""
        flipped = upright.swapaxes(0, 1) if self.exchanged else upright
        return flipped[:: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the upright image from that of the stored one, and the other way round."""
        height, width, *rest = shape
        return (width, height, *rest) if self.exchanged else shape

    def stored_edges(
        self, down: Edges, across: Edges, shape: tuple[int, ...]
    ) -> tuple[Edges, Edges]:
        """Where the part of the upright image of that ``shape`` is stored; edges as (down, across).

        They may lie between pixels.
        """
        height, width = self.shape(shape)[:2]
        if self.exchanged:
            down, across = across, down
        if self.rows:
            down = height - down[1], height - down[0]
        if self.columns:
            across = width - across[1], width - across[0]
        return down, across

    def stored_box(self, box: Box, shape: tuple[int, ...]) -> Box:
        """The same in whole pixels."""
        top, left, height, width = box
        down, across = self.stored_edges((top, top + height), (left, left + width), shape)
        return int(down[0]), int(across[0]), int(down[1] - down[0]), int(across[1] - across[0])


UPRIGHT = Turn()
# By Exif's number.
TURNS = {
    1: UPRIGHT,
    2: Turn(columns=True),
    3: Turn(rows=True, columns=True),
    4: Turn(rows=True),
    5: Turn(exchanged=True),
    6: Turn(rows=True, exchanged=True),
    7: Turn(rows=True, columns=True, exchanged=True),
    8: Turn(columns=True, exchanged=True),
}


def turn_of_jpeg(data: bytes) -> Turn:
    """What the Exif segment of a JPEG file says; upright where there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (_START_OF_SCAN, _END):
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _APP1 and data.startswith(_EXIF, at + 4):
            return turn_of_exif(data[at + 4 : at + 2 + length])
        at += 2 + length
    return UPRIGHT


def turn_of_png(data: bytes) -> Turn:
    """What the chunk eXIf of a PNG file says; upright where there is none."""
    at = 8 if _PNG_CHUNK in data else len(data)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == _PNG_CHUNK:
            return turn_of_exif(data[at + 8 : at + 8 + length])
        at += 12 + length
    return UPRIGHT


def turn_of_exif(block: bytes) -> Turn:
    """What a block of Exif says; upright where it is damaged or says nothing."""

    def load() -> PIL.Image.Exif:
        exif = PIL.Image.Exif()
        exif.load(block)
        return exif

    return _turn(load)


def turn_of_opened(image: PIL.Image.Image) -> Turn:
    """The same of an image that Pillow has opened and not yet loaded."""
    return _turn(image.getexif)


def _turn(load: Callable[[], PIL.Image.Exif]) -> Turn:
    try:
        return TURNS.get(load().get(TAG, 1), UPRIGHT)
    except (SyntaxError, struct.error, ValueError, TypeError, KeyError, OSError, UserWarning):
        return UPRIGHT
