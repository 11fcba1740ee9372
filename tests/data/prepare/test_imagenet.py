import hashlib
import io
import os
import shutil
import types

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from tensorflow_datasets.core.download import extractor
from tensorflow_datasets.datasets.imagenet2012 import imagenet2012_dataset_builder as tfds_imagenet
from tensorflow_datasets.datasets.imagenet2012 import imagenet_common
from tensorflow_datasets.proto import tf_example_pb2

from wae_jax.data import decode, open_source
from wae_jax.data.prepare import examples, prepare_imagenet2012, tfds_fixes
from wae_jax.errors import UserError

from .conftest import CMYK, GRAY, PNG, VALIDATION_PHOTOS, as_tar, contents, odd_images


@pytest.fixture
def tfds_reference(imagenet_tars, tmp_path, monkeypatch, small_shards):
    """Folder of the miniature as TFDS's own builder prepares it.

    Of TensorFlow it gets three file functions and the conversion of CMYK and PNG, which
    `test_converted_bytes_are_tensorflows` compares with TensorFlow's.
    """
    gfile = types.SimpleNamespace(exists=os.path.exists, GFile=open)
    tensorflow = types.SimpleNamespace(io=types.SimpleNamespace(gfile=gfile))
    for module in (tfds_imagenet, imagenet_common, extractor):
        monkeypatch.setattr(module, "tf", tensorflow)
    for function in ("jpeg_cmyk_to_rgb", "png_to_jpeg"):
        monkeypatch.setattr(tfds.core.utils, function, tfds_fixes.to_rgb_jpeg)
    tfds.disable_progress_bar()
    builder = tfds_imagenet.Builder(data_dir=tmp_path / "theirs", file_format="array_record")
    manager = types.SimpleNamespace(
        manual_dir=imagenet_tars.train.parent, iter_archive=extractor.iter_tar, downloaded_size=0
    )
    monkeypatch.setattr(builder, "_make_download_manager", lambda **_: manager)
    builder.download_and_prepare()
    return builder.data_path


def records(path):
    reader = ArrayRecordReader(str(path))
    return reader.read(0, reader.num_records())


# TFDS leaves tars and buckets open, and says so of itself.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_equals_what_tfds_writes(prepared_imagenet, tfds_reference):
    ours, theirs = contents(prepared_imagenet), contents(tfds_reference)
    assert ours.keys() == theirs.keys()
    shard_names = {name for name in ours if ".array_record-" in name}
    assert len(shard_names) > 20
    for name in ours.keys() - shard_names:
        assert ours[name] == theirs[name], name
    for name in shard_names:
        # TFDS writes the three features of a record in any order.
        assert records(prepared_imagenet / name) == [
            tf_example_pb2.Example.FromString(r).SerializeToString(deterministic=True)
            for r in records(tfds_reference / name)
        ], name


def test_tfds_opens_it(prepared_imagenet, imagenet_tars, wnids):
    builder = tfds.builder_from_directory(prepared_imagenet)
    splits = builder.info.splits
    assert splits["train"].num_examples == len(imagenet_tars.train_photos)
    assert splits["validation"].num_examples == VALIDATION_PHOTOS
    assert prepared_imagenet.parts[-2:] == ("imagenet2012", "5.1.0")
    encoded = {"image": tfds.decode.SkipDecoding()}
    train = {r["file_name"].decode(): r for r in builder.as_data_source("train", decoders=encoded)}
    assert train.keys() == imagenet_tars.train_photos.keys()
    for name, record in train.items():
        assert wnids[record["label"]] == name.split("_")[0]
        if name not in tfds_fixes.NAMES:
            assert record["image"] == imagenet_tars.train_photos[name]
    labels = tfds.core.tfds_path("datasets/imagenet2012/validation_labels.txt")
    labels = labels.read_text().split()
    for record in builder.as_data_source("validation", decoders=encoded):
        name = record["file_name"].decode()
        assert record["image"] == imagenet_tars.validation_photos[name]
        assert wnids[record["label"]] == labels[int(name[15:23]) - 1]


