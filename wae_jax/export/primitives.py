"""jax's primitives as ONNX operators: a table, and what its entries share.

An entry is a function ``(graph, inputs, params, aval) -> Tensor`` or a list of them for several
outputs. Inputs are :class:`Tensor` or, where they are constant, NumPy arrays; at least one is not.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wae_jax.export import layout
from wae_jax.export.graph import Graph
from wae_jax.export.layout import Tensor

Input = Tensor | np.ndarray
_FIRST, _LAST = -(2**62), 2**62  # before and after everything, in a Slice


class Unsupported(Exception):
    """A primitive's parameters that have no operator; the message says what."""


def align(graph: Graph, inputs: Sequence[Input], shape: Sequence) -> tuple[list[str], Tensor]:
    """Operands of an elementwise operator, laid alike.

    Returns:
        Their names, and a tensor that lies as the result does; its name means nothing.
    """
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    # A scalar meets any layout as it is.
    model = max(tensors, key=lambda t: (len(t.shape), len(t.stored)))
    if not all(t.same_layout(model) for t in tensors if t.shape) or any(
        isinstance(x, np.ndarray) and layout.lay_constant(x, model) is None for x in inputs
    ):
        order = layout.natural_order(model)
        inputs = [
            layout.arrange(graph, x, order) if isinstance(x, Tensor) and x.shape else x
            for x in inputs
        ]
        model = layout.arrange(graph, model, order)
    names, stored = [], list(model.stored)
    for x in inputs:
        if isinstance(x, np.ndarray):
            array = layout.lay_constant(x, model)
            assert array is not None  # with one axis per dimension it always can
            names.append(graph.constant(array))
            sides = array.shape
        else:
            names.append(x.name)
            sides = x.stored
        if sides:
            stored = [b if layout._is_one(a) else a for a, b in zip(stored, sides, strict=True)]
    return names, dataclasses.replace(model, stored=tuple(stored), shape=tuple(shape))


def elementwise(op: str, **attributes) -> Callable:
    """The entry of a primitive that is one elementwise operator."""

    def convert(graph, inputs, params, aval):
        del params
        names, like = align(graph, inputs, aval.shape)
        name = graph.add(op, names, like.stored, **attributes)
        return dataclasses.replace(like, name=name)

    return convert


def apply(graph: Graph, op: str, t: Tensor, *constants, **attributes) -> Tensor:
    """An operator that leaves shape and layout as they are; scalars become operands."""
    names = [graph.constant(np.float32(c)) for c in constants]
    name = graph.add(op, [t.name, *names], t.stored, **attributes)
    return dataclasses.replace(t, name=name)


def _inverse(op: str) -> Callable:
    def convert(graph, inputs, params, aval):
        return apply(graph, "Reciprocal", elementwise(op)(graph, inputs, params, aval))

    return convert


def _plus(before: str, number: float, after: str = "") -> Callable:
    """``before``, a number added, ``after``: as in expm1."""

    def convert(graph, inputs, params, aval):
        (t,) = inputs
        t = apply(graph, before, t) if before else t
        t = apply(graph, "Add", t, number)
        return apply(graph, after, t) if after else t

    return convert


def _sub(graph, inputs, params, aval):
    a, b = inputs
    if isinstance(b, np.ndarray):
        return elementwise("Add")(graph, [a, np.asarray(-b)], params, aval)
    return elementwise("Sub")(graph, inputs, params, aval)


def _div(graph, inputs, params, aval):
    a, b = inputs
    if isinstance(b, np.ndarray) and np.issubdtype(b.dtype, np.floating):
        return elementwise("Mul")(graph, [a, np.asarray(1 / b)], params, aval)
    return elementwise("Div")(graph, inputs, params, aval)


def _max(graph, inputs, params, aval):
    for one, other in (inputs, inputs[::-1]):
        if isinstance(other, np.ndarray) and np.issubdtype(other.dtype, np.floating):
            if other.size and not other.any():
                return elementwise("Relu")(graph, [one], params, aval)
    return elementwise("Max")(graph, inputs, params, aval)


