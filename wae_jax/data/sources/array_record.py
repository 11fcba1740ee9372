"""Data sets in TFDS's ArrayRecord layout, whoever wrote it. TensorFlow is not needed."""

import bisect
import itertools
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds
from google.protobuf import message
from tensorflow_datasets.proto import tf_example_pb2

from wae_jax.data.bad import BadRecordError
from wae_jax.data.sources.base import Source, SourceInfo
from wae_jax.data.sources.open_files import OpenFiles
from wae_jax.errors import UserError


class Shard(NamedTuple):
    """Some records of one file, all or a part."""

    file: str
    first: int
    length: int


class ArrayRecordSource(Source):
    """One split of a TFDS data set in ArrayRecord files."""

    def __init__(self, info: SourceInfo, directory: Path, shards: tuple[Shard, ...]):
        """Opens nothing yet.

        Args:
            info: what is known of the split.
            directory: the folder of the files.
            shards: where the split's records lie, in their order.
        """
        self.info = info
        self._directory, self._shards = directory, shards
        self._paths = [directory / shard.file for shard in shards]
        self._starts = list(itertools.accumulate((s.length for s in shards), initial=0))
        self._files = OpenFiles()

    def _read(self, indices):
        try:
            return [self._read_one(index) for index in indices]
        except (RuntimeError, KeyError, IndexError, message.DecodeError) as error:
            raise BadRecordError(f"it cannot be read: {_first_line(error)}") from error

    def _read_one(self, index: int) -> tuple[bytes, int]:
        # Straight from the shard: TFDS's data source takes three times as long a photo.
        shard, position = self._locate(index)
        with self._files.borrow(self._paths[shard]) as reader:
            record = reader.read([position])[0]
        return _parse(record)

    def _locate(self, index: int) -> tuple[int, int]:
        """Number of the shard, and of the record in its file."""
        shard = bisect.bisect_right(self._starts, index) - 1
        return shard, self._shards[shard].first + index - self._starts[shard]

    def where(self, index):
        shard, position = self._locate(index)
        return f"record {position} of {self._paths[shard]}"

    def __reduce__(self):
        return ArrayRecordSource, (self.info, self._directory, self._shards)


def open_array_record(name: str, split: str, directory: Path) -> ArrayRecordSource:
    """Opens one split of the data set in a TFDS version folder; arguments of `open_source`.

    Raises:
        UserError: damaged metadata, another format, other features, no such split, missing files.
    """
    try:
        info = tfds.builder_from_directory(directory).info
    except Exception as error:  # TFDS raises many kinds for damaged metadata
        raise UserError(
            f"{directory} is not a readable TFDS data set: {_first_line(error)}"
        ) from error
    if info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise UserError(
            f"{directory} is stored as {info.file_format.value}, and only ArrayRecord can be read "
            "in random order; convert it with `python -m wae_jax prepare tfrecord "
            f"--in={directory} --out=DIR`"
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
        instructions = info.splits[split].file_instructions
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{name} has no split {split!r}; its splits are {', '.join(info.splits)}, or a "
            "part such as 'train[:99%]'"
        ) from error
    shards = tuple(Shard(Path(i.filename).name, i.skip, i.take) for i in instructions)
    num_examples = sum(shard.length for shard in shards)
    if not num_examples:
        raise UserError(f"split {split!r} of {name} is empty")
    missing = [shard.file for shard in shards if not (directory / shard.file).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} file(s) of {name} are missing, the first is "
            f"{directory / missing[0]}; prepare the data set again"
        )
    found = SourceInfo(
        name=name,
        split=split,
        num_classes=label.num_classes,
        class_names=_class_names(label),
        num_examples=num_examples,
        image_shape=None if None in image.shape else image.shape,
    )
    return ArrayRecordSource(found, directory, shards)


def _parse(record: bytes) -> tuple[bytes, int]:
    """Takes the two features out of a serialised tf.train.Example; TFDS's parser is 4x slower."""
    features = tf_example_pb2.Example.FromString(record).features.feature
    return features["image"].bytes_list.value[0], features["label"].int64_list.value[0]


def _class_names(label: tfds.features.ClassLabel) -> tuple[str, ...] | None:
    names = tuple(label.names)
    return None if names == tuple(str(i) for i in range(len(names))) else names


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
