"""The builder that the tests of the inference form share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.config import settings_from_config
from wae_jax.models.classifier import build_model, init_variables


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
            noise = rng.normal(size=x.shape)
            return jnp.asarray(
                0.5 + np.abs(noise) if path[-1].key == "var" else x + 0.1 * noise, jnp.float32
            )

        variables = jax.tree.map_with_path(trained, init_variables(model, images, seed=0))
        return model, variables, images

    return build