def _square(graph, inputs, params, aval):
    return elementwise("Mul")(graph, [inputs[0], inputs[0]], params, aval)


def _integer_pow(graph, inputs, params, aval):
    if params["y"] == 2:
        return _square(graph, inputs, params, aval)
    return apply(graph, "Pow", inputs[0], params["y"])


def _not_equal(graph, inputs, params, aval):
    return apply(graph, "Not", elementwise("Equal")(graph, inputs, params, aval))


def _select(graph, inputs, params, aval):
    which, *cases = inputs
    if len(cases) != 2:
        raise Unsupported("with more than two cases")
    return elementwise("Where")(graph, [which, *cases[::-1]], params, aval)


def _clamp(graph, inputs, params, aval):
    low, x, high = inputs
    x = elementwise("Max")(graph, [x, low], params, aval)
    return elementwise("Min")(graph, [x, high], params, aval)


def _cast(graph, inputs, params, aval):
    del params
    (t,) = inputs
    kinds = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}
    kinds |= {"float16": 10, "uint32": 12, "bfloat16": 16}
    if aval.dtype.name not in kinds:
        raise Unsupported(f"to {aval.dtype.name}")
    return apply(graph, "Cast", t, to=kinds[aval.dtype.name])


def _same(graph, inputs, params, aval):
    del graph, params, aval
    return inputs[0] if len(inputs) == 1 else list(inputs)


# --- shapes


def _reshape(graph, inputs, params, aval):
    if params.get("dimensions") is not None:
        raise Unsupported("with dimensions")
    return layout.reshape(graph, inputs[0], aval.shape)


def _transpose(graph, inputs, params, aval):
    t = layout.unshuffled(graph, inputs[0])
    axes = tuple(t.axes[dim] for dim in params["permutation"])
    return dataclasses.replace(t, shape=aval.shape, axes=axes)


def _broadcast(graph, inputs, params, aval):
    t, places = inputs[0], params["broadcast_dimensions"]
    if len(aval.shape) - 1 not in places:
        t = layout.unshuffled(graph, t)
    axes: list[tuple[int, ...]] = [()] * len(aval.shape)
    for dim, place in enumerate(places):
        axes[place] = t.axes[dim]
    return dataclasses.replace(t, shape=aval.shape, axes=tuple(axes))


def cut(graph: Graph, t: Tensor, starts, stops, steps, shape) -> Tensor:
    """A Slice where anything is cut off; entries of None are full dimensions."""
    dims = [d for d, start in enumerate(starts) if start is not None]
    if any(len(t.axes[d]) != 1 or t.side(d) != t.shape[d] for d in dims) or t.order is not None:
        t = layout.expanded(graph, layout.simple(graph, t))
    if not dims:
        return dataclasses.replace(t, shape=tuple(shape))
    axes = [t.axes[d][0] for d in dims]
    starts, stops = ([_from_end(t.shape[d], x) for d, x in enumerate(ends)] for ends in (starts, stops))
    stored = list(t.stored)
    for d, axis in zip(dims, axes, strict=True):
        stored[axis] = shape[d]
    order = np.argsort(axes)
    rows = ([x[d] for d in dims] for x in (starts, stops))
    vectors = [*rows, axes, [steps[d] for d in dims]]
    names = [graph.integers([vector[i] for i in order]) for vector in vectors]
    name = graph.add("Slice", [t.name, *names], stored)
    return dataclasses.replace(t, name=name, stored=tuple(stored), shape=tuple(shape))


def _from_end(side, index):
    """An index that depends on the batch, counted from the batch's end."""
    if index is None or layout.is_static([index]):
        return index
    back = index - side
    if not layout.is_static([back]):
        raise Unsupported("at a place that depends on the batch")
    return back or _LAST


