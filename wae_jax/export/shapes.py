"""Primitives that move, cut and join arrays, as ONNX operators; see :mod:`.primitives`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from wae_jax.export import layout
from wae_jax.export.graph import Graph, UnsupportedError
from wae_jax.export.layout import Input, Tensor

_FIRST, _LAST = -(2**62), 2**62  # before and after everything, in a Slice


def _nothing(count: int) -> list[Any]:
    """For :func:`cut`: every dimension full."""
    return [None] * count


def _reshape(graph, inputs, params, aval):
    del params
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
    starts, stops = (
        [_from_end(t.shape[d], x) for d, x in enumerate(ends)] for ends in (starts, stops)
    )
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
        raise UnsupportedError("at a place that depends on the batch")
    return back or _LAST


def _slice(graph, inputs, params, aval):
    t = inputs[0]
    steps = params["strides"] or (1,) * len(t.shape)
    full = [
        layout.is_one(step) and a == b
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
        starts, stops = _nothing(len(t.shape)), _nothing(len(t.shape))
        starts[dim], stops[dim] = int(end - size), int(end)
        parts.append(cut(graph, t, starts, stops, [1] * len(t.shape), aval.shape))
    return parts


def _gather(graph, inputs, params, aval):
    """Only what indexing with constants makes: one box, or a grid of entries."""
    t, where = inputs
    numbers, sizes, dims = params["dimension_numbers"], params["slice_sizes"], range(len(t.shape))
    if not isinstance(t, Tensor) or not isinstance(where, np.ndarray):
        raise UnsupportedError("with computed indices")
    if numbers.operand_batching_dims or params["mode"].name not in ("PROMISE_IN_BOUNDS", "CLIP"):
        raise UnsupportedError(f"in mode {params['mode'].name}")
    if where.ndim == 1:
        starts, stops = _nothing(len(dims)), _nothing(len(dims))
        for dim, start in zip(numbers.start_index_map, where, strict=True):
            if sizes[dim] != t.shape[dim]:
                starts[dim], stops[dim] = int(start), int(start) + sizes[dim]
        t = cut(graph, t, starts, stops, [1] * len(dims), sizes)
        return layout.reshape(graph, t, aval.shape)
    found = [dim for dim in dims if dim not in numbers.offset_dims]
    grid = tuple(found) == numbers.start_index_map == numbers.collapsed_slice_dims
    if not grid or where.ndim != len(found) + 1:
        raise UnsupportedError("of scattered entries")
    for i, dim in enumerate(found):
        index = np.moveaxis(where[..., i], i, 0).reshape(where.shape[i], -1)
        if (index != index[:, :1]).any():
            raise UnsupportedError("of scattered entries")
        t = _take(graph, t, dim, index[:, 0])
    return t


def _take(graph, t: Tensor, dim: int, index: np.ndarray) -> Tensor:
    """Entries along a dimension: a Slice where they are evenly spaced."""
    shape = (*t.shape[:dim], len(index), *t.shape[dim + 1 :])
    steps = np.unique(np.diff(index))
    if len(steps) <= 1 and (len(steps) == 0 or steps[0] > 0):
        if len(index) == t.shape[dim]:
            return t
        step = int(steps[0]) if len(steps) else 1
        starts, stops = _nothing(len(shape)), _nothing(len(shape))
        strides = [1] * len(shape)
        starts[dim], stops[dim], strides[dim] = int(index[0]), int(index[-1]) + 1, step
        return cut(graph, t, starts, stops, strides, shape)
    t = layout.expanded(graph, layout.simple(graph, t))
    (axis,) = t.axes[dim]
    stored = (*t.stored[:axis], len(index), *t.stored[axis + 1 :])
    names = [t.name, graph.constant(index.astype(np.int64))]
    name = graph.add("Gather", names, stored, axis=axis)
    return dataclasses.replace(t, name=name, stored=stored, shape=shape)


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
        raise UnsupportedError("between pixels")
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
    alike = len(axes[dim]) == 1 and all(_fits(t, tensors[0], dim) for t in tensors)
    if not alike or len(tensors) < len(inputs) or (shuffled and dim != len(aval.shape) - 1):
        order = layout.natural_order(tensors[0])
        inputs = [_laid(graph, x, order) for x in inputs]
        axes, shuffled = inputs[0].axes, False
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


def _fits(t: Tensor, other: Tensor, dim: int) -> bool:
    """Whether two tensors lie alike but for the side of ``dim``, with nothing repeated."""
    if t.axes != other.axes or any(t.side(d) != t.shape[d] for d in range(len(t.shape))):
        return False
    (axis,) = t.axes[dim]
    return t.stored[:axis] + t.stored[axis + 1 :] == other.stored[:axis] + other.stored[axis + 1 :]


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


SHAPES: dict[str, Callable] = {
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
}