def test_photos_of_all_kinds_can_be_shown(prepared_imagenet, imagenet_tars):
    """Converted ones are RGB JPEG; our decoder copes with those that TFDS leaves as they are."""
    source = tfds.builder_from_directory(prepared_imagenet).as_data_source(
        "train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    stored = {r["file_name"].decode(): r["image"] for r in source}
    for name, mode in {CMYK: "CMYK", GRAY: "L", PNG: "RGB"}.items():
        with PIL.Image.open(io.BytesIO(stored[name])) as image:
            assert image.mode == mode
    for name in tfds_fixes.NAMES:
        with PIL.Image.open(io.BytesIO(stored[name])) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
    for name in (CMYK, GRAY, PNG, *tfds_fixes.NAMES):
        shown, original = decode(stored[name]), decode(imagenet_tars.train_photos[name])
        assert np.abs(shown.mean((0, 1)) - original.mean((0, 1))).max() < 3, name


# Starts of the sha256 of an image file and of its conversion by TFDS 4.9.10 with TensorFlow 2.21.
CONVERSIONS = {
    "CMYK": ("710fe4258fb0ae5e", "e83b64ef1dadf043"),
    "CMYK that is not inverted": ("71439fb8f5a28a19", "18a0047101d6a274"),
    "PNG": ("de32d9f0f31232a2", "f5a4736b42e21fca"),
    "RGB": ("b9e7d86d394b22f7", "4cd07ae96019b65d"),
    "YCCK": ("e9c37b7932358763", "4c798a8b788f3f93"),
}


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_converted_bytes_are_tensorflows(kind, photo_maker):
    before, after = CONVERSIONS[kind]
    data = odd_images(photo_maker)[kind]
    if hashlib.sha256(data).hexdigest()[:16] != before:
        pytest.fail("another Pillow writes other files: renew CONVERSIONS with TensorFlow")
    assert hashlib.sha256(tfds_fixes.to_rgb_jpeg(data)).hexdigest()[:16] == after


def test_cmyk_of_a_rare_format_is_converted_too(photo_maker):
    """Chroma at half resolution: libjpeg-turbo's simple interface refuses, and Pillow steps in."""
    with PIL.Image.open(io.BytesIO(photo_maker(0))) as photo:
        encoded = io.BytesIO()
        photo.convert("CMYK").save(encoded, "JPEG", quality=95, subsampling="4:2:0")
        converted = decode(tfds_fixes.to_rgb_jpeg(encoded.getvalue()))
        assert np.abs(converted.astype(int) - np.asarray(photo)).mean() < 8


def test_sizes_are_known_before_reading(prepared_imagenet):
    rows = [
        (f"n{'0' * k}_{k}.JPEG", label, 0, 0, size)
        for k in (1, 150)
        for label in (0, 127, 128, 999)
        for size in (0, 127, 128, 16384, 3 << 20)
    ]
    photos = examples.photo_list(rows)
    for photo, size in zip(photos, examples.serialized_sizes(photos), strict=True):
        record = examples.serialize(b"x" * photo["stored"], int(photo["label"]), photo["name"])
        assert len(record) == size


def test_our_loader_reads_it(prepared_imagenet, imagenet_tars):
    source = open_source("imagenet2012", "train[:10%]", data_dir=prepared_imagenet.parents[1])
    assert source.info.num_classes == 1000
    assert len(source) == round(len(imagenet_tars.train_photos) / 10)
    assert all(decode(data).shape == (36, 48, 3) for data, _ in source.read(range(20)))


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_files(
    workers, prepared_imagenet, imagenet_tars, tmp_path, small_shards
):
    folder = prepare_imagenet2012(
        imagenet_tars.train, imagenet_tars.validation, data_dir=tmp_path, workers=workers
    )
    assert contents(folder) == contents(prepared_imagenet)
    assert contents(tmp_path).keys() == {f"imagenet2012/5.1.0/{k}" for k in contents(folder)}


def test_a_finished_data_set_is_left_alone(prepared_imagenet, imagenet_tars):
    before = {path: path.stat().st_mtime_ns for path in prepared_imagenet.iterdir()}
    data_dir = prepared_imagenet.parents[1]
    assert prepare_imagenet2012(imagenet_tars.train, data_dir=data_dir) == prepared_imagenet
    assert {path: path.stat().st_mtime_ns for path in prepared_imagenet.iterdir()} == before


def test_validation_alone(imagenet_tars, tmp_path, capsys):
    folder = prepare_imagenet2012(validation=imagenet_tars.validation, data_dir=tmp_path)
    assert set(tfds.builder_from_directory(folder).info.splits) == {"validation"}
    assert "warning: ILSVRC2012_img_val.tar has 60 photos and not the official 50,000" in (
        capsys.readouterr().err
    )


def test_number_of_shards_of_the_real_thing():
    """TFDS's imagenet2012 has 1024 and 64 shards; sizes as in its dataset_info.json."""
    for count, total, shards in ((1_281_167, 146_000_000_000, 1024), (50_000, 6_600_000_000, 64)):
        rows = [("n01440764_10026.JPEG", 5, 0, 0, total // count)] * count
        planned, info = examples.plan_split(
            examples.photo_list(rows), "train", "imagenet2012", read=None
        )
        assert len(planned) == info.num_shards == shards
        assert sum(shard.num_records for shard in planned) == count
    assert planned[0].file_name == "imagenet2012-train.array_record-00000-of-00064"


MISTAKES = {
    "missing": (lambda tars: None, "there is no file"),
    "no tar": (lambda tars: b"text" * 1000, "is no tar"),
    "cut short in a photo": (lambda tars: tars.train.read_bytes()[:-200_000], "cut short"),
    "without its end": (lambda tars: as_tar({"n01440764.tar": as_tar({})})[:512], "cut short"),
    "no photos": (lambda tars: as_tar({"n01440764.tar": as_tar({})}), "there are no photos"),
    "unknown class": (lambda tars: as_tar({"n00000001.tar": as_tar({})}), "n00000001.tar"),
    "a flat tar": (lambda tars: tars.validation.read_bytes(), "is this ILSVRC2012_img_train.tar"),
    "a damaged class": (
        lambda tars: as_tar({"n01440764.tar": as_tar({"a": b"a", "b": b"b"})[:1024] + b"x" * 9000}),
        "n01440764.tar in ",
    ),
    "the same photo twice": (
        lambda tars: as_tar({f"n0144{n}.tar": as_tar({"a.JPEG": b"a"}) for n in ("0764", "3537")}),
        "have the name a.JPEG",
    ),
    "no image where one must be converted": (
        lambda tars: as_tar({"n01739381.tar": as_tar({"n01739381_1309.JPEG": b"text"})}),
        "n01739381_1309.JPEG cannot be converted",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_leave_nothing(mistake, imagenet_tars, tmp_path):
    make, message = MISTAKES[mistake]
    train, data_dir = tmp_path / "train.tar", tmp_path / "data"
    if content := make(imagenet_tars):
        train.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        prepare_imagenet2012(train, data_dir=data_dir)
    assert "\n" not in str(error.value)
    assert not contents(data_dir)


@pytest.mark.parametrize("name", [f"ILSVRC2012_val_000{n}.JPEG" for n in ("50001", "00000")])
def test_validation_photo_without_label(name, tmp_path, photo_maker):
    (tmp_path / "val.tar").write_bytes(as_tar({name: photo_maker(0)}))
    with pytest.raises(UserError, match=f"no label is known for {name}"):
        prepare_imagenet2012(validation=tmp_path / "val.tar", data_dir=tmp_path / "data")


def test_tar_that_shrinks_between_two_tries(imagenet_tars, tmp_path, monkeypatch):
    """The table of contents is kept for the next try, but not for another file."""
    tar = tmp_path / "val.tar"
    shutil.copy(imagenet_tars.validation, tar)
    with monkeypatch.context() as patch:
        patch.setattr(examples, "write_metadata", lambda *_: (tmp_path / "no" / "file").read_text())
        with pytest.raises(UserError, match="No such file"):
            prepare_imagenet2012(validation=tar, data_dir=tmp_path / "data")
    assert contents(tmp_path / "data")
    name, data = next(iter(imagenet_tars.validation_photos.items()))
    tar.write_bytes(as_tar({name: data}))
    folder = prepare_imagenet2012(validation=tar, data_dir=tmp_path / "data")
    assert tfds.builder_from_directory(folder).info.splits["validation"].num_examples == 1
