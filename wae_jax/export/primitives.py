"""jax's primitives as ONNX operators: the table.

An entry is a function ``(graph, inputs, params, aval) -> Tensor`` of an equation's parameters and
its output's type; with several outputs it takes a list of types and returns a list. Inputs are
:class:`wae_jax.export.layout.Tensor` or, where they are constant, NumPy arrays; at least one is not
constant. :class:`wae_jax.export.graph.UnsupportedError` says what an operator cannot do.
"""

from collections.abc import Callable

from wae_jax.export.elementwise import ELEMENTWISE
from wae_jax.export.products import PRODUCTS
from wae_jax.export.shapes import SHAPES

PRIMITIVES: dict[str, Callable] = ELEMENTWISE | SHAPES | PRODUCTS
