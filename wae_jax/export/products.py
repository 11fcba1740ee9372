"""Sums, pools, convs and products, as ONNX operators; see :mod:`.primitives`."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wae_jax.export import layout
from wae_jax.export.elementwise import apply
from wae_jax.export.graph import Graph, UnsupportedError
from wae_jax.export.layout import Tensor


def reduction(op: str) -> Callable:
    """The entry of a primitive that reduces dimensions away."""

    def convert(graph, inputs, params, aval):
        t = layout.expanded(graph, inputs[0])
        if len(t.shape) - 1 not in params["axes"]:
            t = layout.unshuffled(graph, t)
        gone = sorted(axis for dim in params["axes"] for axis in t.axes[dim])
        if not gone:  # all of them are 1 and not stored
            axes = tuple(g for dim, g in enumerate(t.axes) if dim not in params["axes"])
            return Tensor(t.name, t.stored, aval.shape, axes, t.order)
        left = [axis for axis in range(len(t.stored)) if axis not in gone]
        stored = tuple(t.stored[axis] for axis in left)
        name = graph.add(op, [t.name, graph.integers(gone)], stored, keepdims=0)
        axes = tuple(
            tuple(left.index(axis) for axis in group)
            for dim, group in enumerate(t.axes)
            if dim not in params["axes"]
        )
        return Tensor(name, stored, aval.shape, axes)

    return convert


def _channels_first(graph: Graph, t: Tensor, spatial: Sequence[int]) -> Tensor:
    """(N, C, ...) with the ``spatial`` dimensions last, as convs and pools want it."""
    rest = [dim for dim in layout.natural_order(t) if dim not in spatial]
    if len(rest) != 2:
        raise UnsupportedError(f"over {len(spatial)} of {len(t.shape)} dimensions")
    return layout.arrange(graph, layout.expanded(graph, t), [*rest, *spatial])


def _pool(op: str) -> Callable:
    def convert(graph, inputs, params, aval):
        window, steps, pads = (
            params[k] for k in ("window_dimensions", "window_strides", "padding")
        )
        dilations = params["window_dilation"]
        if any(x != 1 for x in params["base_dilation"]):
            raise UnsupportedError("between pixels")
        moves = [
            dim for dim in range(len(window)) if window[dim] > 1 or steps[dim] > 1 or any(pads[dim])
        ]
        rank = len(inputs[0].shape)
        spatial = moves if rank - len(moves) == 2 else _spatial_around(moves, rank)
        if op == "AveragePool" and any(d > 1 for d in dilations):
            raise UnsupportedError("with dilation")
        t = _channels_first(graph, inputs[0], spatial)
        attributes: dict[str, Any] = {
            "kernel_shape": [window[d] for d in spatial],
            "strides": [steps[d] for d in spatial],
            "pads": [pads[d][0] for d in spatial] + [pads[d][1] for d in spatial],
        }
        if op == "AveragePool":
            attributes["count_include_pad"] = 1
        elif any(d > 1 for d in dilations):
            attributes["dilations"] = [dilations[d] for d in spatial]
        stored = tuple(aval.shape[d] for d in np.argsort([axis for (axis,) in t.axes]))
        name = graph.add(op, [t.name], stored, **attributes)
        t = Tensor(name, stored, aval.shape, t.axes)
        if op == "AveragePool":  # what the primitive computes is a sum
            t = apply(graph, "Mul", t, math.prod(window))
        return t

    return convert


def _spatial_around(moves: Sequence[int], rank: int) -> list[int]:
    """Channels-last images: all dimensions but the first and the last."""
    spatial = list(range(1, rank - 1))
    if not set(moves) <= set(spatial):
        raise UnsupportedError("over batch or channels")
    return spatial


def _conv(graph, inputs, params, aval):
    x, kernel = inputs
    if any(d != 1 for d in params["lhs_dilation"]) or params["batch_group_count"] != 1:
        raise UnsupportedError("that is transposed")
    if not isinstance(x, Tensor):
        raise UnsupportedError("of a constant")
    numbers = params["dimension_numbers"]
    x = layout.arrange(graph, layout.expanded(graph, x), numbers.lhs_spec)
    if isinstance(kernel, Tensor):
        weights = layout.arrange(graph, layout.expanded(graph, kernel), numbers.rhs_spec).name
        window = [kernel.shape[d] for d in numbers.rhs_spec[2:]]
    else:
        array = kernel.transpose(numbers.rhs_spec)
        weights, window = graph.constant(array), array.shape[2:]
    stored = tuple(aval.shape[d] for d in numbers.out_spec)
    pads = params["padding"]
    name = graph.add(
        "Conv",
        [x.name, weights],
        stored,
        kernel_shape=list(window),
        strides=list(params["window_strides"]),
        pads=[low for low, _ in pads] + [high for _, high in pads],
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    axes = tuple((axis,) for axis in np.argsort(numbers.out_spec).tolist())
    return Tensor(name, stored, aval.shape, axes)


def _dot(graph, inputs, params, aval):
    lhs, rhs = inputs
    (lhs_sum, rhs_sum), (lhs_batch, _) = params["dimension_numbers"]
    if (isinstance(lhs, Tensor) and isinstance(rhs, Tensor)) or lhs_batch or len(lhs_sum) != 1:
        return _einsum(graph, inputs, params, aval)
    if isinstance(lhs, Tensor):
        return _by_constant(graph, lhs, lhs_sum[0], rhs, rhs_sum[0])
    # The other way around: the constant's own dimensions come first in the result.
    t = _by_constant(graph, rhs, rhs_sum[0], lhs, lhs_sum[0])
    own = len(rhs.shape) - 1
    t = layout.unshuffled(graph, t)
    return dataclasses.replace(t, shape=aval.shape, axes=(*t.axes[own:], *t.axes[:own]))


def _by_constant(graph, t: Tensor, dim: int, weights: np.ndarray, weights_dim: int) -> Tensor:
    """A product with constant weights: a 1x1 conv where channels are summed, else a MatMul."""
    weights = np.moveaxis(weights, weights_dim, 0)
    out = weights.shape[1:]
    matrix = weights.reshape(len(weights), -1)
    shape = (*t.shape[:dim], *t.shape[dim + 1 :], *out)
    t = layout.expanded(graph, t)
    summed = [axis for axis in t.axes[dim] if not layout.is_one(t.stored[axis])] or [1]
    if len(t.stored) > 2 and summed == [1] and 1 in t.axes[dim] and t.order is None:
        ones = [1] * (len(t.stored) - 2)
        stored = (t.stored[0], matrix.shape[1], *t.stored[2:])
        kernel = graph.constant(matrix.T.reshape(matrix.shape[::-1] + tuple(ones)))
        name = graph.add("Conv", [t.name, kernel], stored, **_one_by_one(len(ones)))
        free, last = (*t.axes[:dim], *t.axes[dim + 1 :]), 1
    else:
        if dim == len(t.shape) - 1:
            t = layout.flattened(graph, t)
        if t.order is not None:
            matrix = matrix[t.order]
        kept = [d for d in range(len(t.shape)) if d != dim]
        place = dataclasses.replace(t, order=None)
        t = layout.arrange(graph, place, [*kept, dim])
        last = len(kept)
        stored = (*t.stored[:-1], matrix.shape[1])
        op = "Gemm" if last == 1 else "MatMul"
        name = graph.add(op, [t.name, graph.constant(matrix)], stored)
        free = tuple(t.axes[d] for d in kept)
    product = Tensor(name, stored, (*shape[: len(free)], matrix.shape[1]), (*free, (last,)))
    return layout.reshape(graph, product, shape) if len(out) != 1 else product


def _one_by_one(rank: int) -> dict[str, Any]:
    """A Conv's attributes."""
    ones = [1] * rank
    zeros = [0] * (2 * rank)
    return {"kernel_shape": ones, "strides": ones, "pads": zeros, "dilations": ones, "group": 1}


