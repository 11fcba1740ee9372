"""Fewer operators with the same result: what a jaxpr spells out and ONNX has one node for."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from wae_jax.export.graph import Graph, Node

_HUGE = 2**31  # ends in Slices above this mean "to the end"


class _View:
    """A graph while it is rewritten: who makes what, and how many read it."""

    def __init__(self, graph: Graph, outputs: list[str]):
        self.graph, self.outputs = graph, outputs
        self.refresh()

    def refresh(self) -> None:
        """Drops what nobody reads, and looks again."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.graph.nodes):
            if node.output in needed:
                kept.append(node)
                needed.update(node.inputs)
        self.graph.nodes = kept[::-1]
        self.made = {node.output: node for node in self.graph.nodes}
        self.readers = Counter(name for node in self.graph.nodes for name in node.inputs)
        self.readers.update(self.outputs)

    def maker(self, name: str, op: str, *, alone: bool = False) -> Node | None:
        """The node that makes ``name``, if it is an ``op``; ``alone``: and has no other reader."""
        node = self.made.get(name)
        if node is None or node.op != op or (alone and self.readers[name] != 1):
            return None
        return node

    def constant(self, name: str) -> np.ndarray | None:
        """The constant of that name, if it is one."""
        return self.graph.constants.get(name)

    def operands(self, node: Node) -> tuple[str, np.ndarray] | None:
        """The variable and the constant operand of a commutative node, if it has both."""
        for name, other in (node.inputs, node.inputs[::-1]):
            array = self.constant(other)
            if array is not None and self.constant(name) is None:
                return name, array
        return None

    def slice_of(self, name: str, axis: int | None = None):
        """(input, axis, start, stop, step) of a Slice along one axis, ends counted out."""
        node = self.maker(name, "Slice")
        if node is None:
            return None
        start, stop, axes, step = (self.graph.constants[n] for n in node.inputs[1:])
        if len(axes) != 1 or (axis is not None and axes[0] != axis):
            return None
        side = self.graph.shapes[node.inputs[0]][axes[0]]
        if not isinstance(side, int | np.integer):
            return None
        if step[0] > 0:
            start, stop = np.clip(start, 0, side), np.minimum(stop, side)
        return node.inputs[0], int(axes[0]), int(start[0]), int(stop[0]), int(step[0])


def simplify(graph: Graph, outputs: list[str]) -> list[str]:
    """Rewrites a graph in place until nothing changes; the outputs' names then."""
    view = _View(graph, list(outputs))
    changed = True
    while changed:
        changed = False
        for node in list(graph.nodes):
            if node.output not in view.made:
                continue
            for rule in _RULES.get(node.op, ()):
                if rule(view, node):
                    view.refresh()
                    changed = True
                    break
    return view.outputs


def _replace(view: _View, node: Node, name: str) -> bool:
    """Everyone who reads ``node`` reads ``name`` instead."""
    for reader in view.graph.nodes:
        reader.inputs = [name if n == node.output else n for n in reader.inputs]
    view.outputs[:] = [name if n == node.output else n for n in view.outputs]
    return True


def _become(view: _View, node: Node, op: str, inputs: list[str], **attributes) -> bool:
    """The node computes the same in another way."""
    node.op, node.inputs, node.attributes = op, inputs, attributes
    return True


def _fold_into_product(view: _View, node: Node) -> bool:
    """A factor or an addend per channel goes into the Conv or Gemm before it."""
    found = view.operands(node)
    if found is None:
        return False
    name, array = found
    product = view.maker(name, "Conv", alone=True) or view.maker(name, "Gemm", alone=True)
    if product is None or view.constant(product.inputs[1]) is None:
        return False
    shape, channel = view.graph.shapes[name], 1
    sides = (1,) * (len(shape) - array.ndim) + array.shape
    per_channel = all(side == 1 for axis, side in enumerate(sides) if axis != channel)
    if not per_channel or len(sides) != len(shape) or sides[channel] not in (1, shape[channel]):
        return False
    values = np.broadcast_to(array.reshape(-1), shape[channel])
    weights = view.graph.constants[product.inputs[1]]
    bias = np.zeros(shape[channel], weights.dtype)
    if len(product.inputs) > 2:
        bias = view.graph.constants[product.inputs[2]]
    if node.op == "Add":
        bias = bias + values
    else:
        by_output = (-1,) + (1,) * (weights.ndim - 1) if product.op == "Conv" else (1, -1)
        weights, bias = weights * values.reshape(by_output), bias * values
    names = [view.graph.constant(a.astype(weights.dtype)) for a in (weights, bias)]
    if node.op != "Add" and len(product.inputs) < 3:
        names.pop()  # nothing is added
    product.inputs = [product.inputs[0], *names]
    return _replace(view, node, name)


