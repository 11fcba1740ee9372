"""The builder that the tests of the inference form share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import register_short_resnets
from wae_jax.config import settings_from_config
from wae_jax.models.classifier import build_model, variable_shapes


@pytest.fixture
def short_resnets(monkeypatch):
    """Backbones that tests may name: see ``register_short_resnets``."""
    register_short_resnets(monkeypatch)


@pytest.fixture(scope="session")
def make(tiny_config):
    """Factory: ``make(front end's changes, **config's changes)``."""

    def build(frontend, **changes):
        """A model at an odd size with variables as after training, and images."""
        config = tiny_config({f"model.frontend.{k}": v for k, v in frontend.items()} | changes)
        settings = settings_from_config(config)
        model = build_model(settings.model, num_classes=10, image_size=33)
        rng = np.random.default_rng(0)
        images = jnp.asarray(rng.integers(0, 256, (2, 33, 33, 3), np.uint8))

        def trained(path, x):
            noise = rng.standard_normal(x.shape, np.float32)
            name = path[-1].key
            if name == "kernel":  # drawn here: to compile its initialisation would take far longer
                return noise * np.sqrt(2 / np.prod(x.shape[:-1]), dtype=np.float32)
            return 0.5 + np.abs(noise) if name == "var" else (name == "scale") + 0.1 * noise

        variables = jax.tree.map_with_path(trained, variable_shapes(model, 33))
        return model, variables, images

    return build
