"""StableHLO files: one program for CPU, CUDA and TPU with its weights, and how to run one.

Such a file is a ZIP archive, not compressed: ``module.jax_export`` is what ``jax.export`` makes of
a function ``(weights, images) -> {"scores", "probabilities"}``; ``weights.safetensors`` has the
weights by name; ``metadata.json`` says what the file is. Whoever has jax and safetensors can read
it.

This module is imported to run files: it must not import flax, or the rest of the package.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from wae_jax.errors import UserError

PLATFORMS = ("cpu", "cuda", "tpu")
MODULE, WEIGHTS, METADATA = "module.jax_export", "weights.safetensors", "metadata.json"


class Exported:
    """A classifier from a StableHLO file.

    Attributes:
        metadata: what the file says of itself: class names, input convention, provenance.
        batch: how many images a call takes; None for any number.
        size: their side in pixels.
    """

    def __init__(self, module: Any, weights: Mapping[str, np.ndarray], metadata: dict[str, Any]):
        self.metadata = metadata
        images = module.in_avals[-1].shape
        self.batch = images[0] if isinstance(images[0], int) else None
        self.size = int(images[1])
        self._weights = jax.device_put(dict(weights))
        self._call = jax.jit(module.call)

    def __call__(self, images) -> dict[str, jax.Array]:
        """Classifies images.

        Args:
            images: uint8 RGB (B, S, S, 3).

        Returns:
            "scores" and "probabilities", each (B, classes) in float32.

        Raises:
            ValueError: images of another type or shape.
        """
        want = (self.batch or "B", self.size, self.size, 3)
        shape = np.shape(images)
        fits = len(shape) == 4 and shape[1:] == want[1:] and shape[0] in (self.batch or shape[0],)
        if not fits or images.dtype != np.uint8:
            raise ValueError(
                f"images must be uint8 ({', '.join(map(str, want))}), not {images.dtype} {shape}"
            )
        return self._call(self._weights, images)


def load(path: str | Path) -> Exported:
    """A classifier from a StableHLO file, on jax's default backend.

    Args:
        path: what ``wae-jax export --format=stablehlo`` wrote.

    Raises:
        UserError: no such file, or none that this jax can read.
    """
    import safetensors.numpy

    try:
        with zipfile.ZipFile(path) as archive:
            module, weights = archive.read(MODULE), archive.read(WEIGHTS)
            metadata = json.loads(archive.read(METADATA))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no StableHLO file of wae-jax, or damaged: {error}") from error
    check_flatbuffers()
    try:
        program = export.deserialize(bytearray(module))
        return Exported(program, safetensors.numpy.load(weights), metadata)
    except Exception as error:  # the reader of another jax version may raise anything
        raise UserError(f"jax {jax.__version__} cannot read {path}: {error}") from error


def check_flatbuffers() -> None:
    """Raises UserError where the package is missing that ``jax.export`` writes and reads with."""
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise UserError(
            "StableHLO files need the package flatbuffers: pip install 'wae-jax[stablehlo]'"
        ) from error