def _drop_neutral(view: _View, node: Node) -> bool:
    found = view.operands(node)
    if found is None:
        return False
    name, array = found
    neutral = 1 if node.op == "Mul" else 0
    same_shape = view.graph.shapes[name] == view.graph.shapes[node.output]
    return same_shape and bool(np.all(array == neutral)) and _replace(view, node, name)


def _join_constants(view: _View, node: Node) -> bool:
    """Two factors, or two addends, in turn are one."""
    found = view.operands(node)
    inner = view.maker(found[0], node.op, alone=True) if found else None
    before = view.operands(inner) if inner else None
    if not found or not before:
        return False
    both = before[1] * found[1] if node.op == "Mul" else before[1] + found[1]
    if node.op == "Mul" and np.allclose(both, 1, rtol=1e-6, atol=0):
        both = np.ones_like(both)  # a pool's sum over its window's size, after rounding
    node.inputs = [before[0], view.graph.constant(both)]
    return True


def _mean(view: _View, node: Node) -> bool:
    """A sum over its number of terms."""
    found = view.operands(node)
    total = view.maker(found[0], "ReduceSum", alone=True) if found else None
    if not found or not total or found[1].size != 1:
        return False
    axes = view.graph.constants[total.inputs[1]]
    count = [view.graph.shapes[total.inputs[0]][axis] for axis in axes]
    if not all(isinstance(side, int | np.integer) for side in count):
        return False
    if not np.isclose(found[1] * math.prod(count), 1, rtol=1e-6, atol=0):
        return False
    return _become(view, node, "ReduceMean", total.inputs, keepdims=0)


def _pair_sum(view: _View, name: str):
    """(input, axis) where ``name`` is every even entry along an axis plus the odd one after it."""
    node = view.maker(name, "Add")
    parts = [view.slice_of(n) for n in node.inputs] if node else []
    if len(parts) != 2 or None in parts:
        return None
    even, odd = sorted(parts, key=lambda part: part[2])
    side = view.graph.shapes[even[0]][even[1]]
    if even[:2] != odd[:2] or (even[2], odd[2]) != (0, 1) or (even[4], odd[4]) != (2, 2):
        return None
    whole = side % 2 == 0 and even[3] >= side - 1 and odd[3] >= side
    return even[:2] if whole else None


def _average_of_slices(view: _View, node: Node) -> bool:
    """The sum of 2x2 pixels, as slices, is a pool times four."""
    outer = _pair_sum(view, node.output)
    inner = _pair_sum(view, outer[0]) if outer else None
    if not outer or not inner or {outer[1], inner[1]} != {2, 3}:
        return False
    shape = view.graph.shapes[node.output]
    if len(shape) != 4:
        return False
    two = [2, 2]
    pooled = Node("AveragePool", [inner[0]], view.graph.new_name("AveragePool"), {})
    pooled.attributes = {"kernel_shape": two, "strides": two}
    view.graph.shapes[pooled.output] = shape
    view.graph.nodes.insert(view.graph.nodes.index(node), pooled)
    four = view.graph.constant(np.float32(4))
    return _become(view, node, "Mul", [pooled.output, four])


def _reflection(view: _View, node: Node) -> bool:
    """An image and its mirrored border beside it is a Pad."""
    axis = node.attributes["axis"]
    for image, border in (node.inputs, node.inputs[::-1]) if len(node.inputs) == 2 else ():
        turned = view.slice_of(border, axis)
        part = view.slice_of(turned[0], axis) if turned and turned[4] == -1 else None
        if part is None or part[0] != image or part[4] != 1:
            continue
        side, rank = view.graph.shapes[image][axis], len(view.graph.shapes[image])
        width = part[3] - part[2]
        first = border == node.inputs[0]
        if (part[2], part[3]) != ((1, width + 1) if first else (side - 1 - width, side - 1)):
            continue
        pads = np.zeros(2 * rank, np.int64)
        pads[axis + (0 if first else rank)] = width
        return _become(view, node, "Pad", [image, view.graph.constant(pads)], mode="reflect")
    return False


