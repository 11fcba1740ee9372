"""Each kind of bad record, under both policies; and odd images that are no bad records."""

import io
import logging
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from wae_jax.data import (
    DecodedRecords,
    check_resume,
    decode,
    make_eval_loader,
    make_train_loader,
    make_transform,
    open_source,
)
from wae_jax.errors import UserError

from ..conftest import make_builder

GOOD, SIZE = 20, 48
TRAIN, EVAL = (make_transform("imagenet", SIZE, train) for train in (True, False))


@pytest.fixture(scope="module")
def photos():
    return [data for data, _ in open_source("foolbox_photos", "train").read(range(GOOD))]


def converted(data, mode, kind="JPEG"):
    file = io.BytesIO()
    PIL.Image.open(io.BytesIO(data)).convert(mode).save(file, kind)
    return file.getvalue()


BAD = {
    "cut in the middle": lambda photo: photo[: len(photo) // 2],
    "cut, with an end marker": lambda photo: photo[: len(photo) // 2] + b"\xff\xd9",
    "cut in the header": lambda photo: photo[:100],
    "cut PNG": lambda photo: converted(photo, "RGB", "PNG")[:-5000],
    "text": lambda photo: b"<html>404 Not Found</html>",
    "empty": lambda photo: b"",
}


def folder_with(root: Path, photos, extra: dict[str, bytes]) -> Path:
    """`root/train/{a,b}`: the good photos, shared between the classes, and others."""
    for i, data in enumerate([*photos, *extra.values()]):
        path = root / "train" / "ab"[i % 2] / f"{[*map(str, range(len(photos))), *extra][i]}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture(scope="module")
def bad_source(tmp_path_factory, photos):
    """Twenty good photos and one bad file of each kind, all named .jpg."""
    extra = {kind: spoil(photos[0]) for kind, spoil in BAD.items()}
    return open_source(
        "folder", "train", data_dir=folder_with(tmp_path_factory.mktemp("bad"), photos, extra)
    )


def bad_records(source):
    return {i for i in range(len(source)) if any(kind in source.where(i) for kind in BAD)}


def train_batches(source, count, **options):
    options = {"batch_size": 8, "seed": 3, "num_batches": count, "bad_records": "skip"} | options
    with make_train_loader(DecodedRecords(source), TRAIN, **options) as loader:
        return list(loader)


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys() == {"image", "label", "mask"}
        for key, value in batch.items():
            np.testing.assert_array_equal(value, other[key])


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("train", [True, False])
def test_error_names_the_file(tmp_path, photos, kind, train):
    source = open_source(
        "folder", "train", data_dir=folder_with(tmp_path, photos[:3], {kind: BAD[kind](photos[0])})
    )
    with pytest.raises(
        UserError, match=rf"file {tmp_path}/train/./{kind}.jpg: .*bad_records=skip"
    ) as error:
        if train:
            train_batches(source, 1, bad_records="error")
        else:
            list(make_eval_loader(DecodedRecords(source), EVAL, batch_size=4))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_skips_them(bad_source, caplog, workers):
    with caplog.at_level(logging.WARNING, "wae_jax"):
        batches = train_batches(bad_source, 10, workers=workers)  # 80 of 26: three epochs
    assert len(batches) == 10
    for batch in batches:
        assert batch["image"].shape == (8, SIZE, SIZE, 3) and batch["mask"].all()
        assert all(image.std() > 3 for image in batch["image"])
    said = [record.getMessage() for record in caplog.records]
    assert sum("skipping file" in line for line in said) == 5  # the first few
    assert said[-1].startswith(f"skipped {len(BAD)} bad record(s) of train of folder (26 records)")
    assert sum("met" in line for line in said) == 1
    assert_same(batches, train_batches(bad_source, 10))


def test_the_others_keep_their_place(bad_source, tmp_path, photos):
    """Beside a set in which nothing is bad, only the places of bad records differ."""
    mended = open_source(
        "folder", "train", data_dir=folder_with(tmp_path, photos, {kind: photos[1] for kind in BAD})
    )
    bad = bad_records(bad_source)
    assert len(bad) == len(BAD) and len(mended) == len(bad_source)
    same = differing = 0
    for one, other in zip(train_batches(bad_source, 6), train_batches(mended, 6), strict=True):
        for a, b in zip(one["image"], other["image"], strict=True):
            same, differing = same + np.array_equal(a, b), differing + (not np.array_equal(a, b))
    assert same + differing == 48
    assert 1 <= differing <= 2 * len(bad)  # 48 places: every record once, most of them twice


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_share_each_batch(bad_source, process_count):
    parts = [
        train_batches(bad_source, 6, process_index=i, process_count=process_count)
        for i in range(process_count)
    ]
    together = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(together, train_batches(bad_source, 6))


def test_resume_is_exact(bad_source):
    everything = train_batches(bad_source, 9)
    step = int(np.random.default_rng().integers(1, 8))
    options = {"batch_size": 8, "seed": 3, "bad_records": "skip"}
    with make_train_loader(DecodedRecords(bad_source), TRAIN, threads=2, **options) as loader:
        assert_same([next(loader) for _ in range(step)], everything[:step])
        state = loader.state()
    with make_train_loader(
        DecodedRecords(bad_source),
        TRAIN,
        start_batch=state["next_batch"],
        threads=3,
        num_batches=9 - step,
        **options,
    ) as loader:
        check_resume(state, loader)
        assert_same(list(loader), everything[step:])


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_masks_them(bad_source, caplog, workers):
    bad = bad_records(bad_source)
    loader = make_eval_loader(
        DecodedRecords(bad_source), EVAL, batch_size=8, bad_records="skip", workers=workers
    )
    total = f"skipped {len(BAD)} bad record(s) of {bad_source!r}, met {len(BAD)} time(s)"
    with caplog.at_level(logging.WARNING, "wae_jax"):
        batches = list(loader)
        assert caplog.messages[-1] == total
        if not workers:
            list(loader)
            assert caplog.messages.count(total) == 2  # counted anew
    mask = np.concatenate([batch["mask"] for batch in batches])
    np.testing.assert_array_equal(mask, [i < len(bad_source) and i not in bad for i in range(32)])
    images = np.concatenate([batch["image"] for batch in batches])
    assert not images[mask == 0].any() and all(image.any() for image in images[mask == 1])


def test_nothing_good_is_an_error(tmp_path):
    source = open_source("folder", "train", data_dir=folder_with(tmp_path, [b"no", b"none"], {}))
    with pytest.raises(UserError, match="100 records tried in a row are bad, the last is file"):
        train_batches(source, 1)


def test_unknown_policy(bad_source):
    with pytest.raises(UserError, match="bad_records is 'ignore'; it must be one of: error, skip"):
        train_batches(bad_source, 1, bad_records="ignore")


@pytest.mark.parametrize("label", [-1, 5])
@pytest.mark.parametrize("shape", [(8, 8, 3), (None, None, 3)])
def test_label_out_of_range(tmp_path, label, shape, caplog):
    """Also in small data sets, which stay decoded in memory. TFDS writes any number."""
    make_builder(tmp_path, {"train": 3}, shape=shape, label=4).download_and_prepare()
    source = open_source("tiny", "train", data_dir=tmp_path)
    small = make_transform("small", 8, True)
    read = source._read_one
    source._read_one = lambda i: (read(i)[0], label if i == 1 else 4)
    with (
        make_train_loader(DecodedRecords(source), small, batch_size=3, seed=0) as loader,
        pytest.raises(
            UserError,
            match=rf"record 1 of .*train\.array_record-00000-of-00001: its "
            rf"label {label} is none of 0\.\.4",
        ),
    ):
        next(loader)
    with (
        caplog.at_level(logging.WARNING, "wae_jax"),
        make_train_loader(
            DecodedRecords(source), small, batch_size=3, seed=0, bad_records="skip"
        ) as loader,
    ):
        for _ in range(3):
            np.testing.assert_array_equal(next(loader)["label"], [4, 4, 4])
    # Once an epoch, and again where it was drawn as a substitute.
    assert caplog.messages[-1].startswith("skipped 1 bad record(s)")
    assert int(caplog.messages[-1].split()[-2]) >= 3


def test_flipped_bits_in_a_shard(tmp_path, photos, caplog):
    """ArrayRecord's own checksums find them; only the records that they hit are lost."""
    original = open_source("foolbox_photos", "train")
    folder = tmp_path / "foolbox_photos" / "1.0.0"
    folder.mkdir(parents=True)
    for path in original._directory.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    shard = folder / "foolbox_photos-train.array_record-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 16
    shard.write_bytes(content)
    source = open_source("foolbox_photos", "train", data_dir=tmp_path)
    with pytest.raises(UserError, match=rf"record \d+ of {shard}: it cannot be read: .*orrupt"):
        list(make_eval_loader(DecodedRecords(source), EVAL, batch_size=8))
    batches = list(make_eval_loader(DecodedRecords(source), EVAL, batch_size=8, bad_records="skip"))
    assert sum(batch["mask"].sum() for batch in batches) == 19


def test_missing_shard(tmp_path):
    make_builder(tmp_path, {"train": 3}).download_and_prepare()
    shard = next((tmp_path / "tiny" / "1.0.0").glob("*array_record*"))
    shard.unlink()
    with pytest.raises(UserError, match=f"1 file.* of tiny are missing, the first is {shard}"):
        open_source("tiny", "train", data_dir=tmp_path)


def test_a_file_that_vanished(tmp_path, photos):
    """The data set is not what it was: no bad record that may be passed over."""
    source = open_source("folder", "train", data_dir=folder_with(tmp_path, photos[:3], {}))
    (tmp_path / "train" / "a" / "2.jpg").unlink()
    for policy in ("error", "skip"):
        with pytest.raises(UserError, match=r"^cannot open .*/train/a/2.jpg: No such file"):
            train_batches(source, 1, bad_records=policy)


ODD = {
    "CMYK": ("CMYK", "JPEG", 6),
    "gray": ("L", "JPEG", 3),
    "PNG": ("RGB", "PNG", 3),
    "gray PNG": ("L", "PNG", 3),
    "palette PNG": ("P", "PNG", 20),
    "WebP": ("RGB", "WEBP", 6),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_images_are_no_bad_records(tmp_path, photos, kind):
    """In a file named .jpg, as ImageNet has them; to the colours that Pillow sees in it."""
    mode, file_format, tolerance = ODD[kind]
    data = converted(photos[0], mode, file_format)
    source = open_source("folder", "train", data_dir=folder_with(tmp_path, [data], {}))
    (batch,) = make_eval_loader(DecodedRecords(source), EVAL, batch_size=1)
    original = PIL.Image.open(io.BytesIO(photos[0]))
    if mode == "L":
        original = original.convert("L")
    expected = np.asarray(original.convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).mean() < tolerance
    assert batch["mask"].all() and batch["image"].std() > 10
    assert train_batches(source, 1, batch_size=1, bad_records="error")[0]["image"].std() > 5
