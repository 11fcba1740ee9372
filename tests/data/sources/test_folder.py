import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from wae_jax.data import DecodedRecords, make_eval_loader, make_transform, open_source
from wae_jax.errors import UserError

CLASSES = ("cat", "dog", "zebra")


@pytest.fixture(scope="module")
def encoded():
    return [data for data, _ in open_source("foolbox_photos", "train").read(range(20))]


def write(root: Path, counts, encoded, classes=CLASSES) -> Path:
    """`root/split/class/N.jpg`; every photo's file name and bytes tell its number."""
    for split, count in counts.items():
        for c, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                number = i * len(classes) + c
                (folder / f"{number}.jpg").write_bytes(encoded[number % 20])
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory, encoded):
    """10 training and 4 validation photos of each of three classes."""
    root = write(tmp_path_factory.mktemp("photos"), {"train": 10, "validation": 4}, encoded)
    for clutter in (".DS_Store", "notes.txt", ".hidden.jpg"):
        (root / "train" / "cat" / clutter).write_text("no photo")
    (root / "README").write_text("no split")
    (root / "train" / "1.JPG").write_text("in no class")
    return root


def test_info(photos):
    source = open_source("folder", "train", data_dir=photos)
    info = source.info
    assert (info.name, info.split, info.num_classes, info.num_examples) == (
        "folder",
        "train",
        3,
        30,
    )
    assert info.class_names == CLASSES and info.image_shape is None


def test_every_photo_is_read_with_its_class(photos, encoded):
    source = open_source("folder", "train", data_dir=photos)
    numbers = []
    for i, (data, label) in enumerate(source.read(range(30))):
        path = Path(source.where(i).removeprefix("file "))
        numbers.append(int(path.stem))
        assert path.read_bytes() == data == encoded[numbers[-1] % 20]
        assert path.parent.name == CLASSES[label] == CLASSES[numbers[-1] % 3]
    assert sorted(numbers) == list(range(30))
    assert {label for _, label in source.read(range(10))} == {0, 1, 2}  # shuffled


def test_the_order_never_changes(photos):
    source, again = (open_source("folder", "train", data_dir=photos) for _ in range(2))
    assert source.read(range(30)) == again.read(range(30))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.info == source.info and copy.read([3]) == source.read([3])


@pytest.mark.parametrize(
    "split, parts",
    [
        ("train[:80%]", [slice(0, 24)]),
        ("train[80%:]", [slice(24, 30)]),
        ("train[-5:]", [slice(25, 30)]),
        ("train[3:7]+train[20:]", [slice(3, 7), slice(20, 30)]),
    ],
)
def test_parts_of_splits(photos, split, parts):
    whole = open_source("folder", "train", data_dir=photos).read(range(30))
    part = open_source("folder", split, data_dir=photos)
    assert part.read(range(len(part))) == [record for p in parts for record in whole[p]]


def test_two_splits_together(photos):
    assert len(open_source("folder", "train+validation", data_dir=photos)) == 42
    assert len(open_source("folder", "train[:50%]+validation", data_dir=photos)) == 27


@pytest.mark.parametrize(
    "split, message",
    [
        ("test", "no split 'test'; its splits are train, validation"),
        ("", "no split"),
        ("train[", "is no split"),
        ("train[:200%]", "is no split"),
        ("train[5%:3%]", "is empty"),
        ("training", "no split"),
    ],
)
def test_bad_split(photos, split, message):
    with pytest.raises(UserError, match=message) as error:
        open_source("folder", split, data_dir=photos)
    assert "\n" not in str(error.value)


def test_no_folder_given():
    with pytest.raises(UserError, match=r"--config\.data\.data_dir"):
        open_source("folder", "train")


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        open_source("folder", "train", data_dir=tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no folders in it"):
        open_source("folder", "train", data_dir=tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.jpg").touch()
    with pytest.raises(UserError, match=r"train has no class folders in it; .*SPLIT/CLASS/PHOTO"):
        open_source("folder", "train", data_dir=tmp_path)


def test_empty_class(tmp_path, encoded):
    write(tmp_path, {"train": 2}, encoded)
    for photo in (tmp_path / "train" / "dog").iterdir():
        photo.unlink()
    with pytest.raises(UserError, match="train/dog has no photos"):
        open_source("folder", "train", data_dir=tmp_path)


def test_splits_with_different_classes(tmp_path, encoded):
    write(tmp_path, {"train": 2}, encoded)
    write(tmp_path, {"validation": 2}, encoded, classes=("cat", "dog", "zbera"))
    for split in ("train", "validation"):
        with pytest.raises(UserError, match="different classes: only one of them has zbera, zebra"):
            open_source("folder", split, data_dir=tmp_path)


def test_through_the_loader(photos):
    source = open_source("folder", "validation", data_dir=photos)
    batches = list(
        make_eval_loader(
            DecodedRecords(source), make_transform("imagenet", 64, False), batch_size=8
        )
    )
    assert [batch["mask"].sum() for batch in batches] == [8, 4]
    labels = np.concatenate([batch["label"][batch["mask"] > 0] for batch in batches])
    np.testing.assert_array_equal(np.bincount(labels), [4, 4, 4])
    assert batches[0]["image"].std() > 20


def test_odd_file_names(tmp_path, encoded):
    name = os.fsdecode("größe \udcff 1.jpeg".encode("utf8", "surrogateescape"))
    (tmp_path / "train" / "a b").mkdir(parents=True)
    (tmp_path / "train" / "a b" / name).write_bytes(encoded[0])
    source = open_source("folder", "train", data_dir=tmp_path)
    assert source.read([0]) == [(encoded[0], 0)]
