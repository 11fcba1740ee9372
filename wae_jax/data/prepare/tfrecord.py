"""Turns a TFDS data set in TFRecord files into one in ArrayRecord files, which can be shuffled.

Framing of a TFRecord: length (uint64), masked CRC-32C of the length, payload, masked CRC-32C of the
payload; all little-endian. (Format: TensorFlow's `record_writer.h`.)
"""

import functools
import json
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import tensorflow_datasets as tfds

from wae_jax.data.prepare import examples, shards, workspace
from wae_jax.errors import UserError
from wae_jax.runtime import files

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_INFO_FILE = "dataset_info.json"


def convert_tfrecord(
    source: str | os.PathLike, target: str | os.PathLike, *, workers: int = 0
) -> Path:
    """Converts a data set: the same records, byte for byte, in the same order and number of shards.

    Args:
        source: the folder that holds the TFRecord files and `dataset_info.json`.
        target: the folder that will hold the ArrayRecord files.
        workers: shards converted at a time; 0: as many as there are CPU cores.

    Returns:
        `target` as an absolute path. If the data set is there already, nothing is done.

    Raises:
        UserError: `source` is no such data set, a record is damaged (the message has file and
            byte), or a file cannot be written.
    """
    source, final = (Path(path).expanduser().absolute() for path in (source, target))
    info = _read_info(source)
    _check_label_names(source, info)
    if workspace.is_finished(final):
        return final
    with workspace.open_workspace(final) as work:
        if work is None:
            return final
        todo, inputs = [], {}
        for split in info.splits.values():
            records = split.filename_template
            arrays = records.replace(filetype_suffix=examples.FILE_FORMAT)
            for i, num_records in enumerate(split.shard_lengths):
                at = {"shard_index": i, "num_shards": split.num_shards}
                file = source / records.sharded_filepath(**at).name
                size, time = _size_and_time(file)
                inputs[str(file)] = [size, time]
                todo.append(
                    shards.Shard(
                        file_name=arrays.sharded_filepath(**at).name,
                        num_records=num_records,
                        num_bytes=size,
                        read=functools.partial(_checked, file, num_records),
                    )
                )
        if not todo:
            raise UserError(f"{source / _INFO_FILE} names no shards")
        work.start(inputs)
        shards.write_shards(todo, work.result, workers)
        _copy_metadata(source, work.result)
        work.finish()
    return final


def read_tfrecords(path: Path) -> Iterator[bytes]:
    """Reads the payloads of a TFRecord file, with both CRCs checked.

    Raises:
        UserError: a record is damaged or cut short; the message has its first byte.
    """
    position, number = 0, 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size

        def damaged(what: str) -> UserError:
            return UserError(f"{path} is damaged: {what} of record {number} at byte {position}")

        while position < size:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise damaged("the file ends in the header")
            length, crc = _HEADER.unpack(header)
            if _masked_crc(header[:8]) != crc:
                raise damaged("wrong CRC of the length")
            if position + _HEADER.size + length + _FOOTER.size > size:
                raise damaged("the file ends in the payload")
            payload = file.read(length)
            if _masked_crc(payload) != _FOOTER.unpack(file.read(_FOOTER.size))[0]:
                raise damaged("wrong CRC of the payload")
            yield payload
            position += _HEADER.size + length + _FOOTER.size
            number += 1


def _masked_crc(data: bytes) -> int:
    """TensorFlow rotates CRCs and adds a constant, lest a CRC of data with CRCs be weak."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _checked(path: Path, expected: int) -> Iterator[bytes]:
    count = 0
    for payload in read_tfrecords(path):
        count += 1
        yield payload
    if count != expected:
        raise UserError(f"{path} has {count} records where {_INFO_FILE} says {expected}")


def _read_info(source: Path) -> tfds.core.DatasetInfo:
    if not (source / _INFO_FILE).is_file():
        raise UserError(
            f"{source} holds no TFDS data set: there is no {_INFO_FILE}; name the folder with the "
            "TFRecord files, such as ~/tensorflow_datasets/imagenet2012/5.1.0"
        )
    try:
        info = tfds.builder_from_directory(source).info
    except Exception as error:  # TFDS raises many kinds for damaged metadata
        raise UserError(f"{source} is not a readable TFDS data set: {error}") from error
    if info.file_format is not tfds.core.FileFormat.TFRECORD:
        raise UserError(f"{source} is stored as {info.file_format.value}, not as tfrecord")
    return info


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise UserError(f"the shard {file} is missing") from error
    return status.st_size, status.st_mtime_ns


def _check_label_names(source: Path, info: tfds.core.DatasetInfo) -> None:
    """Raises UserError where ImageNet's classes have other names than they have: a damaged file.

    The names are in a text file without a checksum; those of other data sets nobody knows.
    """
    if info.name != "imagenet2012":
        return
    names = info.features["label"].names
    own = tfds.builder("imagenet2012").info.features["label"].names
    wrong = [pair for pair in zip(names, own, strict=False) if pair[0] != pair[1]]
    if wrong or len(names) != len(own):
        found, right = wrong[0] if wrong else (f"{len(names)} names", f"{len(own)}")
        raise UserError(
            f"the label names in {source} are damaged: {found!r} where ImageNet has {right!r}"
        )


def _copy_metadata(source: Path, target: Path) -> None:
    """Copies all but the shards; dataset_info.json, the last, names the new format."""
    for path in sorted(source.iterdir()):
        if path.is_file() and ".tfrecord" not in path.name and path.name != _INFO_FILE:
            shutil.copyfile(path, target / path.name)
    content = json.loads((source / _INFO_FILE).read_text())
    content["fileFormat"] = examples.FILE_FORMAT
    files.write_atomically(target / _INFO_FILE, json.dumps(content, indent=2))
