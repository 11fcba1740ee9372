"""Tiny TFDS data sets written by the tests, and the real CIFAR-10 from the cache."""

import io

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from wae_jax.data import open_source

from .local_archive import provide


def index_image(index, size=8):
    """uint8 (size, size, 3): a flat image whose red and green tell its number."""
    image = np.zeros((size, size, 3), np.uint8)
    image[..., 0], image[..., 1] = index % 256, index // 256
    return image


def image_index(image):
    """Undoes `index_image`, whatever flip or crop came between."""
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


def png(image):
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def make_builder(
    folder, splits, *, name="tiny", features=None, shape=(8, 8, 3), encode=png, label=None
):
    """A TFDS builder of {split: count}; record i: `index_image(i)` and label i % 5 or `label`."""
    features = features or {
        "image": tfds.features.Image(shape=shape),
        "label": tfds.features.ClassLabel(num_classes=5),
    }
    builder_name = name

    with tfds.core.registered.skip_registration():

        class Tiny(tfds.core.GeneratorBasedBuilder):
            name = builder_name
            VERSION = tfds.core.Version("1.0.0")
            url_infos = {}  # noqa: RUF012

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self,
                    features=tfds.features.FeaturesDict(features),
                    disable_shuffling=True,
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(n) for split, n in splits.items()}

            def _generate_examples(self, count):
                for i in range(count):
                    values = {
                        "image": io.BytesIO(encode(index_image(i))),
                        "label": i % 5 if label is None else label,
                    }
                    yield i, {key: values.get(key, i) for key in features}

    return Tiny(data_dir=folder, file_format="array_record")


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory):
    """A TFDS data folder with `tiny`: 53 training and 11 test images, 8 x 8."""
    folder = tmp_path_factory.mktemp("tfds")
    make_builder(folder, {"train": 53, "test": 11}).download_and_prepare()
    return folder


@pytest.fixture(scope="session")
def tiny_train(tiny_dir):
    return open_source("tiny", "train", data_dir=tiny_dir)


@pytest.fixture(scope="session")
def tiny_test(tiny_dir):
    return open_source("tiny", "test", data_dir=tiny_dir)


@pytest.fixture(scope="session")
def cifar_train():
    """The real training split; fetched on first use, and a failure if that is impossible."""
    return open_source("cifar10", "train")


@pytest.fixture(scope="session")
def grocery_split(root):
    """Factory of the real splits: ``grocery_split("train")``; a failure if they cannot be had."""
    provide(root)
    return lambda split: open_source("grocery", split)
