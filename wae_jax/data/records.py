"""From record numbers to decoded images and labels; small data sets stay decoded in memory."""

import math
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from wae_jax.data import transforms
from wae_jax.errors import UserError

if TYPE_CHECKING:
    from wae_jax.data.sources import Source

# CIFAR-10's training split takes 154 MB; photos never qualify, as their shapes vary.
_MAX_KEPT_BYTES = 1 << 30


class DecodedRecords:
    """Reads decoded images. Where all of them fit into memory, each is decoded only once.

    Safe to share between threads. A pickled copy starts with an empty memory.

    Attributes:
      source: what is read.
      kept: whether decoded images stay in memory.
    """

    def __init__(self, source: "Source"):
        self.source = source
        self._lock = threading.Lock()
        self._images = None  # uint8 (N, H, W, 3), allocated by the system page by page
        self._labels = np.full(len(source), -1, np.int32)  # -1: not decoded yet
        shape = source.info.image_shape
        self.kept = shape is not None and len(source) * math.prod(shape) <= _MAX_KEPT_BYTES

    def read(self, records: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns the images and labels of int64 (b,) record numbers.

        Returns:
          Images: uint8 (b, H, W, 3), or an iterator that decodes b arrays (H, W, 3) one by one, so
          that large photos need not be in memory together. Labels: int32 (b,).

        Raises:
          UserError: on reading or iterating: an image cannot be decoded, or has no label.
        """
        if not self.kept:
            encoded, labels = self._read_encoded(records)
            return self._decode(records, encoded), labels
        missing = np.unique(records[self._labels[records] < 0])
        if len(missing):
            self._remember(missing)
        return self._images[records], self._labels[records]

    def _remember(self, records: np.ndarray) -> None:
        encoded, labels = self._read_encoded(records)
        with self._lock:
            if self._images is None:
                self._images = np.empty((len(self.source), *self.source.info.image_shape), np.uint8)
        for record, image in zip(records, self._decode(records, encoded), strict=True):
            if image.shape != self._images.shape[1:]:
                raise UserError(
                    f"record {record} of {self.source} has shape {image.shape} and not "
                    f"{self._images.shape[1:]} as its metadata says"
                )
            self._images[record] = image
        self._labels[records] = labels  # last: a label says that the image is there

    def _read_encoded(self, records: np.ndarray) -> tuple[tuple[bytes, ...], np.ndarray]:
        encoded, labels = zip(*self.source.read(records), strict=True)
        if min(labels) < 0:  # as in the test split of imagenet2012
            raise UserError(f"{self.source} has no labels; choose another split")
        return encoded, np.array(labels, np.int32)

    def _decode(self, records: np.ndarray, encoded: tuple[bytes, ...]) -> Iterator[np.ndarray]:
        for record, data in zip(records, encoded, strict=True):
            try:
                yield transforms.decode(data)
            except transforms.DecodeError as error:
                raise UserError(
                    f"record {record} of {self.source} is damaged ({error}); prepare the data "
                    "set again"
                ) from error

    def __getstate__(self):
        return {"source": self.source}

    def __setstate__(self, state):
        self.__init__(**state)
