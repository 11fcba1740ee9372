"""What the tests of augmentation share."""

import numpy as np
import pytest

from wae_jax import data
from wae_jax.config import settings_from_config

SIZE = 224


@pytest.fixture(scope="module")
def photos():
    """uint8 (4, 224, 224, 3): real photos."""
    source = data.open_source("foolbox_photos", "validation")
    images = data.DecodedRecords(source).read(np.arange(4))[0]
    return data.make_transform("imagenet", SIZE, train=False)(images, np.empty((4, 0)))


@pytest.fixture(scope="module")
def settings(tiny_config):
    """Function: the data settings of the tiny config with changes."""

    def settings(**changes):
        config = tiny_config({f"data.{key}": value for key, value in changes.items()})
        return settings_from_config(config).data

    return settings


def other_of(count):
    """Each position's partner: 1, 0, 3, 2, ..."""
    return np.arange(count) ^ 1
