"""Classes of every image of a split."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax import data
from wae_jax.config import settings_from_config
from wae_jax.data.bad import BadRecordError
from wae_jax.evaluation.outcomes import evaluate_each

CLASSES = data.Classes(10, None, "the test")


@pytest.fixture
def settings(cifar10, tiny_config):
    changes = {"data.image_size": 32, "data.eval_batch_size": 4}
    return settings_from_config(tiny_config(changes)).data


def brightness(variables, images):
    """Scores that follow from the image alone: the class is its mean's last digit."""
    digit = jnp.floor(images.astype(jnp.float32).mean((1, 2, 3))) % 10
    return jnp.where(jnp.arange(10) == digit[:, None], variables, 0.0)


def test_every_image_has_its_own_class_in_the_splits_order(settings):
    found = evaluate_each(brightness, 1.0, settings, "test[:10]", CLASSES)  # the last batch: 2
    source = data.open_source("cifar10", "test")
    images, labels = data.DecodedRecords(source).read(np.arange(10))
    assert found.labels.tolist() == np.asarray(labels).tolist()
    expected = [int(np.asarray(image, np.float64).mean()) % 10 for image in images]
    assert found.predicted.tolist() == expected
    assert found.labels.dtype == found.predicted.dtype == np.int32


@pytest.mark.parametrize("score", [0.0, jnp.nan])
def test_where_no_score_is_highest_there_is_no_class(settings, score):
    found = evaluate_each(brightness, score, settings, "test[:4]", CLASSES)
    assert found.predicted.tolist() == [-1] * 4


def test_bad_records_have_no_label(settings, monkeypatch):
    read = data.DecodedRecords.read

    def damaged(self, records):
        if 2 in records:
            raise BadRecordError("damaged")
        return read(self, records)

    monkeypatch.setattr(data.DecodedRecords, "read", damaged)
    skipping = dataclasses.replace(settings, bad_records="skip")
    found = evaluate_each(brightness, 1.0, skipping, "test[:6]", CLASSES)
    assert (found.labels >= 0).tolist() == [True, True, False, True, True, True]
