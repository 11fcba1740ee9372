"""Arrays of a jaxpr as they lie in an ONNX graph: channels first, and reshaped as late as possible.

A jaxpr is channels-last; ONNX convs are channels-first. Nothing is moved where that can be noted
instead: each dimension of an array names the axes of the stored tensor that make it up. So
transposes and most reshapes cost nothing, and a product on flattened pixels is seen to be a 1x1
conv.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from wae_jax.export.graph import Graph, UnsupportedError


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What a graph computes, seen as an array of the jaxpr.

    Attributes:
        name: in the graph.
        stored: its shape there.
        shape: the array's.
        axes: for each of the array's dimensions the axes of the stored tensor, outermost first.
            None: it has one entry, repeated. An axis of size 1 may stand for a larger dimension
            too, and is then repeated.
        order: the array's index of each entry along the last dimension, where they are shuffled.
    """

    name: str
    stored: tuple
    shape: tuple
    axes: tuple[tuple[int, ...], ...]
    order: np.ndarray | None = None

    def side(self, dim: int):
        """Entries stored along a dimension of the array."""
        return math.prod(self.stored[axis] for axis in self.axes[dim])

    def same_layout(self, other: "Tensor") -> bool:
        """Whether the two lie alike, axis by axis."""
        alike = self.axes == other.axes and len(self.stored) == len(other.stored)
        # A dimension on several axes may be cut up in another way.
        cut_up = [axis for group in self.axes if len(group) > 1 for axis in group]
        alike = alike and all(self.stored[axis] == other.stored[axis] for axis in cut_up)
        if self.order is None or other.order is None:
            return alike and self.order is other.order
        return alike and np.array_equal(self.order, other.order)


Input = Tensor | np.ndarray  # the second are constants


def plain(name: str, shape: Sequence) -> Tensor:
    """A tensor that lies as the array does."""
    return Tensor(name, tuple(shape), tuple(shape), tuple((i,) for i in range(len(shape))))


def is_static(sides: Sequence) -> bool:
    """Whether no side depends on the batch."""
    return all(isinstance(side, int | np.integer) for side in sides)


def reshape_stored(graph: Graph, name: str, shape: Sequence) -> str:
    """A Reshape of what is stored; a side that depends on the batch is left to be inferred."""
    if tuple(shape) == graph.shapes[name]:
        return name
    sides = [side if is_static([side]) else -1 for side in shape]
    if sides.count(-1) > 1:
        raise UnsupportedError("with two sides that depend on the batch")
    return graph.add("Reshape", [name, graph.integers(sides)], shape)


def natural_order(t: Tensor) -> list[int]:
    """The array's dimensions as they lie; those without an axis after the one before them."""
    keys, last = [], -1
    for group in t.axes:
        last = min(group, default=last)
        keys.append(last)
    return sorted(range(len(keys)), key=lambda dim: keys[dim])


def unshuffled(graph: Graph, t: Tensor) -> Tensor:
    """The same with its last dimension in order."""
    if t.order is None:
        return t
    (axis,) = t.axes[-1]
    index = graph.constant(np.argsort(t.order).astype(np.int64))
    name = graph.add("Gather", [t.name, index], t.stored, axis=axis)
    return dataclasses.replace(t, name=name, order=None)


def arrange(graph: Graph, t: Tensor, order: Sequence[int]) -> Tensor:
    """The same array with one axis per dimension, stored in the order of ``order``.

    At most one Transpose and one Reshape; dimensions that are repeated stay so.
    """
    t = unshuffled(graph, t)
    atoms = [axis for dim in order for axis in t.axes[dim]]
    spare = [axis for axis in range(len(t.stored)) if axis not in atoms]  # of size 1
    moved = [*spare, *atoms]
    name, stored = t.name, [t.stored[axis] for axis in moved]
    # Axes of size 1 can be anywhere: only the others need a Transpose.
    real = [axis for axis in moved if not is_one(t.stored[axis])]
    if real != sorted(real):
        name = graph.add("Transpose", [name], stored, perm=moved)
    sides = tuple(t.side(dim) for dim in order)
    name = reshape_stored(graph, name, sides)
    place = {dim: (axis,) for axis, dim in enumerate(order)}
    return Tensor(name, sides, t.shape, tuple(place[d] for d in range(len(order))))


def is_one(side) -> bool:
    """Whether a side is 1, whatever the batch."""
    return is_static([side]) and side == 1


def simple(graph: Graph, t: Tensor) -> Tensor:
    """The same with exactly one axis per dimension, moved as little as possible."""
    if t.order is None and sorted(t.axes) == [(i,) for i in range(len(t.stored))]:
        return t
    return arrange(graph, t, natural_order(t))


