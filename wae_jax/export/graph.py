"""A graph of ONNX operators in the making: nodes, constants, shapes; no ``onnx`` needed yet."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

OPSET = 18
IR_VERSION = 9  # older runtimes refuse files of newer versions


class UnsupportedError(Exception):
    """A primitive or its parameters have no operator; the message: as "with dilation"."""


@dataclasses.dataclass
class Node:
    """One operator with one output; its name is the output's."""

    op: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


class Graph:
    """Nodes in the order of computation.

    Attributes:
        nodes: each reads inputs, constants and outputs of nodes before it.
        constants: arrays by name.
        shapes: of everything by name; sides are whole numbers, or jax's symbolic ones.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple] = {}
        self._known: dict[Any, str] = {}
        self._count = 0

    def new_name(self, kind: str) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"{kind}_{self._count}"

    def add(self, op: str, inputs: Sequence[str], shape: Sequence, **attributes: Any) -> str:
        """Appends a node, or finds the one that computes the same; the name of its output."""
        key = (op, *inputs, *((k, str(v)) for k, v in sorted(attributes.items())))
        if key not in self._known:
            name = self.new_name(op)
            self.nodes.append(Node(op, list(inputs), name, attributes))
            self.shapes[name] = tuple(shape)
            self._known[key] = name
        return self._known[key]

    def constant(self, array) -> str:
        """The name of a constant; equal ones are kept once."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))  # a scalar stays one
        key = (array.dtype.str, array.shape, array.tobytes() if array.size <= 4096 else id(array))
        if key not in self._known:
            name = self.new_name("constant")
            self.constants[name] = array
            self.shapes[name] = array.shape
            self._known[key] = name
        return self._known[key]

    def rename(self, old: str, new: str) -> None:
        """Gives an array another name."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.output = new if node.output == old else node.output
        self.shapes[new] = self.shapes.pop(old)

    def integers(self, values: Sequence[int]) -> str:
        """A constant vector of int64, as shapes and axes are given."""
        return self.constant(np.asarray(list(values), np.int64))


def to_model(graph: Graph, inputs, outputs, metadata: dict[str, str]):
    """The graph as an ``onnx.ModelProto``.

    Args:
        graph: what computes.
        inputs: (name, NumPy dtype, shape) of each; a side that is a string is free.
        outputs: the same.
        metadata: what stands in the file's ``metadata_props``.
    """
    import onnx
    from onnx import helper, numpy_helper

    def info(name, dtype, shape):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, list(shape))

    nodes = [
        helper.make_node(node.op, node.inputs, [node.output], name=node.output, **node.attributes)
        for node in graph.nodes
    ]
    used = {name for node in graph.nodes for name in node.inputs}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "wae_jax",
            [info(*i) for i in inputs],
            [info(*o) for o in outputs],
            [numpy_helper.from_array(a, n) for n, a in graph.constants.items() if n in used],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="wae_jax",
    )
    helper.set_model_props(model, metadata)
    assert isinstance(model, onnx.ModelProto)
    return model