def _einsum(graph, inputs, params, aval):
    (lhs_sum, rhs_sum), (lhs_batch, rhs_batch) = params["dimension_numbers"]
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    lhs = [next(letters) for _ in inputs[0].shape]
    rhs = [next(letters) for _ in inputs[1].shape]
    for a, b in (*zip(lhs_sum, rhs_sum, strict=True), *zip(lhs_batch, rhs_batch, strict=True)):
        rhs[b] = lhs[a]
    out = [lhs[d] for d in lhs_batch]
    out += [x for d, x in enumerate(lhs) if d not in (*lhs_sum, *lhs_batch)]
    out += [x for d, x in enumerate(rhs) if d not in (*rhs_sum, *rhs_batch)]
    names, terms = [], []
    for x, term in zip(inputs, (lhs, rhs), strict=True):
        if isinstance(x, Tensor):
            x = layout.expanded(graph, layout.simple(graph, x))
            terms.append("".join(term[d] for d in layout.natural_order(x)))
            names.append(x.name)
        else:
            terms.append("".join(term))
            names.append(graph.constant(x))
    equation = f"{','.join(terms)}->{''.join(out)}"
    name = graph.add("Einsum", names, aval.shape, equation=equation)
    return layout.plain(name, aval.shape)


PRODUCTS: dict[str, Callable] = {
    "reduce_sum": reduction("ReduceSum"),
    "reduce_max": reduction("ReduceMax"),
    "reduce_min": reduction("ReduceMin"),
    "reduce_prod": reduction("ReduceProd"),
    "reduce_window_max": _pool("MaxPool"),
    "reduce_window_sum": _pool("AveragePool"),
    "conv_general_dilated": _conv,
    "dot_general": _dot,
}
