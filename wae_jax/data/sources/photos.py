"""`foolbox_photos`: 20 labelled ImageNet photos, enough for smoke runs at 224 pixels.

The photos (JPEG of several sizes) come in the PyPI package foolbox (Rauber et al., MIT licence);
their file names carry the ImageNet class index. The data set has ImageNet's 1000 classes, with
WordNet ids as names as in TFDS, and the same 20 photos as splits `train` and `validation`. It is
far too small to learn or to measure anything from.
"""

import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from wae_jax.data.sources import fetch, prepared

NAME, VERSION = "foolbox_photos", "1.0.0"
PYPI_PACKAGE, PYPI_VERSION = "foolbox", "3.3.4"
PYPI_SHA256 = "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"

_PHOTO_NAME = re.compile(r"foolbox/data/(imagenet_\d\d_(\d+)\.jpg)")


def prepare(cache_dir: str | os.PathLike = "") -> Path:
    """Returns the folder of the prepared data set; fetches and writes it if need be.

    Raises:
      UserError: the package cannot be fetched.
    """
    return prepared.prepare(
        lambda folder: FoolboxPhotos(cache_dir, data_dir=folder, file_format="array_record"),
        NAME,
        VERSION,
        cache_dir=cache_dir,
    )


with tfds.core.registered.skip_registration():

    class FoolboxPhotos(tfds.core.GeneratorBasedBuilder):
        """Writes the photos' own JPEG bytes, features named as in TFDS's `imagenet2012`."""

        name = NAME
        url_infos: ClassVar[dict] = {}  # nothing is downloaded through TFDS
        VERSION = tfds.core.Version(VERSION)

        def __init__(self, cache_dir: str | os.PathLike, **kwargs):
            self._cache_dir = cache_dir
            super().__init__(**kwargs)

        def _info(self):
            imagenet_labels = tfds.builder("imagenet2012").info.features["label"]
            return tfds.core.DatasetInfo(
                builder=self,
                description="The 20 labelled ImageNet photos that foolbox ships as examples.",
                features=tfds.features.FeaturesDict(
                    {
                        "file_name": tfds.features.Text(),
                        "image": tfds.features.Image(encoding_format="jpeg"),
                        "label": tfds.features.ClassLabel(names=imagenet_labels.names),
                    }
                ),
                supervised_keys=("image", "label"),
                homepage="https://github.com/bethgelab/foolbox",
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            wheel = fetch.fetch_pypi(
                PYPI_PACKAGE, PYPI_VERSION, PYPI_SHA256, cache_dir=self._cache_dir
            )
            return {split: self._generate_examples(wheel) for split in ("train", "validation")}

        def _generate_examples(self, wheel: Path) -> Iterator[tuple[str, dict]]:
            with zipfile.ZipFile(wheel) as archive:
                for path in archive.namelist():
                    if match := _PHOTO_NAME.fullmatch(path):
                        name, label = match.groups()
                        yield (
                            name,
                            {
                                "file_name": name,
                                "image": io.BytesIO(archive.read(path)),
                                "label": int(label),
                            },
                        )
