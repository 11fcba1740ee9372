"""Make a CNN image classifier several times cheaper from the input side.

``train(config, workdir)`` trains a classifier whose front end splits the image into two
half-resolution sub-images (the Wavelet-like Auto-Encoder); ``load(path)`` gives it back as
``(model, variables)``; ``for_inference(model, variables)`` is its fast form. Call ``configure()``
first: it makes XLA faster on CPU.
"""

import importlib

__version__ = "0.2.0"

_HOMES = {
    "Classifier": "models.classifier",
    "Outputs": "models.outputs",
    "SubImages": "models.frontends",
    "UserError": "errors",
    "build_model": "models.classifier",
    "configure": "runtime.process",
    "for_inference": "inference.fold",
    "load": "checkpoints.load",
    "default_config": "config",
    "settings_from_config": "config",
    "train": "training.loop",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    # Imported on first use: data-loading workers and `wae_jax.models.wavelets` need only a part.
    if name not in _HOMES:
        raise AttributeError(f"module 'wae_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"wae_jax.{_HOMES[name]}"), name)
