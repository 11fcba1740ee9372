"""From a checkpoint to the model that it holds."""

from pathlib import Path
from typing import Any

from wae_jax.checkpoints import folders, store
from wae_jax.config import settings_from_config
from wae_jax.models.classifier import Classifier, build_model, variable_shapes


def load(path: str) -> tuple[Classifier, Any]:
    """A trained classifier, rebuilt from the config kept in its checkpoint.

    Args:
        path: a training workdir or one of its checkpoint steps.

    Returns:
        ``(model, variables)``: ``model.apply(variables, images)`` takes RGB 0..255 (B, H, W, 3) and
        returns :class:`wae_jax.models.outputs.Outputs`.

    Raises:
        UserError: no usable checkpoint there, or a user's own backbone that cannot be imported.
    """
    model, variables, _ = load_step(folders.find(path))
    return model, variables


def load_step(folder: Path) -> tuple[Classifier, Any, dict[str, Any]]:
    """``(model, variables, meta)`` of a verified step directory."""
    meta = store.read_meta(folder)
    settings = settings_from_config(meta["config"])
    image_size = settings.data.image_size
    model = build_model(settings.model, num_classes=meta["num_classes"], image_size=image_size)
    shapes = variable_shapes(model, image_size)
    return model, store.restore_evaluated(folder, shapes), meta
