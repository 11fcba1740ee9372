"""Random access to the encoded images and labels of a data set in TFDS's ArrayRecord layout.

`cifar10` and `foolbox_photos` prepare themselves; every other name is a folder that TFDS (or
anything that writes its layout) has prepared. TensorFlow is never needed.
"""

import dataclasses
import functools
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from wae_jax.data import cifar10, lookup, photos
from wae_jax.data.records import DecodedRecords
from wae_jax.errors import UserError

_SELF_PREPARED = {"cifar10": cifar10, "foolbox_photos": photos}


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What is known of a split without reading a record.

    Attributes:
      name: as asked for, for example "imagenet2012" or "imagenette/160px".
      split: as asked for, for example "train[:99%]".
      num_classes: labels are 0..num_classes-1.
      class_names: one name per class, or None where TFDS has only numbers.
      num_examples: records in the split.
      image_shape: (height, width, channels) if all images share it, else None.
    """

    name: str
    split: str
    num_classes: int
    class_names: tuple[str, ...] | None
    num_examples: int
    image_shape: tuple[int, int, int] | None


class Source:
    """One split. Safe to share between threads; a pickled copy opens its files again when read."""

    def __init__(self, info: SourceInfo, directory: Path):
        self.info = info
        self._directory = directory
        self._lock = threading.Lock()
        self._records = None

    def __len__(self) -> int:
        return self.info.num_examples

    def read(self, indices: Sequence[int]) -> list[tuple[bytes, int]]:
        """Reads records by number in one go.

        Args:
          indices: numbers in 0..len-1, in any order, repeats allowed.

        Returns:
          (encoded image, label) for each index, in their order.

        Raises:
          IndexError: an index is out of range.
        """
        indices = [int(index) for index in indices]
        if indices and not 0 <= min(indices) <= max(indices) < len(self):
            raise IndexError(f"records {min(indices)}..{max(indices)} of {len(self)}")
        return [_parse(record) for record in self._opened().__getitems__(indices)]

    @functools.cached_property
    def decoded(self) -> DecodedRecords:
        """The same records decoded; all loaders of this source share what is kept in memory."""
        return DecodedRecords(self)

    def _opened(self):
        with self._lock:
            if self._records is None:
                builder = tfds.builder_from_directory(self._directory)
                self._records = builder.as_data_source(
                    self.info.split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
                )
            return self._records

    def __getstate__(self):
        return {"info": self.info, "directory": self._directory}

    def __setstate__(self, state):
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"Source({self.info.name!r}, {self.info.split!r}, {len(self)} examples)"


def open_source(
    name: str, split: str, *, data_dir: str | os.PathLike = "", cache_dir: str | os.PathLike = ""
) -> Source:
    """Opens one split of a data set.

    Args:
      name: "cifar10", "foolbox_photos" or a TFDS data set as `name[/config][:version]`.
      split: split or part of one in TFDS's notation: "train", "train[:99%]", "validation[5000:]".
      data_dir: folder of TFDS data sets; default: environment variable TFDS_DATA_DIR, else
        `~/tensorflow_datasets`. A self-preparing data set is looked up here only if this is given.
      cache_dir: where self-preparing data sets are kept, see `fetch.cache_root`.

    Raises:
      UserError: no such data set or split, not in ArrayRecord format, or without the features
        `image` and `label`.
    """
    module = _SELF_PREPARED.get(name)
    if module is not None and not (data_dir and (Path(data_dir) / name).is_dir()):
        directory = module.prepare(cache_dir)
    else:
        directory = lookup.find_prepared(name, data_dir, self_prepared=tuple(_SELF_PREPARED))
    return Source(_read_info(name, split, directory), directory)


def _read_info(name: str, split: str, directory: Path) -> SourceInfo:
    try:
        info = tfds.builder_from_directory(directory).info
    except Exception as error:  # TFDS raises many kinds for damaged metadata
        raise UserError(
            f"{directory} is not a readable TFDS data set: {_first_line(error)}"
        ) from error
    if info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise UserError(
            f"{directory} is stored as {info.file_format.value}, and only ArrayRecord can be read "
            "in random order without TensorFlow; prepare it again with `tfds build "
            f"{name} --file_format=array_record`"
        )
    image, label = (dict(info.features).get(key) for key in ("image", "label"))
    if not isinstance(image, tfds.features.Image) or not isinstance(
        label, tfds.features.ClassLabel
    ):
        raise UserError(
            f"{name} is not an image classification data set: it needs the features "
            f"`image` and `label` and has {', '.join(sorted(info.features))}"
        )
    try:
        num_examples = info.splits[split].num_examples
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{name} has no split {split!r}; its splits are {', '.join(info.splits)}, or a "
            "part such as 'train[:99%]'"
        ) from error
    if not num_examples:
        raise UserError(f"split {split!r} of {name} is empty")
    return SourceInfo(
        name=name,
        split=split,
        num_classes=label.num_classes,
        class_names=_class_names(label),
        num_examples=num_examples,
        image_shape=None if None in image.shape else image.shape,
    )


def _parse(record: bytes) -> tuple[bytes, int]:
    """Takes the two features out of a serialised tf.train.Example; TFDS's parser is 4x slower."""
    features = tf_example_pb2.Example.FromString(record).features.feature
    return features["image"].bytes_list.value[0], features["label"].int64_list.value[0]


def _class_names(label: tfds.features.ClassLabel) -> tuple[str, ...] | None:
    names = tuple(label.names)
    return None if names == tuple(str(i) for i in range(len(names))) else names


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
