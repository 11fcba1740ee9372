import importlib.resources
import json
import shutil
import struct

import google_crc32c
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from wae_jax.data import open_source
from wae_jax.data.prepare import convert_tfrecord, tfrecord
from wae_jax.errors import UserError

from .conftest import contents


def framed(payload):
    """A record as TensorFlow writes it."""

    def masked(data):
        crc = google_crc32c.value(data)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


@pytest.fixture
def tfrecords(prepared_imagenet, tmp_path):
    """The miniature ImageNet as an older project has it: the same records in TFRecord files."""
    folder = tmp_path / "imagenet2012-tfrecord"
    folder.mkdir()
    for path in prepared_imagenet.iterdir():
        if ".array_record-" in path.name:
            reader = ArrayRecordReader(str(path))
            records = reader.read(0, reader.num_records())
            name = path.name.replace(".array_record-", ".tfrecord-")
            (folder / name).write_bytes(b"".join(map(framed, records)))
        else:
            shutil.copy(path, folder)
    info = folder / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))
    return folder


def test_converts_byte_for_byte(tfrecords, prepared_imagenet, tmp_path):
    before = contents(tfrecords)
    folder = convert_tfrecord(tfrecords, tmp_path / "imagenet2012" / "5.1.0")
    converted, original = contents(folder), contents(prepared_imagenet)
    infos = [json.loads(files.pop("dataset_info.json")) for files in (converted, original)]
    assert converted == original
    assert infos[0] == infos[1]
    assert contents(tfrecords) == before
    builder = tfds.builder_from_directory(folder)
    assert len(builder.as_data_source("validation")) == 60
    assert len(open_source("imagenet2012", "train", data_dir=tmp_path)) > 2000
    assert not list(tmp_path.rglob(".preparing*"))


def test_reads_what_tensorflow_wrote():
    """A file of Grain's own tests."""
    testdata = importlib.resources.files("grain") / "_src/python/testdata"
    with importlib.resources.as_file(testdata / "morris_sequence_first_5.tfrecord") as path:
        records = list(tfrecord.read_tfrecords(path))
    assert records == [b"1", b"1 1", b"2 1", b"1 2 1 1", b"1 1 1 2 2 1"]


SHARD = "imagenet2012-train.tfrecord-00003-of-00128"


def second_record(path):
    data = path.read_bytes()
    return len(framed(data[12 : 12 + struct.unpack_from("<Q", data)[0]]))


@pytest.mark.parametrize(
    "field, offset", {"length": 0, "CRC of the length": 9, "payload": 500, "last CRC": -1}.items()
)
def test_a_flipped_byte_is_named(field, offset, tfrecords, tmp_path):
    path = tfrecords / SHARD
    start = second_record(path)
    data = bytearray(path.read_bytes())
    third = start + 16 + struct.unpack_from("<Q", data, start)[0]
    data[(third if offset < 0 else start) + offset] ^= 0x10
    path.write_bytes(data)
    message = f"{SHARD} is damaged: .* record 1 at byte {start}$"
    with pytest.raises(UserError, match=message) as error:
        convert_tfrecord(tfrecords, tmp_path / "out")
    assert ("CRC of the length" in str(error.value)) == (field in ("length", "CRC of the length"))
    assert not (tmp_path / "out").exists()
    written = contents(tmp_path / ".preparing-out")
    assert not any(SHARD.replace("tfrecord", "array_record") in name for name in written)
    assert not any(".partial" in name for name in written)


@pytest.mark.parametrize("damage", ["flipped", "lost"])
def test_damaged_label_names_are_seen(damage, tfrecords, tmp_path):
    names = tfrecords / "label.labels.txt"
    content = bytearray(names.read_bytes())
    if damage == "flipped":
        content[300] ^= 1
    names.write_bytes(content[:-11] if damage == "lost" else content)
    with pytest.raises(UserError, match=r"label names in .* are damaged: .* where ImageNet has"):
        convert_tfrecord(tfrecords, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cut_short(tfrecords, tmp_path):
    path = tfrecords / SHARD
    data = path.read_bytes()
    for cut, where in ((5, "in the payload"), (len(data) - 7, "in the header")):
        path.write_bytes(data[:-cut])
        with pytest.raises(UserError, match=f"{SHARD} is damaged: the file ends {where} of record"):
            convert_tfrecord(tfrecords, tmp_path / "out")
    path.write_bytes(b"")
    with pytest.raises(UserError, match=f"{SHARD} has 0 records where dataset_info.json says 1"):
        convert_tfrecord(tfrecords, tmp_path / "out")


def test_missing_shard(tfrecords, tmp_path):
    (tfrecords / SHARD).unlink()
    with pytest.raises(UserError, match=f"{SHARD} is missing"):
        convert_tfrecord(tfrecords, tmp_path / "out")
    assert not list(tmp_path.glob("*out"))


def test_no_tfrecords(prepared_imagenet, tmp_path):
    with pytest.raises(UserError, match="no TFDS data set: there is no dataset_info"):
        convert_tfrecord(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="is stored as array_record, not as tfrecord"):
        convert_tfrecord(prepared_imagenet, tmp_path / "out")


def test_known_crc():
    """CRC-32C of the digits, from RFC 3720's family of check values."""
    assert google_crc32c.value(b"123456789") == 0xE3069283
