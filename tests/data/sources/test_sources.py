import json
import pickle
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from wae_jax.data import decode, open_source
from wae_jax.errors import UserError

from ..conftest import image_index, make_builder


def test_info(tiny_train):
    info = tiny_train.info
    assert (info.name, info.split, info.num_classes, info.num_examples) == ("tiny", "train", 5, 53)
    assert info.class_names is None and info.image_shape == (8, 8, 3)
    assert len(tiny_train) == 53


def test_read_keeps_order_and_repeats(tiny_train):
    indices = [7, 0, 52, 7]
    records = tiny_train.read(indices)
    assert [label for _, label in records] == [i % 5 for i in indices]
    assert [image_index(decode(data)) for data, _ in records] == indices
    assert tiny_train.read([]) == []


@pytest.mark.parametrize("index", [-1, 53])
def test_read_out_of_range(tiny_train, index):
    with pytest.raises(IndexError):
        tiny_train.read([0, index])


def test_parts_of_splits(tiny_dir):
    part = open_source("tiny", "train[10:20]", data_dir=tiny_dir)
    assert [image_index(decode(data)) for data, _ in part.read(range(10))] == list(range(10, 20))
    assert len(open_source("tiny", "train[:50%]", data_dir=tiny_dir)) in (26, 27)
    assert len(open_source("tiny", "train+test", data_dir=tiny_dir)) == 64


def test_pickled_after_reading(tiny_train):
    tiny_train.read([0])
    copy = pickle.loads(pickle.dumps(tiny_train))
    assert copy.info == tiny_train.info
    assert copy.read([3]) == tiny_train.read([3])


def test_data_dir_from_environment(tiny_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny_dir))
    assert len(open_source("tiny:1.0.0", "test")) == 11


@pytest.mark.parametrize("split", ["validation", "train[", "train[:200%]", "train[60:70]", ""])
def test_bad_split(tiny_dir, split):
    with pytest.raises(UserError, match="split"):
        open_source("tiny", split, data_dir=tiny_dir)


def test_unknown_split_names_the_splits(tiny_dir):
    with pytest.raises(UserError, match="no split 'validation'; its splits are train, test"):
        open_source("tiny", "validation", data_dir=tiny_dir)


def test_unknown_name_proposes_close_ones(tiny_dir):
    for wrong, right in {
        "imagenet2021": "imagenet2012",
        "tinny": "tiny",
        "cifar-10": "form",
        "foolbox_photo": "foolbox_photos",
        "cifar11": "cifar10",
    }.items():
        with pytest.raises(UserError, match=right):
            open_source(wrong, "train", data_dir=tiny_dir)


def test_imagenet_is_missing(tmp_path):
    with pytest.raises(UserError) as error:
        open_source("imagenet2012", "train", data_dir=tmp_path)
    message = str(error.value)
    for part in (
        str(tmp_path),
        "ILSVRC2012_img_train.tar",
        "image-net.org",
        "python -m wae_jax prepare imagenet2012 --train=",
    ):
        assert part in message
    assert "\n" not in message


def test_known_data_set_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"tfds build imagenette --file_format=array_record"):
        open_source("imagenette/160px", "train", data_dir=tmp_path)


def test_versions_and_configs(tiny_dir, tmp_path):
    original = tiny_dir / "tiny" / "1.0.0"
    for path in ("tiny/9.0.0", "tiny/10.0.0", "sized/small/1.0.0", "sized/large/1.0.0"):
        shutil.copytree(original, tmp_path / path)
    (tmp_path / "tiny" / "11.0.0").mkdir()  # unfinished
    newest = open_source("tiny", "train", data_dir=tmp_path)
    assert pickle.loads(pickle.dumps(newest))._directory == tmp_path / "tiny" / "10.0.0"
    assert len(open_source("sized/large", "train", data_dir=tmp_path)) == 53
    with pytest.raises(UserError, match="sized/large, sized/small"):
        open_source("sized", "train", data_dir=tmp_path)
    with pytest.raises(UserError, match="has no version"):
        open_source("tiny:2.0.0", "train", data_dir=tmp_path)
    with pytest.raises(UserError, match="holds no finished data set"):
        open_source("sized/medium", "train", data_dir=tmp_path)


def test_tfrecord_is_refused(tiny_dir, tmp_path):
    shutil.copytree(tiny_dir / "tiny", tmp_path / "tiny")
    info = tmp_path / "tiny" / "1.0.0" / "dataset_info.json"
    content = json.loads(info.read_text())
    info.write_text(json.dumps(content | {"fileFormat": "tfrecord"}))
    with pytest.raises(UserError, match=r"only ArrayRecord.*prepare tfrecord --in=.*1\.0\.0 --out"):
        open_source("tiny", "train", data_dir=tmp_path)


def test_damaged_metadata(tiny_dir, tmp_path):
    shutil.copytree(tiny_dir / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / "1.0.0" / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="not a readable TFDS data set"):
        open_source("tiny", "train", data_dir=tmp_path)


def test_other_features_are_refused(tmp_path):
    features = {
        "image": tfds.features.Image(shape=(8, 8, 3)),
        "size": tfds.features.Scalar(np.int64),
    }
    make_builder(tmp_path, {"train": 2}, features=features).download_and_prepare()
    with pytest.raises(UserError, match="`image` and `label` and has image, size"):
        open_source("tiny", "train", data_dir=tmp_path)
