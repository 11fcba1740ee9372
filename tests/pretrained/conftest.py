"""What the tests of imported weights share."""

import pytest

from wae_jax.config import ModelSettings, Settings, default_config, settings_from_config
from wae_jax.methods import set_method


@pytest.fixture(scope="session")
def base_settings() -> Settings:
    """The defaults, at full resolution."""
    return settings_from_config(set_method(default_config(), "full"))


@pytest.fixture(scope="session")
def base_model(base_settings) -> ModelSettings:
    """Its ``model``."""
    return base_settings.model
