"""Weights of other libraries: files in their formats -> networks of this package."""

import functools
from collections.abc import Callable
from pathlib import Path

from wae_jax.config import ModelSettings
from wae_jax.errors import UserError
from wae_jax.pretrained import caffe, keras, pytorch
from wae_jax.pretrained.network import Imported

__all__ = ["SOURCES", "Imported", "import_network"]

# source -> importer (file, model, base config.model) -> Imported
SOURCES: dict[str, Callable[[Path, str, ModelSettings], Imported]] = {
    "torchvision": functools.partial(pytorch.import_network, source="torchvision"),
    "timm": functools.partial(pytorch.import_network, source="timm"),
    "keras": keras.import_network,
    "caffe": caffe.import_network,
}


def import_network(source: str, model: str, file: str, base: ModelSettings) -> Imported:
    """The network ``model`` of ``source`` with the weights in ``file``.

    Args:
        source: one of :data:`SOURCES`.
        model: its name there.
        file: the file of weights.
        base: a ``config.model`` for the keys that do not matter.

    Raises:
        UserError: no such source, model or file, or the file is not of this network.
    """
    if source not in SOURCES:
        raise UserError(f"there is no source {source!r}; choose one of: {', '.join(SOURCES)}")
    path = Path(file)
    if not path.exists():
        raise UserError(f"no such file: {file}")
    return SOURCES[source](path, model, base)
