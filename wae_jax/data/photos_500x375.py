"""`photos_500x375`: 230 photos of the size that ImageNet's usually have, to measure reading with.

The photos come in the PyPI package ai-benchmark (Ignatov et al.). They are shrunk, cropped in the
centre to 500 x 375 pixels and encoded as JPEG: split `train` at quality 90 (54 KB a photo), split
`heavy` at quality 98 (100 KB, near ImageNet's mean of 110 KB). They have no classes: all labels
are 0 of 1000.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import PIL.Image
import PIL.ImageOps
import tensorflow_datasets as tfds

from wae_jax.data import prepared

SIZE = (500, 375)

_PHOTO_NAME = re.compile(r"ai_benchmark/data/(\w+)/(\d+\.jpg)")


with tfds.core.registered.skip_registration():

    class Photos500x375(prepared.PackagedPhotos):
        """Writes the photos; the argument of a split is its JPEG quality."""

        name = "photos_500x375"
        VERSION = tfds.core.Version("1.0.0")
        package = (
            "ai-benchmark",
            "0.1.2",
            "e97fd54be8e62227a10bf4fad48ba3bf7d116604e11767f0c6307680760dff98",
        )
        splits: ClassVar = {"train": 90, "heavy": 98}
        about = "Photos of 500 x 375 pixels, to measure reading with."

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