def _join_reflections(view: _View, node: Node) -> bool:
    """Mirrored borders on all sides are one Pad."""
    inner = view.maker(node.inputs[0], "Pad", alone=True)
    if inner is None or {node.attributes["mode"], inner.attributes["mode"]} != {"reflect"}:
        return False
    pads = [view.graph.constants[n.inputs[1]] for n in (inner, node)]
    sides = np.asarray(view.graph.shapes[inner.inputs[0]][2:])
    outer = pads[1].reshape(2, -1)
    # A border of the padded image is one of the image itself while it is narrower.
    if np.any(pads[0] * pads[1]) or outer[:, :2].any() or np.any(outer[:, 2:] >= sides):
        return False
    return _become(
        view, node, "Pad", [inner.inputs[0], view.graph.constant(sum(pads))], mode="reflect"
    )


def _whole_again(view: _View, node: Node) -> bool:
    """Adjoining parts of one array, put together, are that array."""
    axis = node.attributes["axis"]
    parts = [view.slice_of(name, axis) for name in node.inputs]
    if None in parts or len({part[0] for part in parts if part}) != 1:
        return False
    whole, end = parts[0][0], 0
    for part in parts:
        assert part is not None
        if part[2] != end or part[4] != 1:
            return False
        end = part[3]
    return end == view.graph.shapes[whole][axis] and _replace(view, node, whole)


def _stride_of_slice(view: _View, node: Node) -> bool:
    """Every second pixel and then a 1x1 Conv is a Conv with a stride."""
    cut = view.maker(node.inputs[0], "Slice")
    if cut is None or max(node.attributes["kernel_shape"]) > 1 or any(node.attributes["pads"]):
        return False
    starts, _, axes, steps = (view.graph.constants[n] for n in cut.inputs[1:])
    before, after = view.graph.shapes[cut.inputs[0]], view.graph.shapes[cut.output]
    if starts.any() or axes.min() < 2 or steps.min() < 1:
        return False
    if any(after[a] != -(-before[a] // step) for a, step in zip(axes, steps, strict=True)):
        return False
    strides = list(node.attributes["strides"])
    for axis, step in zip(axes, steps, strict=True):
        strides[axis - 2] *= int(step)
    node.inputs = [cut.inputs[0], *node.inputs[1:]]
    node.attributes = {**node.attributes, "strides": strides}
    return True


def _block_move(view: _View, node: Node) -> bool:
    """Reshape, Transpose, Reshape that move blocks of pixels into channels, or back."""
    turned = view.maker(node.inputs[0], "Transpose", alone=True)
    split = view.maker(turned.inputs[0], "Reshape", alone=True) if turned else None
    if turned is None or split is None:
        return False
    source, sides = split.inputs[0], view.graph.shapes[split.output]
    before, after = view.graph.shapes[source], view.graph.shapes[node.output]
    if len(before) != 4 or len(after) != 4 or len(sides) != 6:
        return False
    perm = list(turned.attributes["perm"])
    if perm == [0, 3, 5, 1, 2, 4] and sides[3] == sides[5]:
        block, whole = sides[3], (sides[0], sides[1], sides[2] * sides[3], sides[4] * sides[5])
        shape = (sides[0], sides[1] * block**2, sides[2], sides[4])
        op, attributes = "SpaceToDepth", {}
    elif perm == [0, 3, 4, 1, 5, 2] and sides[1] == sides[2]:
        block, whole = sides[1], (sides[0], sides[1] * sides[2] * sides[3], sides[4], sides[5])
        shape = (sides[0], sides[3], sides[4] * block, sides[5] * block)
        op, attributes = "DepthToSpace", {"mode": "DCR"}
    else:
        return False
    if tuple(before) != whole or tuple(after) != shape:
        return False
    return _become(view, node, op, [source], blocksize=int(block), **attributes)


_RULES: dict[str, tuple[Callable[[_View, Node], bool], ...]] = {
    "Add": (_drop_neutral, _average_of_slices, _fold_into_product, _join_constants),
    "Mul": (_drop_neutral, _mean, _fold_into_product, _join_constants),
    "Concat": (_reflection, _whole_again),
    "Pad": (_join_reflections,),
    "Conv": (_stride_of_slice,),
    "Reshape": (_block_move,),
}
