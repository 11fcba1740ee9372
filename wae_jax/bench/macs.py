"""Multiply-accumulates (MACs) of a JAX function, counted on its jaxpr: nothing is computed.

Convolutions and matrix products count, as is usual in the literature, and the taps of the
slice-based filters of `wae_jax.models.wavelets`; other element-wise operations and pooling do not.
Taps that fall on padding count, so that VGG16 at 224x224 has its usual 15,470,264,320 MACs; zeros
that a transposed convolution inserts between its inputs do not. Results that `fn` does not return
are not computed under `jax.jit` and do not count either.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters.partial_eval import dce_jaxpr

from wae_jax.models.wavelets import MAC_SCOPE

# Primitives that run the jaxpr they hold exactly once.
_CALLS = {"jit", "closed_call", "composite", "custom_jvp_call", "custom_vjp_call", "remat2"}
# Primitives whose MACs no jaxpr shows.
_OPAQUE = {"call_exported", "ffi_call", "pallas_call", "ragged_dot_general"}


class MacCount(NamedTuple):
    """MACs of one call of a function, for the whole batch.

    Attributes:
      total: their sum.
      by_primitive: MACs by JAX primitive, e.g. 'conv_general_dilated'.
      by_scope: MACs by full name stack, e.g. 'Classifier/backbone/conv1'; '' outside any scope.
    """

    total: int
    by_primitive: dict[str, int]
    by_scope: dict[str, int]

    def at_level(self, level: int) -> dict[str, int]:
        """Sums `by_scope` by the name at one level of the name stack.

        Flax Linen opens a scope per module call, named after the module, or after its class for
        the outermost one. So level 0 is the whole model and level 1 its parts: {'frontend': ...,
        'backbone': ...}. A method other than `__call__` opens 'frontend.analyze'; its MACs go to
        'frontend'. Operations of a shallower scope keep the last name they have.

        Args:
          level: 0 for the outermost names.

        Returns:
          MACs by name, in the order of execution.
        """
        totals: Counter[str] = Counter()
        for scope, macs in self.by_scope.items():
            names = scope.split("/")[: level + 1]
            totals[names[-1].split(".")[0]] += macs
        return dict(totals)


def count_macs(fn: Callable, *args: Any) -> MacCount:
    """Counts the MACs of `fn(*args)`.

    Bodies of `scan` count once per iteration, `cond` and `switch` as their dearest branch,
    `shard_map` and `pmap` for all devices together.

    Args:
      fn: any function that JAX can trace.
      *args: its arguments, pytrees of `jax.ShapeDtypeStruct` or arrays.

    Returns:
      The `MacCount` of one call.

    Raises:
      ValueError: MACs run an unknown number of times, as in `while_loop`, or a primitive hides
        them, such as a Pallas kernel or an exported function.
    """
    jaxpr = jax.make_jaxpr(fn)(*args).jaxpr
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    by_primitive: Counter[str] = Counter()
    by_scope: Counter[str] = Counter()
    for (primitive, scope), macs in _count(jaxpr).items():
        by_primitive[primitive] += macs
        by_scope[scope] += macs
    return MacCount(sum(by_primitive.values()), dict(by_primitive), dict(by_scope))


def xla_flops(program: jax.stages.Compiled | jax.stages.Lowered) -> float | None:
    """FLOPs of a function by XLA's own estimate; None where a backend gives none.

    About twice the MACs, but XLA also counts element-wise operations, and leaves out taps that fall
    on padding. A cross-check, not a measure.

    Args:
      program: `jax.jit(fn).lower(*args)`, compiled or not.
    """
    analysis = program.cost_analysis()
    if isinstance(analysis, list | tuple):  # older releases: one dictionary per computation
        analysis = analysis[0] if analysis else None
    return (analysis or {}).get("flops")


def _count(jaxpr: Jaxpr) -> Counter[tuple[str, str]]:
    """MACs by (primitive, scope)."""
    counts: Counter[tuple[str, str]] = Counter()
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        outer_scope = str(eqn.source_info.name_stack)
        if name == "conv_general_dilated":
            inner = Counter({(name, ""): _conv_macs(eqn)})
        elif name == "dot_general":
            inner = Counter({(name, ""): _dot_macs(eqn)})
        elif name == "mul" and MAC_SCOPE in outer_scope:
            inner = Counter({(name, ""): math.prod(_shape(eqn.outvars[0]))})
        else:
            inner = _count_nested(eqn)
        for (primitive, scope), macs in inner.items():
            counts[primitive, "/".join(filter(None, (outer_scope, scope)))] += macs
    return counts


def _count_nested(eqn: JaxprEqn) -> Counter:
    name, params = eqn.primitive.name, eqn.params
    if name in _OPAQUE:
        raise ValueError(f"cannot count the MACs inside {name!r}")
    bodies = [_count(jaxpr) for jaxpr in _jaxprs_in(params)]
    if not any(bodies):
        return Counter()
    if name == "cond":
        return max(bodies, key=Counter.total)
    if name in _CALLS:
        times = 1
    elif name == "scan":
        times = params["length"]
    elif name == "shard_map":
        times = math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
    else:
        raise ValueError(f"cannot tell how often {name!r} runs the MACs inside it")
    (body,) = bodies
    return Counter({key: times * macs for key, macs in body.items()})


def _jaxprs_in(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _dot_macs(eqn: JaxprEqn) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    lhs = _shape(eqn.invars[0])
    return math.prod(_shape(eqn.outvars[0])) * math.prod(lhs[axis] for axis in contracted)


def _conv_macs(eqn: JaxprEqn) -> int:
    params, out, kernel = eqn.params, _shape(eqn.outvars[0]), _shape(eqn.invars[1])
    out_spec, kernel_spec = (
        params["dimension_numbers"].out_spec,
        params["dimension_numbers"].rhs_spec,
    )
    taps = math.prod(
        _taps(out[out_axis], kernel[kernel_axis], stride, lhs_dilation, rhs_dilation, before)
        for out_axis, kernel_axis, stride, lhs_dilation, rhs_dilation, (before, _) in zip(
            out_spec[2:],
            kernel_spec[2:],
            params["window_strides"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            params["padding"],
            strict=True,
        )
    )
    return out[out_spec[0]] * out[out_spec[1]] * kernel[kernel_spec[1]] * taps


def _taps(
    out: int, kernel: int, stride: int, lhs_dilation: int, rhs_dilation: int, before: int
) -> int:
    """Pairs of output position and kernel tap along one axis that do not meet an inserted zero."""
    if lhs_dilation == 1:
        return out * kernel
    positions = (o * stride + k * rhs_dilation - before for o in range(out) for k in range(kernel))
    return sum(position % lhs_dilation == 0 for position in positions)
