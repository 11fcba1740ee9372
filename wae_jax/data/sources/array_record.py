"""Random access to the encoded images and labels of a data set, by its name.

`cifar10`, `foolbox_photos` and `photos_500x375` prepare themselves; `folder` is a folder of photos;
every other name is a data set in TFDS's ArrayRecord layout, prepared by TFDS or anything that
writes its layout. TensorFlow is never needed.
"""

import bisect
import itertools
import os
import threading
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf import message
from tensorflow_datasets.proto import tf_example_pb2

from wae_jax.data.bad import BadRecordError
from wae_jax.data.sources import cifar10, folder, lookup, photos, photos_500x375
from wae_jax.data.sources.base import Source, SourceInfo
from wae_jax.data.sources.classes import Classes, check_same_classes
from wae_jax.errors import UserError

_SELF_PREPARED = {
    "cifar10": cifar10,
    "foolbox_photos": photos,
    "photos_500x375": photos_500x375,
}


class Shard(NamedTuple):
    """Some records of one file, all or a part."""

    file: str
    first: int
    count: int


class ArrayRecordSource(Source):
    """One split of a TFDS data set in ArrayRecord files."""

    def __init__(self, info: SourceInfo, directory: Path, shards: tuple[Shard, ...]):
        """`shards`: where the split's records lie, in their order."""
        self.info = info
        self._directory, self._shards = directory, shards
        self._starts = list(itertools.accumulate((s.count for s in shards), initial=0))
        self._lock = threading.Lock()
        self._readers: list[ArrayRecordReader | None] = [None] * len(shards)

    def _read(self, indices):
        try:
            return [self._read_one(index) for index in indices]
        except (RuntimeError, KeyError, IndexError, message.DecodeError) as error:
            raise BadRecordError(f"it cannot be read: {_first_line(error)}") from error

    def _read_one(self, index: int) -> tuple[bytes, int]:
        # Straight from the shard: TFDS's data source takes three times as long a photo.
        shard, position = self._locate(index)
        if self._readers[shard] is None:
            with self._lock:
                path = self._directory / self._shards[shard].file
                self._readers[shard] = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        return _parse(self._readers[shard].read([position])[0])

    def _locate(self, index: int) -> tuple[int, int]:
        """Number of the shard, and of the record in its file."""
        shard = bisect.bisect_right(self._starts, index) - 1
        return shard, self._shards[shard].first + index - self._starts[shard]

    def where(self, index):
        shard, position = self._locate(index)
        return f"record {position} of {self._directory / self._shards[shard].file}"

    def __getstate__(self):
        return {"info": self.info, "directory": self._directory, "shards": self._shards}

    def __setstate__(self, state):
        self.__init__(**state)


def open_source(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike = "",
    cache_dir: str | os.PathLike = "",
    classes: Classes | None = None,
) -> Source:
    """Opens one split of a data set.

    Args:
      name: "cifar10", "foolbox_photos", "photos_500x375", "folder", or a TFDS data set as
        `name[/config][:version]`.
      split: split or part of one in TFDS's notation: "train", "train[:99%]", "validation[5000:]".
      data_dir: folder of TFDS data sets; default: environment variable TFDS_DATA_DIR, else
        `~/tensorflow_datasets`. A self-preparing data set is looked up here only if this is given.
        For "folder": where the photos are, as split/class/photo.jpg.
      cache_dir: where self-preparing data sets are kept, see `fetch.cache_root`.
      classes: what labels must stand for: those of the split that a network was, or will be,
        trained on. A split of "folder" may lack some. None, for the split to train on: its own.

    Raises:
      UserError: no such data set or split, not in ArrayRecord format, without the features `image`
        and `label`, or of other classes.
    """
    source = _open(name, split, data_dir, cache_dir, classes)
    if classes is not None:
        check_same_classes(source.info.classes, classes)
    return source


def _open(name: str, split: str, data_dir, cache_dir, classes: Classes | None) -> Source:
    if name == folder.NAME:
        if not data_dir:
            raise UserError(
                "the data set 'folder' needs --config.data.data_dir=FOLDER, the folder "
                "that holds SPLIT/CLASS/PHOTO.jpg"
            )
        return folder.open_folder(Path(data_dir).expanduser(), split, classes)
    module = _SELF_PREPARED.get(name)
    if module is not None and not (data_dir and (Path(data_dir) / name).is_dir()):
        directory = module.prepare(cache_dir)
    else:
        directory = lookup.find_prepared(
            name, data_dir, self_prepared=(*_SELF_PREPARED, folder.NAME)
        )
    return _open_array_record(name, split, directory)


def _open_array_record(name: str, split: str, directory: Path) -> ArrayRecordSource:
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
    num_examples = sum(shard.count for shard in shards)
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
