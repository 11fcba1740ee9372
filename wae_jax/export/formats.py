"""The formats: from a network to the file's content, and from a file to something to call."""

import dataclasses
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax import export

from wae_jax.errors import UserError
from wae_jax.export import stablehlo
from wae_jax.export.graph import Graph, to_model
from wae_jax.export.runtimes import import_extra, open_onnxruntime
from wae_jax.export.simplify import simplify
from wae_jax.export.trace import IMAGES, trace_images
from wae_jax.models.classifier import Classifier, scores_of

SCORES, PROBABILITIES = "scores", "probabilities"
_LARGEST = 2**31 - 2**20  # bytes of a protobuf message, with room for all but the weights
Call = Callable[[np.ndarray], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Network:
    """What is exported.

    Attributes:
        model, variables: its inference form, in the plain layout.
        size: of the images in pixels.
        batch: images in a call; None for any number.
        metadata: what the file says of itself, JSON-able.
    """

    model: Classifier
    variables: Any
    size: int
    batch: int | None
    metadata: dict[str, Any]

    def images_shape(self) -> tuple:
        """(B, S, S, 3) for tracing; B may be a symbol."""
        (free,) = export.symbolic_shape("batch")
        return (free if self.batch is None else self.batch, self.size, self.size, 3)


def write_onnx(network: Network, path: Path) -> None:
    """Writes an ONNX file, which passes ``onnx.checker``.

    Raises:
        UserError: the package onnx is missing, a primitive is unknown, or the weights are too large
            for one file.
        OSError: the file cannot be written.
    """
    graph, shape = _graph_of(
        lambda x: scores_of(network.model, network.variables, x), network.images_shape()
    )
    graph.rename(graph.add("Softmax", [SCORES], shape, axis=1), PROBABILITIES)
    metadata = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in network.metadata.items()
    }
    _write_graph(graph, path, shape[1], (SCORES, PROBABILITIES), metadata)
    import_extra("onnx.checker").check_model(str(path), full_check=True)


def write_function(function: Callable, shape: tuple, path: Path) -> None:
    """Writes a function of images alone as an ONNX file: no metadata, nothing checked.

    Args:
        function: uint8 (B, H, W, C) -> float32 (B, F), named "scores" in the file.
        shape: of the images.
        path: the file.

    Raises:
        UserError, OSError: as :func:`write_onnx`.
    """
    graph, found = _graph_of(function, shape)
    _write_graph(graph, path, found[1], (SCORES,), {})


def _graph_of(function: Callable, shape: tuple) -> tuple[Graph, tuple]:
    """The graph of uint8 images -> scores, and the scores' shape."""
    import_extra("onnx")
    graph, scores = trace_images(function, shape)
    (name,) = simplify(graph, [scores.name])
    graph.rename(name, SCORES)
    return graph, scores.shape


def _write_graph(
    graph: Graph, path: Path, features: int, outputs: Sequence[str], metadata: dict[str, str]
) -> None:
    if sum(array.nbytes for array in graph.constants.values()) > _LARGEST:
        raise UserError("the weights exceed the 2 GiB that one ONNX file can hold")
    batch, *sides = graph.shapes[IMAGES]
    batch = batch if isinstance(batch, int) else "batch"
    model = to_model(
        graph,
        [(IMAGES, np.uint8, (batch, *sides))],
        [(out, np.float32, (batch, features)) for out in outputs],
        metadata,
    )
    path.write_bytes(model.SerializeToString())


def open_onnx(path: Path) -> Call:
    """The file in ONNX Runtime, on CPU.

    Raises:
        UserError: the package onnxruntime is missing, or it does not take the file.
    """
    return open_onnxruntime(path).call


def write_stablehlo(network: Network, path: Path) -> None:
    """Writes a StableHLO file for all of :data:`wae_jax.export.stablehlo.PLATFORMS`.

    Raises:
        UserError: the package flatbuffers is missing.
        OSError: the file cannot be written.
    """
    import safetensors.numpy

    stablehlo.check_flatbuffers()
    weights = traverse_util.flatten_dict(network.variables, sep="/")

    def classify(weights, images):
        variables = traverse_util.unflatten_dict(weights, sep="/")
        scores = scores_of(network.model, {"params": {}, **variables}, images)
        return {SCORES: scores, PROBABILITIES: jax.nn.softmax(scores)}

    shapes = jax.tree.map(lambda w: jax.ShapeDtypeStruct(w.shape, w.dtype), weights)
    images = jax.ShapeDtypeStruct(network.images_shape(), np.uint8)
    module = export.export(jax.jit(classify), platforms=stablehlo.PLATFORMS)(shapes, images)
    arrays = {name: np.asarray(array) for name, array in weights.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(stablehlo.MODULE, bytes(module.serialize()))
        archive.writestr(stablehlo.WEIGHTS, safetensors.numpy.save(arrays))
        archive.writestr(stablehlo.METADATA, json.dumps(network.metadata))


def open_stablehlo(path: Path) -> Call:
    """The file on jax's default backend."""
    return stablehlo.load(path)


@dataclasses.dataclass(frozen=True)
class Format:
    """How files of one kind are written and opened; ``runtime``: what then runs them."""

    write: Callable[[Network, Path], None]
    open: Callable[[Path], Call]
    runtime: str


FORMATS = {
    "onnx": Format(write_onnx, open_onnx, "ONNX Runtime"),
    "stablehlo": Format(write_stablehlo, open_stablehlo, "jax.export"),
}
