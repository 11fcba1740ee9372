"""What the tests of imported weights share."""

import json

import pytest

from configs import common


@pytest.fixture(scope="session")
def base_config() -> dict:
    """The default config as a plain dict."""
    return json.loads(json.dumps(common.set_method(common.get_config(), "full").to_dict()))


@pytest.fixture(scope="session")
def base_model(base_config) -> dict:
    """Its ``model``."""
    return base_config["model"]
