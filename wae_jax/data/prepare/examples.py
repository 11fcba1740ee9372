"""From a list of photos to the records, order, shards and metadata that TFDS would give them."""

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing
from tensorflow_datasets.core.utils import shard_utils
from tensorflow_datasets.proto import tf_example_pb2

from wae_jax.data.prepare.shards import Shard
from wae_jax.errors import UserError

FILE_FORMAT = "array_record"

# Reads the photo of one row of a photo list.
ReadPhoto = Callable[[np.void], bytes]


def photo_list(rows: list[tuple[str, int, int, int, int]]) -> np.ndarray:
    """Makes a photo list: a structured array, 40 to 100 bytes a photo.

    Args:
        rows: n tuples of the fields below, the name as text.

    Returns:
        (n,) rows with the fields
        name: value of the feature `file_name`, unique, UTF-8;
        label: class number;
        offset, size: where the photo is in its file, in bytes;
        stored: size of the photo as it will be stored, in bytes.

    Raises:
        UserError: a name cannot be written in UTF-8.
    """
    try:
        names = [row[0].encode() for row in rows]
    except UnicodeEncodeError as error:
        raise UserError(f"the file name {error.object!r} is not UTF-8") from error
    width = max(map(len, names), default=1)
    numbers = ("label", "offset", "size", "stored")
    photos = np.empty(len(rows), [("name", f"S{width}"), *((field, "i8") for field in numbers)])
    photos["name"] = names
    for i, field in enumerate(numbers, start=1):
        photos[field] = [row[i] for row in rows]
    return photos


def in_tfds_order(photos: np.ndarray, split: str) -> np.ndarray:
    """Sorts photos as TFDS shuffles them: by the MD5 of split and file name.

    Raises:
        UserError: two photos have the same name.
    """
    hasher = hashing.Hasher(split)
    keys = np.empty((2, len(photos)), np.uint64)
    for i, name in enumerate(photos["name"]):
        keys[:, i] = divmod(hasher.hash_key(name.decode()), 1 << 64)
    order = np.lexsort(keys[::-1])
    photos = photos[order]
    twice = photos["name"][1:] == photos["name"][:-1]
    if twice.any():
        name = photos["name"][1:][twice][0].decode()
        raise UserError(f"two photos of the split {split} have the name {name}")
    return photos


def serialize(image: bytes, label: int, name: bytes) -> bytes:
    """Returns the serialised tf.train.Example with TFDS's features for image classification.

    The order of the features is that of their names; TFDS leaves it to chance.
    """
    example = tf_example_pb2.Example()
    features = example.features.feature
    features["image"].bytes_list.value.append(image)
    features["label"].int64_list.value.append(label)
    features["file_name"].bytes_list.value.append(name)
    return example.SerializeToString(deterministic=True)


def serialized_sizes(photos: np.ndarray) -> np.ndarray:
    """Returns int64 (n,): what `len(serialize(...))` will be, without reading the photos."""

    def nested(size):  # tag and length of a protobuf field come before its `size` bytes
        return 1 + _varint_size(size) + size

    def entry(key: str, value_size):  # of the map from names to features
        return nested(nested(len(key)) + nested(nested(value_size)))

    sizes = (
        entry("image", nested(photos["stored"]))
        + entry("label", nested(_varint_size(photos["label"])))
        + entry("file_name", nested(np.char.str_len(photos["name"])))
    )
    return nested(sizes)


def _varint_size(values):
    """Bytes of a protobuf integer: seven bits in each."""
    return 1 + sum(np.asarray(values, np.int64) >= 1 << bits for bits in range(7, 63, 7))


def plan_split(
    photos: np.ndarray, split: str, dataset_name: str, read: ReadPhoto
) -> tuple[list[Shard], tfds.core.SplitInfo]:
    """Cuts photos, in their final order, into as many shards as TFDS would make.

    Returns:
        The shards, and the entry of the split for dataset_info.json.

    Raises:
        UserError: there are no photos.
    """
    if not len(photos):
        raise UserError(f"there are no photos for the split {split}")
    sizes = serialized_sizes(photos)
    num_shards = shard_utils.ShardConfig().get_number_shards(int(sizes.sum()), len(photos))
    bounds = [0, *shard_utils.get_shard_boundaries(len(photos), num_shards)]
    files = tfds.core.ShardedFileTemplate(
        data_dir="", dataset_name=dataset_name, split=split, filetype_suffix=FILE_FORMAT
    )
    shards = [
        Shard(
            file_name=files.sharded_filepath(shard_index=i, num_shards=num_shards).name,
            num_records=stop - start,
            num_bytes=int(sizes[start:stop].sum()),
            read=functools.partial(_records, photos[start:stop], read),
        )
        for i, (start, stop) in enumerate(itertools.pairwise(bounds))
    ]
    info = tfds.core.SplitInfo(
        name=split,
        shard_lengths=[shard.num_records for shard in shards],
        num_bytes=int(sizes.sum()),
        filename_template=files,
    )
    return shards, info


def _records(photos: np.ndarray, read: ReadPhoto) -> Iterator[bytes]:
    for photo in photos:
        yield serialize(read(photo), int(photo["label"]), bytes(photo["name"]))


def write_metadata(
    info: tfds.core.DatasetInfo, splits: list[tfds.core.SplitInfo], folder: Path
) -> None:
    """Writes dataset_info.json, features.json and the class names, as TFDS does."""
    info.set_splits(tfds.core.splits.SplitDict(splits))
    info.write_to_directory(folder)
