"""From record numbers to images and labels; small data sets stay decoded in memory."""

import math
import threading
from collections.abc import Iterator

import numpy as np

from wae_jax.data.bad import BadRecordError
from wae_jax.data.images.decode import DecodeError, EncodedImage, Reading, decode
from wae_jax.data.sources.base import Source

# CIFAR-10's training split takes 154 MB; photos never qualify, as their shapes vary.
_MAX_KEPT_BYTES = 1 << 30


class DecodedRecords:
    """Reads decoded images. Where all of them fit into memory, each is decoded only once.

    Make one per source and give it to all its loaders: they share what is kept. Safe to share
    between threads. A pickled copy starts with an empty memory.

    Attributes:
        source: what is read.
        reading: how its image files are read.
        kept: whether decoded images stay in memory.
    """

    def __init__(self, source: Source, reading: Reading | None = None):
        self.source, self.reading = source, reading or Reading()
        self._lock = threading.Lock()
        self._images: np.ndarray | None = None
        self._labels = np.full(len(source), -1, np.int32)  # -1: not decoded yet
        shape = source.info.image_shape
        self.kept = shape is not None and len(source) * math.prod(shape) <= _MAX_KEPT_BYTES

    def read(self, records: np.ndarray) -> tuple[np.ndarray | Iterator[EncodedImage], np.ndarray]:
        """Returns the images and labels of int64 (b,) record numbers.

        Returns:
            Images: uint8 (b, H, W, 3) from memory, or an iterator over b images that are decoded
            when needed, so that large photos need not be in memory together. Labels: int32 (b,).

        Raises:
            BadRecordError: on reading or iterating: one of them cannot be read or decoded, or its
                label is no class.
        """
        if not self.kept:
            encoded, labels = self._read_encoded(records)
            return (EncodedImage(data, self.reading) for data in encoded), labels
        missing = np.unique(records[self._labels[records] < 0])
        if len(missing):
            self._remember(missing)
        return self._memory()[records], self._labels[records]

    def _memory(self) -> np.ndarray:
        """All kept images, uint8 (N, H, W, 3), allocated by the system page by page."""
        with self._lock:
            if self._images is None:
                shape = self.source.info.image_shape
                assert shape is not None  # otherwise nothing is kept
                self._images = np.empty((len(self.source), *shape), np.uint8)
            return self._images

    def _remember(self, records: np.ndarray) -> None:
        encoded, labels = self._read_encoded(records)
        images = self._memory()
        for record, data in zip(records, encoded, strict=True):
            image = decode(data, self.reading)
            if image.shape != images.shape[1:]:
                raise DecodeError(
                    f"its image has shape {image.shape} and not {images.shape[1:]} as the "
                    "metadata says"
                )
            images[record] = image
        self._labels[records] = labels  # last: a label says that the image is there

    def _read_encoded(self, records: np.ndarray) -> tuple[tuple[bytes, ...], np.ndarray]:
        encoded, labels = zip(*self.source.read(records), strict=True)
        classes = self.source.info.num_classes
        for label in labels:
            if not 0 <= label < classes:  # -1 in splits without labels, as imagenet2012's test
                raise BadRecordError(f"its label {label} is none of 0..{classes - 1}")
        return encoded, np.array(labels, np.int32)

    def __reduce__(self):
        return DecodedRecords, (self.source, self.reading)