def _slice(graph, inputs, params, aval):
    t = inputs[0]
    steps = params["strides"] or (1,) * len(t.shape)
    full = [
        layout._is_one(step) and a == b
        for a, b, step in zip(t.shape, aval.shape, steps, strict=True)
    ]
    starts, stops = (
        [None if f else x for f, x in zip(full, params[key], strict=True)]
        for key in ("start_indices", "limit_indices")
    )
    return cut(graph, t, starts, stops, steps, aval.shape)


def _rev(graph, inputs, params, aval):
    t = inputs[0]
    turned = [dim in params["dimensions"] for dim in range(len(t.shape))]
    starts, stops = ([end if turn else None for turn in turned] for end in (_LAST, _FIRST))
    return cut(graph, t, starts, stops, [-1] * len(turned), aval.shape)


def _split(graph, inputs, params, avals):
    t, dim = inputs[0], params["axis"]
    ends = np.cumsum(params["sizes"])
    parts = []
    for size, end, aval in zip(params["sizes"], ends, avals, strict=True):
        starts, stops = [None] * len(t.shape), [None] * len(t.shape)
        starts[dim], stops[dim] = int(end - size), int(end)
        parts.append(cut(graph, t, starts, stops, [1] * len(t.shape), aval.shape))
    return parts


def _gather(graph, inputs, params, aval):
    """Only what indexing with constants makes: one box, or entries along one dimension."""
    t, where = inputs
    numbers, sizes, dims = params["dimension_numbers"], params["slice_sizes"], range(len(t.shape))
    if not isinstance(t, Tensor) or not isinstance(where, np.ndarray):
        raise Unsupported("is known with constant indices only")
    if numbers.operand_batching_dims or params["mode"].name not in ("PROMISE_IN_BOUNDS", "CLIP"):
        raise Unsupported(f"in mode {params['mode'].name} is not known to the exporter")
    if where.ndim == 1:
        starts, stops = [None] * len(dims), [None] * len(dims)
        for dim, start in zip(numbers.start_index_map, where, strict=True):
            if sizes[dim] != t.shape[dim]:
                starts[dim], stops[dim] = int(start), int(start) + sizes[dim]
        t = cut(graph, t, starts, stops, [1] * len(dims), sizes)
        return layout.reshape(graph, t, aval.shape)
    found = [dim for dim in dims if dim not in numbers.offset_dims]
    if where.shape[1:] != (1,) or not (
        tuple(found) == numbers.start_index_map == numbers.collapsed_slice_dims
    ):
        raise Unsupported("is known along one dimension only")
    return _take(graph, t, found[0], where[:, 0], aval.shape)


def _take(graph, t: Tensor, dim: int, index: np.ndarray, shape) -> Tensor:
    """Entries along a dimension: a Slice where they are evenly spaced."""
    steps = np.unique(np.diff(index))
    if len(steps) <= 1 and (len(steps) == 0 or steps[0] > 0):
        if len(index) == t.shape[dim]:
            return t
        step = int(steps[0]) if len(steps) else 1
        starts, stops, strides = [None] * len(shape), [None] * len(shape), [1] * len(shape)
        starts[dim], stops[dim], strides[dim] = int(index[0]), int(index[-1]) + 1, step
        return cut(graph, t, starts, stops, strides, shape)
    t = layout.expanded(graph, layout.simple(graph, t))
    (axis,) = t.axes[dim]
    stored = (*t.stored[:axis], len(index), *t.stored[axis + 1 :])
    names = [t.name, graph.constant(index.astype(np.int64))]
    name = graph.add("Gather", names, stored, axis=axis)
    return dataclasses.replace(t, name=name, stored=stored, shape=tuple(shape))


