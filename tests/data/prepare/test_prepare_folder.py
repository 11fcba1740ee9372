import pytest
import tensorflow_datasets as tfds

from wae_jax.data import decode, open_source
from wae_jax.data.prepare import prepare_folder
from wae_jax.errors import UserError

from .conftest import contents


@pytest.fixture
def photo_folder(tmp_path, photo_maker):
    """Two splits of three classes; one class has photos only for training."""
    root = tmp_path / "photos"
    counts = {"train": {"owl": 7, "ant": 5, "bee": 3}, "validation": {"bee": 2, "owl": 4}}
    number = 0
    for split, classes in counts.items():
        for name, count in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.jpg").write_bytes(photo_maker(number := number + 1))
    (root / "train" / "owl" / "Thumbs.db").write_bytes(b"no photo")
    (root / "train" / ".hidden").mkdir()
    return root


def test_becomes_a_data_set(photo_folder, tmp_path, capsys):
    folder = prepare_folder(photo_folder, "birds", data_dir=tmp_path / "tfds", workers=2)
    assert folder == tmp_path / "tfds" / "birds" / "1.0.0"
    builder = tfds.builder_from_directory(folder)
    assert builder.info.features["label"].names == ["ant", "bee", "owl"]
    for split, count in {"train": 15, "validation": 6}.items():
        records = list(
            builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        )
        assert len(records) == builder.info.splits[split].num_examples == count
        names = [record["file_name"].decode() for record in records]
        assert len(set(names)) == count
        assert names != sorted(names)
        for name, record in zip(names, records, strict=True):
            assert record["image"] == (photo_folder / split / name).read_bytes()
            assert ["ant", "bee", "owl"][record["label"]] == name.split("/")[0]
    source = open_source("birds", "train", data_dir=tmp_path / "tfds")
    assert source.info.class_names == ("ant", "bee", "owl")
    assert decode(source.read([0])[0][0]).shape == (36, 48, 3)
    assert "1 files are left out" in capsys.readouterr().err


def test_again_gives_the_same(photo_folder, tmp_path):
    first, second = (
        prepare_folder(photo_folder, "birds", data_dir=tmp_path / name, workers=n)
        for n, name in ((1, "first"), (4, "second"))
    )
    assert contents(first) == contents(second)


def test_mixed_formats(photo_folder, photo_maker, tmp_path):
    (photo_folder / "train" / "ant" / "x.PNG").write_bytes(photo_maker(50, "PNG"))
    folder = prepare_folder(photo_folder, "birds", data_dir=tmp_path / "tfds")
    images = tfds.builder_from_directory(folder).as_data_source("train")
    assert {record["image"].shape for record in images} == {(36, 48, 3)}


def test_numbers_are_the_training_splits(photo_folder, photo_maker, tmp_path):
    """Whatever lies beside the splits, and without photos of its own, does not matter."""
    (photo_folder / "validation" / "cow").mkdir()
    (photo_folder / "scripts" / "cache").mkdir(parents=True)
    (photo_folder / "test" / "owl").mkdir(parents=True)
    (photo_folder / "test" / "owl" / "1.jpg").write_bytes(photo_maker(90))
    folder = prepare_folder(photo_folder, "birds", data_dir=tmp_path / "tfds")
    info = tfds.builder_from_directory(folder).info
    assert info.features["label"].names == ["ant", "bee", "owl"]
    assert set(info.splits) == {"train", "validation", "test"}
    test = open_source("birds", "test", data_dir=tmp_path / "tfds")
    assert test.read([0]) == [(photo_maker(90), 2)]


def test_without_a_training_split_all_number_them(photo_folder, tmp_path):
    (photo_folder / "train").rename(photo_folder / "first")
    (photo_folder / "validation" / "bee").rename(photo_folder / "validation" / "cow")
    folder = prepare_folder(photo_folder, "birds", data_dir=tmp_path / "tfds")
    info = tfds.builder_from_directory(folder).info
    assert info.features["label"].names == ["ant", "bee", "cow", "owl"]


def test_mistakes(photo_folder, tmp_path):
    data_dir = tmp_path / "tfds"
    for root, name, message in (
        (tmp_path / "none", "birds", "there is no folder"),
        (photo_folder / "train", "birds", "no photo is at"),
        (photo_folder, "My birds", "no name of a data set"),
    ):
        with pytest.raises(UserError, match=message):
            prepare_folder(root, name, data_dir=data_dir)
        assert not contents(tmp_path / "tfds")


def test_classes_that_cannot_be(photo_folder, tmp_path):
    """As in folders that are read in place."""
    data_dir = tmp_path / "tfds"
    (photo_folder / "validation" / "bee").rename(photo_folder / "validation" / "cow")
    with pytest.raises(UserError, match=r"validation has photos of classes .* split train .*: cow"):
        prepare_folder(photo_folder, "birds", data_dir=data_dir)
    (photo_folder / "validation" / "cow").rename(photo_folder / "validation" / "bee")
    (photo_folder / "train" / "fly").mkdir()
    with pytest.raises(UserError, match=r"the class folder .*/train/fly has no photos"):
        prepare_folder(photo_folder, "birds", data_dir=data_dir)
    assert not contents(data_dir)
