"""Primitives that treat every entry alike, as ONNX operators; see :mod:`.primitives`."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from wae_jax.export import layout
from wae_jax.export.graph import Graph, UnsupportedError
from wae_jax.export.layout import Input, Tensor


def align(graph: Graph, inputs: Sequence[Input], shape: Sequence) -> tuple[list[str], Tensor]:
    """Operands of an elementwise operator, laid alike.

    Returns:
        Their names, and a tensor that lies as the result does; its name means nothing.
    """
    inputs = [
        layout.arrange(graph, x, ()) if isinstance(x, Tensor) and not x.shape else x for x in inputs
    ]
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
            stored = [b if layout.is_one(a) else a for a, b in zip(stored, sides, strict=True)]
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


def _erfc(graph, inputs, params, aval):
    t = elementwise("Erf")(graph, inputs, params, aval)
    return apply(graph, "Add", apply(graph, "Neg", t), 1.0)


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
        known = isinstance(other, np.ndarray) and np.issubdtype(other.dtype, np.floating)
        if known and other.size and not other.any():
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
        raise UnsupportedError("with more than two cases")
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
        raise UnsupportedError(f"to {aval.dtype.name}")
    return apply(graph, "Cast", t, to=kinds[aval.dtype.name])


def _same(graph, inputs, params, aval):
    del graph, params, aval
    return inputs[0] if len(inputs) == 1 else list(inputs)


ELEMENTWISE: dict[str, Callable] = {
    **{name: elementwise(op) for name, op in {
        "add": "Add", "add_any": "Add", "mul": "Mul", "min": "Min", "pow": "Pow",
        "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil",
        "exp": "Exp", "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf",
        "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos",
        "gt": "Greater", "lt": "Less", "ge": "GreaterOrEqual", "le": "LessOrEqual",
        "eq": "Equal", "and": "And", "or": "Or", "not": "Not",
    }.items()},
    "sub": _sub,
    "div": _div,
    "max": _max,
    "ne": _not_equal,
    "square": _square,
    "integer_pow": _integer_pow,
    "rsqrt": _inverse("Sqrt"),
    "expm1": _plus("Exp", -1.0),
    "erfc": _erfc,
    "log1p": _plus("", 1.0, "Log"),
    "select_n": _select,
    "clamp": _clamp,
    "convert_element_type": _cast,
    "copy": _same,
    "copy_p": _same,
    "stop_gradient": _same,
    "optimization_barrier": _same,
}  # fmt: skip
