"""A jax function as an ONNX graph: walks its jaxpr, computing what is constant."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from wae_jax.errors import UserError
from wae_jax.export import layout
from wae_jax.export.graph import Graph, UnsupportedError
from wae_jax.export.layout import Tensor
from wae_jax.export.primitives import PRIMITIVES

# Primitives that call a jaxpr, and the parameter that holds it.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}
IMAGES = "images"


def trace_images(function: Callable, shape: Sequence) -> tuple[Graph, Tensor]:
    """The graph of a function of images.

    Args:
        function: uint8 images (B, H, W, C) -> one array. What it closes over is constant.
        shape: of the images; a symbolic B stands for any.

    Returns:
        The graph, whose input is named "images", and the result, as it lies there.

    Raises:
        UserError: a primitive has no operator in ONNX that we know.
    """
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(tuple(shape), np.uint8))
    graph = Graph()
    graph.shapes[IMAGES] = tuple(shape)
    # Channels first from the start, while a pixel has one byte.
    images = layout.arrange(graph, layout.plain(IMAGES, shape), (0, 3, 1, 2))
    constants = [np.asarray(c) for c in closed.consts]
    (result,) = _walk(graph, closed.jaxpr, constants, [images])
    if not isinstance(result, Tensor):
        raise UserError("cannot export a network whose scores do not depend on the image")
    return graph, layout.arrange(graph, layout.expanded(graph, result), range(len(result.shape)))


def _walk(graph: Graph, jaxpr, constants: Sequence, inputs: Sequence, where: str = "") -> list:
    values: dict[Any, Any] = {}

    def read(var: Any):
        if isinstance(var, core.Literal):
            return np.asarray(var.val, var.aval.dtype)  # type: ignore[attr-defined]
        return values[var]

    values.update(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
        try:
            outputs = _equation(graph, eqn, [read(var) for var in eqn.invars], where)
        except UnsupportedError as error:
            name = f"{eqn.primitive.name} {error}".strip()
            place = _place(eqn) or where or "this network"
            raise UserError(
                f"cannot export {place} to ONNX: the primitive {name} is not known to the exporter"
            ) from error
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(var) for var in jaxpr.outvars]


def _equation(graph: Graph, eqn, inputs: list, where: str) -> Sequence:
    name, params = eqn.primitive.name, eqn.params
    inside = _place(eqn) or where
    if name in _CALLS:
        inner = params[_CALLS[name]]
        if isinstance(inner, core.ClosedJaxpr):
            return _walk(graph, inner.jaxpr, [np.asarray(c) for c in inner.consts], inputs, inside)
        return _walk(graph, inner, [], inputs, inside)
    if name == "platform_index":
        return [np.asarray(_other_platform(params["platforms"]), np.int32)]
    if name == "cond" and isinstance(inputs[0], np.ndarray):
        branch = params["branches"][int(inputs[0])]
        return _walk(
            graph, branch.jaxpr, [np.asarray(c) for c in branch.consts], inputs[1:], inside
        )
    shape = eqn.outvars[0].aval.shape
    if any(layout.is_static([side]) and side == 0 for side in shape):  # a border of no width
        known = [side if layout.is_static([side]) else 1 for side in shape]
        return [np.zeros(known, eqn.outvars[0].aval.dtype)]
    if not any(isinstance(x, Tensor) for x in inputs):
        return _compute(eqn, inputs)
    if name not in PRIMITIVES:
        raise UnsupportedError
    several = eqn.primitive.multiple_results
    avals = [var.aval for var in eqn.outvars]
    found = PRIMITIVES[name](graph, inputs, params, avals if several else avals[0])
    return found if isinstance(found, list) else [found]


def _other_platform(platforms: Sequence) -> int:
    """The branch that is meant for no platform by name: nothing of it is a trick for CPUs."""
    for index, names in enumerate(platforms):
        if names is None or "cuda" in names:
            return index
    return len(platforms) - 1


def _compute(eqn, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """What an equation makes of constants; NumPy does what would only be compiled in vain."""
    name, params, shape = eqn.primitive.name, eqn.params, eqn.outvars[0].aval.shape
    if name in ("reshape", "squeeze", "expand_dims") and layout.is_static(shape):
        return [inputs[0].reshape(shape)]
    if name == "transpose":
        return [inputs[0].transpose(params["permutation"])]
    if name == "broadcast_in_dim":
        sides = [1] * len(shape)
        for dim, place in enumerate(params["broadcast_dimensions"]):
            sides[place] = inputs[0].shape[dim]
        # Along the batch a constant is the same: one will do.
        known = [side if layout.is_static([side]) else 1 for side in shape]
        return [np.broadcast_to(inputs[0].reshape(sides), known)]
    try:
        found = eqn.primitive.bind(*inputs, **params)
    except Exception as error:
        if name != "dim_as_value" and layout.is_static(shape):
            raise
        raise UnsupportedError("where a call takes any number of images") from error
    return [np.asarray(x) for x in (found if eqn.primitive.multiple_results else [found])]


def _place(eqn) -> str:
    """The module of an equation, and the line outside jax and flax that made it; or nothing."""
    where = str(eqn.source_info.name_stack)
    trace = eqn.source_info.traceback
    for frame in trace.frames if trace is not None else []:
        if not any(f"/{package}/" in frame.file_name for package in ("jax", "flax")):
            return f"{where} ({frame.file_name}:{frame.line_num})".strip()
    return where