def expanded(graph: Graph, t: Tensor) -> Tensor:
    """The same with nothing repeated."""
    if all(t.side(dim) == t.shape[dim] for dim in range(len(t.shape))):
        return t
    t = simple(graph, t)
    sides = list(t.stored)
    for (axis,), side in zip(t.axes, t.shape, strict=True):
        sides[axis] = side
    # Expand takes 1 for "as it is".
    wanted = [
        1 if new is old or new == old else new for new, old in zip(sides, t.stored, strict=True)
    ]
    if not is_static(wanted):
        raise UnsupportedError("repeated along the batch")
    name = graph.add("Expand", [t.name, graph.integers(wanted)], sides)
    return Tensor(name, tuple(sides), t.shape, t.axes)


def reshape(graph: Graph, t: Tensor, shape: Sequence) -> Tensor:
    """The array in another shape; what is stored changes only where an axis is split."""
    t = expanded(graph, unshuffled(graph, t))
    found = _match(t, shape)
    if found is None:
        t = arrange(graph, t, range(len(t.shape)))
        return plain(reshape_stored(graph, t.name, shape), shape)
    pieces, groups = found
    first = np.cumsum([0, *(len(p) for p in pieces)])
    stored = tuple(side for piece in pieces for side in piece)
    axes = tuple(tuple(int(first[axis]) + i for axis, i in group) for group in groups)
    return Tensor(reshape_stored(graph, t.name, stored), stored, tuple(shape), axes)


def _match(t: Tensor, shape: Sequence):
    """How new dimensions are made of the stored axes, some of them split; None if they are not.

    Returns:
        The sides that each axis is split into, and for each dimension its (axis, part) pairs.
    """
    pieces: list[list] = [[] for _ in t.stored]
    left = [[axis, t.stored[axis]] for group in t.axes for axis in group]
    spare = [axis for axis in range(len(t.stored)) if not any(axis in g for g in t.axes)]
    for axis in spare:  # of size 1
        pieces[axis].append(t.stored[axis])
    groups: list[list[tuple[int, int]]] = []
    for side in shape:
        group: list[tuple[int, int]] = []
        size = 1
        while left and (size != side or (not group and is_one(left[0][1]))):
            axis, have = left[0]
            if side % (size * have) == 0:
                take = have
                left.pop(0)
            elif (side // size) * size == side and have % (side // size) == 0:
                take = side // size
                left[0][1] = have // take
            else:
                return None
            group.append((axis, len(pieces[axis])))
            pieces[axis].append(take)
            size = size * take
        if size != side:
            return None
        if not group and spare:
            group.append((spare.pop(0), 0))
        groups.append(group)
    for axis, have in left:  # all of size 1
        if not is_one(have) or not groups:
            return None
        groups[-1].append((axis, len(pieces[axis])))
        pieces[axis].append(have)
    return pieces, groups


def flattened(graph: Graph, t: Tensor) -> Tensor:
    """The same with one axis for the last dimension, which may come out shuffled.

    Features (B, h, w, C) flattened to (B, h*w*C) lie as (B, C, h, w): the weights that read them
    can be shuffled instead.
    """
    group, rest = t.axes[-1], [axis for other in t.axes[:-1] for axis in other]
    tail = list(range(len(t.stored) - len(group), len(t.stored)))
    sides = [t.stored[axis] for axis in group]
    fits = sorted(group) == tail and rest == list(range(len(rest))) and is_static(sides)
    if t.order is not None or len(group) < 2 or not fits:
        return t
    index = np.arange(math.prod(sides)).reshape(sides).transpose(np.argsort(group)).ravel()
    stored = (*t.stored[: len(rest)], len(index))
    name = reshape_stored(graph, t.name, stored)
    shuffled = not np.array_equal(index, np.arange(len(index)))
    return Tensor(name, stored, t.shape, (*t.axes[:-1], (len(rest),)), index if shuffled else None)


def lay_constant(array: np.ndarray, t: Tensor) -> np.ndarray | None:
    """A constant as it must lie to meet ``t`` in an elementwise operator; None where it cannot.

    Args:
        array: of the rank of ``t``, or a scalar; sides of 1 are repeated.
        t: the other operand.
    """
    if array.size == 1:
        return array.reshape(())
    # Sides that numpy only repeats need not be stored.
    for dim, stride in enumerate(array.strides):
        if stride == 0 and array.shape[dim] > 1:
            array = array.take([0], dim)
    if t.order is not None and array.shape[-1] > 1:
        array = array[..., t.order]
    sides: list[int] = []
    sources: list[int] = []
    for dim, group in enumerate(t.axes):
        split = [1] * len(group)
        if array.shape[dim] > 1:
            if not group:
                return None
            split = [t.stored[axis] for axis in group]
            if len(group) == 1:
                split = [array.shape[dim]]
            elif not is_static(split) or math.prod(split) != array.shape[dim]:
                return None
        sides += split
        sources += group
    if len(sources) != len(t.stored):
        return None
    return array.reshape(sides).transpose(np.argsort(sources))