def _tile(graph, inputs, params, aval):
    t = layout.expanded(graph, layout.simple(graph, inputs[0]))
    repeats = [0] * len(t.stored)
    stored = list(t.stored)
    for dim, ((axis,), count) in enumerate(zip(t.axes, params["reps"], strict=True)):
        repeats[axis], stored[axis] = count, aval.shape[dim]
    name = graph.add("Tile", [t.name, graph.integers(repeats)], stored)
    return dataclasses.replace(t, name=name, stored=tuple(stored), shape=aval.shape)


def _pad(graph, inputs, params, aval):
    t, value = inputs
    config = params["padding_config"]
    if not isinstance(t, Tensor) or any(inner for _, _, inner in config):
        raise Unsupported("between pixels")
    cuts = [low < 0 or high < 0 for low, high, _ in config]
    if any(cuts):
        starts = [max(0, -low) if c else None for c, (low, _, _) in zip(cuts, config, strict=True)]
        stops = [
            (min(0, high) or _LAST) if c else None
            for c, (_, high, _) in zip(cuts, config, strict=True)
        ]
        sides = [
            side + min(low, 0) + min(high, 0)
            for side, (low, high, _) in zip(t.shape, config, strict=True)
        ]
        t = cut(graph, t, starts, stops, [1] * len(cuts), sides)
    t = layout.expanded(graph, layout.simple(graph, t))
    before, after, stored = [0] * len(t.stored), [0] * len(t.stored), list(t.stored)
    for dim, (low, high, _) in enumerate(config):
        (axis,) = t.axes[dim]
        before[axis], after[axis] = max(0, low), max(0, high)
        stored[axis] = aval.shape[dim]
    if not any(before + after):
        return t
    names = [t.name, graph.integers(before + after), graph.constant(value)]
    name = graph.add("Pad", names, stored, mode="constant")
    return dataclasses.replace(t, name=name, stored=tuple(stored), shape=aval.shape)


def _concatenate(graph, inputs, params, aval):
    dim = params["dimension"]
    inputs = [x for x in inputs if x.shape[dim] != 0]
    if len(inputs) == 1:
        return inputs[0]
    if dim == len(aval.shape) - 1:
        inputs = [layout.flattened(graph, x) if isinstance(x, Tensor) else x for x in inputs]
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    axes = tensors[0].axes
    shuffled = any(t.order is not None for t in tensors)
    alike = all(t.axes == axes and len(t.axes[dim]) == 1 for t in tensors)
    if not alike or len(tensors) < len(inputs) or (shuffled and dim != len(aval.shape) - 1):
        order = layout.natural_order(tensors[0])
        inputs = [_laid(graph, x, order) for x in inputs]
        axes, shuffled = inputs[0].axes, False
    elif not shuffled:
        inputs = [layout.expanded(graph, t) for t in tensors]
    (axis,) = axes[dim]
    stored = list(inputs[0].stored)
    stored[axis] = aval.shape[dim]
    name = graph.add("Concat", [t.name for t in inputs], stored, axis=axis)
    index = None
    if shuffled:
        sides = [t.shape[-1] for t in inputs]
        firsts = np.cumsum([0, *sides])
        orders = [np.arange(t.shape[-1]) if t.order is None else t.order for t in inputs]
        index = np.concatenate([o + first for o, first in zip(orders, firsts, strict=False)])
    return Tensor(name, tuple(stored), aval.shape, axes, index)


def _stack(graph, inputs, params, aval):
    """New dimension, one entry for each input."""
    dim = params["axis"]
    one = (*aval.shape[:dim], 1, *aval.shape[dim + 1 :])
    inputs = [
        layout.reshape(graph, x, one) if isinstance(x, Tensor) else np.expand_dims(x, dim)
        for x in inputs
    ]
    return _concatenate(graph, inputs, {"dimension": dim}, aval)


def _laid(graph, x: Input, order) -> Tensor:
    if isinstance(x, Tensor):
        return layout.arrange(graph, layout.expanded(graph, x), order)
    place = {dim: (axis,) for axis, dim in enumerate(order)}
    array = x.transpose(order)
    axes = tuple(place[d] for d in range(x.ndim))
    return Tensor(graph.constant(array), array.shape, x.shape, axes)


