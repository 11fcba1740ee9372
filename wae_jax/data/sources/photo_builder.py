"""What our data sets of labelled JPEG photos share: a TFDS builder that needs only the photos."""

import abc
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import tensorflow_datasets as tfds

from wae_jax.data.sources import prepared


class Photo(NamedTuple):
    """One record: a name that is unique in its split, a JPEG file, and the number of its class."""

    name: str
    file: io.BytesIO
    label: int


with tfds.core.registered.skip_registration():

    class PhotoBuilder(tfds.core.GeneratorBasedBuilder):
        """Writes photos as they are, with the features of TFDS's `imagenet2012`.

        A subclass has `name`, `VERSION`, `class_label` and `photos`.

        Attributes:
            about: one line.
        """

        url_infos: ClassVar[dict] = {}  # nothing is downloaded through TFDS
        about: ClassVar[str]

        def __init__(self, cache_dir: str | os.PathLike, **kwargs):
            self._cache_dir = cache_dir
            super().__init__(**kwargs)

        @classmethod
        def prepare(cls, cache_dir: str | os.PathLike) -> Path:
            """Returns the folder of the prepared data set; fetches and writes it if need be.

            Raises:
                UserError: the photos cannot be had.
            """
            return prepared.prepare(
                lambda folder: cls(cache_dir, data_dir=folder, file_format="array_record"),
                cls.name,
                str(cls.VERSION),
                cache_dir=cache_dir,
            )

        @abc.abstractmethod
        def class_label(self) -> tfds.features.ClassLabel:
            """The classes of all splits."""

        @abc.abstractmethod
        def photos(self, cache_dir: str | os.PathLike) -> Mapping[str, Iterable[Photo]]:
            """The photos of each split.

            Raises:
                UserError: they cannot be had.
            """

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                description=self.about,
                features=tfds.features.FeaturesDict(
                    {
                        "file_name": tfds.features.Text(),
                        # Without its size, also where all have the same: read as photos are.
                        "image": tfds.features.Image(encoding_format="jpeg"),
                        "label": self.class_label(),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {
                split: self._generate_examples(photos)
                for split, photos in self.photos(self._cache_dir).items()
            }

        def _generate_examples(self, photos: Iterable[Photo]) -> Iterator[tuple[str, dict]]:
            for name, file, label in photos:
                yield name, {"file_name": name, "image": file, "label": label}
