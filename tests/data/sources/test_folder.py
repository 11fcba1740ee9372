import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from wae_jax.data import (
    PHOTO_SUFFIXES,
    Classes,
    DecodedRecords,
    make_eval_loader,
    make_transform,
    open_source,
)
from wae_jax.data.bad import BadRecordError
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


def test_a_folder_without_class_folders_is_no_split(tmp_path, encoded):
    write(tmp_path, {"train": 2}, encoded)
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "photos.tar").touch()
    assert len(open_source("folder", "train", data_dir=tmp_path)) == 6
    with pytest.raises(UserError, match="no split 'test'; its splits are train, or a part"):
        open_source("folder", "test", data_dir=tmp_path)


def test_empty_class(tmp_path, encoded):
    write(tmp_path, {"train": 2}, encoded)
    write(tmp_path, {"extra": 1}, encoded, classes=("dog",))
    for photo in (tmp_path / "train" / "dog").iterdir():
        photo.unlink()
    with pytest.raises(UserError, match="train/dog has no photos"):
        open_source("folder", "train", data_dir=tmp_path)
    assert open_source("folder", "train+extra", data_dir=tmp_path).info.class_names == CLASSES


def by_class(source) -> dict[str, int]:
    """{class folder: label}, after a look at every record."""
    labels = {}
    for i, (_, label) in enumerate(source.read(range(len(source)))):
        assert labels.setdefault(Path(source.where(i)).parent.name, label) == label
    return labels


@pytest.mark.parametrize("split", ["validation", "validation[:50%]+validation[50%:]"])
def test_a_split_may_lack_classes(tmp_path, encoded, split):
    """Numbers are the training split's; a class may have no folder, or an empty one."""
    write(tmp_path, {"train": 2}, encoded)
    write(tmp_path, {"validation": 2}, encoded, classes=("dog", "zebra"))
    train = open_source("folder", "train", data_dir=tmp_path)
    classes = train.info.classes
    source = open_source("folder", split, data_dir=tmp_path, classes=classes)
    assert by_class(train) == {"cat": 0, "dog": 1, "zebra": 2}
    assert by_class(source) == {"dog": 1, "zebra": 2}
    assert (source.info.num_classes, source.info.class_names) == (3, CLASSES)
    for photo in (tmp_path / "validation" / "dog").iterdir():
        photo.unlink()
    (tmp_path / "validation" / "owl").mkdir()  # without photos it is no other class
    source = open_source("folder", split, data_dir=tmp_path, classes=classes)
    assert by_class(source) == {"zebra": 2}


def test_numbers_need_not_follow_the_alphabet(tmp_path, encoded):
    """Those of a checkpoint count, in whatever order they are; that of the records stays."""
    write(tmp_path, {"train": 2}, encoded)
    source = open_source("folder", "train", data_dir=tmp_path)
    classes = Classes(4, ("zebra", "owl", "dog", "cat"), "the checkpoint")
    other = open_source("folder", "train", data_dir=tmp_path, classes=classes)
    assert by_class(other) == {"cat": 3, "dog": 2, "zebra": 0}
    assert [d for d, _ in other.read(range(6))] == [d for d, _ in source.read(range(6))]


@pytest.mark.parametrize(
    "other, told",
    [
        (("cat", "dog", "zbera"), "zbera"),
        (("cat", "owl", "yak"), "owl, yak"),
        (("cat", "dog", "owl", "zebra"), "owl"),
    ],
)
def test_a_split_has_no_other_classes(tmp_path, encoded, other, told):
    """However many they are, and also beside the training split."""
    write(tmp_path, {"train": 2}, encoded)
    write(tmp_path, {"val": 2}, encoded, classes=other)
    classes = open_source("folder", "train", data_dir=tmp_path).info.classes
    for split in ("val", "val[:1]", "train[:3]+val"):
        with pytest.raises(UserError) as error:
            open_source("folder", split, data_dir=tmp_path, classes=classes)
        assert str(error.value) == (
            f"{tmp_path}/val has photos of classes that train of folder lacks: {told}"
        )


@pytest.mark.parametrize("split", ["train+val", "val+train", "train[:50%]+val[1:]"])
def test_classes_of_a_union(tmp_path, encoded, split):
    write(tmp_path, {"train": 4}, encoded, classes=("dog", "owl"))
    write(tmp_path, {"val": 4}, encoded, classes=("cat", "dog"))
    source = open_source("folder", split, data_dir=tmp_path)
    assert source.info.class_names == ("cat", "dog", "owl")
    assert len(source) == (16 if "[" not in split else 4 + 7)
    assert by_class(source).items() <= {"cat": 0, "dog": 1, "owl": 2}.items()
    assert {0, 1} <= set(by_class(source).values())
    val = open_source("folder", "val", data_dir=tmp_path, classes=source.info.classes)
    assert by_class(val) == {"cat": 0, "dog": 1}


def test_without_names_the_number_of_classes_decides(tmp_path, encoded):
    """As for imported weights, whose names are in words."""
    write(tmp_path, {"val": 2}, encoded)
    numbers = Classes(3, None, "the checkpoint")
    assert by_class(open_source("folder", "val", data_dir=tmp_path, classes=numbers))["zebra"] == 2
    with pytest.raises(UserError, match="val of folder has 3 classes, and the checkpoint has 1000"):
        open_source(
            "folder", "val", data_dir=tmp_path, classes=Classes(1000, None, "the checkpoint")
        )


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


def test_what_is_a_photo_by_its_name(tmp_path, encoded):
    """Anything else, and what is hidden, is passed over."""
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    for name in (*(f"x{s}" for s in PHOTO_SUFFIXES), "y.JPG", ".hidden.jpg", "notes.txt", "jpg"):
        (folder / name).write_bytes(encoded[0])
    source = open_source("folder", "train", data_dir=tmp_path)
    found = {Path(source.where(i).removeprefix("file ")).name for i in range(len(source))}
    assert found == {f"x{suffix}" for suffix in PHOTO_SUFFIXES} | {"y.JPG"}
    assert {"x.jpg", "x.png", "x.gif", "x.tif", "x.tiff"} < found


def test_odd_file_names(tmp_path, encoded):
    name = os.fsdecode("größe \udcff 1.jpeg".encode("utf8", "surrogateescape"))
    (tmp_path / "train" / "a b").mkdir(parents=True)
    (tmp_path / "train" / "a b" / name).write_bytes(encoded[0])
    source = open_source("folder", "train", data_dir=tmp_path)
    assert source.read([0]) == [(encoded[0], 0)]


def test_a_pipe_named_as_a_photo_is_not_waited_for(tmp_path, encoded):
    folder = write(tmp_path, {"train": 1}, encoded, classes=("cat",)) / "train" / "cat"
    (folder / "0.jpg").unlink()
    os.mkfifo(folder / "pipe.jpg")
    source = open_source("folder", "train", data_dir=tmp_path)
    with pytest.raises(BadRecordError, match="no regular file"):
        source.read([0])