# --- sums


def reduction(op: str) -> Callable:
    """The entry of a primitive that reduces dimensions away."""

    def convert(graph, inputs, params, aval):
        t = layout.expanded(graph, inputs[0])
        if len(t.shape) - 1 not in params["axes"]:
            t = layout.unshuffled(graph, t)
        gone = sorted(axis for dim in params["axes"] for axis in t.axes[dim])
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
        raise Unsupported(f"over {len(spatial)} of {len(t.shape)} dimensions")
    return layout.arrange(graph, layout.expanded(graph, t), [*rest, *spatial])


def _pool(op: str) -> Callable:
    def convert(graph, inputs, params, aval):
        window, steps, pads = (
            params[k] for k in ("window_dimensions", "window_strides", "padding")
        )
        dilations = params["window_dilation"]
        if any(x != 1 for x in params["base_dilation"]):
            raise Unsupported("between pixels")
        moves = [
            dim
            for dim in range(len(window))
            if window[dim] > 1 or steps[dim] > 1 or any(pads[dim])
        ]
        rank = len(inputs[0].shape)
        spatial = moves if rank - len(moves) == 2 else _spatial_around(moves, rank)
        if op == "AveragePool" and any(d > 1 for d in dilations):
            raise Unsupported("with dilation")
        t = _channels_first(graph, inputs[0], spatial)
        attributes = {
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
        raise Unsupported("over batch or channels")
    return spatial


# --- products


def _conv(graph, inputs, params, aval):
    x, kernel = inputs
    if any(d != 1 for d in params["lhs_dilation"]) or params["batch_group_count"] != 1:
        raise Unsupported("that is transposed")
    if not isinstance(x, Tensor):
        raise Unsupported("of a constant")
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
    (lhs_sum, rhs_sum), (lhs_batch, rhs_batch) = params["dimension_numbers"]
    if isinstance(lhs, Tensor) and isinstance(rhs, Tensor) or lhs_batch or len(lhs_sum) != 1:
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
    if len(t.stored) > 2 and t.axes[dim] == (1,) and t.order is None:
        t = layout.expanded(graph, t)
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
        t = layout.arrange(graph, layout.expanded(graph, place), [*kept, dim])
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


PRIMITIVES: dict[str, Callable] = {
    **{name: elementwise(op) for name, op in {
        "add": "Add", "add_any": "Add", "mul": "Mul", "min": "Min", "pow": "Pow",
        "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil",
        "exp": "Exp", "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf",
        "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos",
        "gt": "Greater", "lt": "Less", "ge": "GreaterOrEqual", "le": "LessOrEqual",
        "eq": "Equal", "and": "And", "or": "Or", "not": "Not",
    }.items()},
    **{name: reduction(op) for name, op in {
        "reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin",
        "reduce_prod": "ReduceProd",
    }.items()},
    "sub": _sub,
    "div": _div,
    "max": _max,
    "ne": _not_equal,
    "square": _square,
    "integer_pow": _integer_pow,
    "rsqrt": _inverse("Sqrt"),
    "expm1": _plus("Exp", -1.0),
    "log1p": _plus("", 1.0, "Log"),
    "select_n": _select,
    "clamp": _clamp,
    "convert_element_type": _cast,
    "copy": _same,
    "copy_p": _same,
    "stop_gradient": _same,
    "optimization_barrier": _same,
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "rev": _rev,
    "split": _split,
    "gather": _gather,
    "tile": _tile,
    "pad": _pad,
    "concatenate": _concatenate,
    "stack": _stack,
    "reduce_window_max": _pool("MaxPool"),
    "reduce_window_sum": _pool("AveragePool"),
    "conv_general_dilated": _conv,
    "dot_general": _dot,
}  # fmt: skip
