"""ONNX files whose weights are kept in 16 bits; everything computes in float32 as before."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from wae_jax.errors import UserError
from wae_jax.export.runtimes import import_extra

# How far scores may be from those of the float32 weights, of the largest.
TOLERANCES = {"float16": 0.01, "bfloat16": 0.08}
_SMALLEST = 256  # numbers in an array, below which nothing is gained


def halve_weights(path: Path, kind: str) -> None:
    """Rewrites a file with its large float32 arrays in 16 bits, each behind a Cast to float32.

    A runtime that folds constants undoes the casts as it loads the file: half the file, and the
    same time for a call.

    Args:
        path: the file.
        kind: a name in :data:`TOLERANCES`.

    Raises:
        UserError: a weight is beyond what float16 can hold.
    """
    onnx = import_extra("onnx")
    model = onnx.load(path)
    graph, casts = model.graph, []
    kept = [_array(onnx, x, kind) for x in graph.initializer]
    del graph.initializer[:]
    for name, tensor, halved in kept:
        graph.initializer.append(tensor)
        if halved:
            casts.append(
                onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
            )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _array(onnx, tensor, kind: str) -> tuple[str, Any, bool]:
    """An initializer's name, what is kept of it, and whether that is in 16 bits."""
    x = onnx.numpy_helper.to_array(tensor)
    if x.dtype != np.float32 or x.size < _SMALLEST:
        return tensor.name, tensor, False
    if kind == "float16" and np.abs(x).max() > np.finfo(np.float16).max:
        raise UserError("a weight is beyond what float16 can hold; take --weights=bfloat16")
    dtype = np.float16 if kind == "float16" else jnp.bfloat16
    name = f"{tensor.name}_{kind}"
    return tensor.name, onnx.numpy_helper.from_array(x.astype(dtype), name), True
