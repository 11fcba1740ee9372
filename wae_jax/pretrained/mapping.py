"""Strict mapping of a source's arrays to a network's variables.

A mapping is a list of entries, one for each array of the network. Every array of the source is
used exactly once, every array of the network is filled, and all that is wrong is reported together.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from wae_jax.errors import UserError

_SHOWN = 4  # names of each kind of problem in a message


def _as_is(array: np.ndarray) -> np.ndarray:
    return array


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of the network.

    Attributes:
        target: its path, as "params/backbone/conv1_1/kernel".
        sources: name of the array that it is made from, and of those that correct it, which other
            entries may need too.
        convert: those arrays -> the target; raises ValueError where their shapes do not allow it.
    """

    target: str
    sources: tuple[str, ...]
    convert: Callable[..., np.ndarray] = _as_is


def apply(
    arrays: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    shapes: Mapping[str, Any],
    *,
    what: str,
    ignored: str = "",
) -> dict[str, Any]:
    """The network's variables, float32, nested as ``shapes``.

    Args:
        arrays: the source's, by name.
        entries: one for each array of the network.
        shapes: nested, leaves with ``.shape``: what must be filled.
        what: names file and network in the error message.
        ignored: regular expression on whole names of arrays that the network has no use for.

    Raises:
        UserError: arrays that are missing, left over, of a wrong shape or type, or not finite.
        ValueError: the entries themselves do not cover the network or use an array twice.
    """
    wanted = flatten_dict(shapes, sep="/")
    _check_entries(entries, wanted)
    problems: dict[str, list[str]] = {}
    used = {name for entry in entries for name in entry.sources}
    problems["missing"] = [name for name in sorted(used - arrays.keys(), key=_by_number)]
    problems["not of this network"] = sorted(
        (name for name in arrays.keys() - used if not re.fullmatch(ignored, name)), key=_by_number
    )
    sound = {name: arrays[name] for name in used & arrays.keys()}
    problems["no floating-point numbers"] = [
        f"{name} ({array.dtype})"
        for name, array in sorted(sound.items())
        if not jnp.issubdtype(array.dtype, jnp.floating)
    ]
    problems["with NaN or infinite values"] = [
        name
        for name, array in sorted(sound.items())
        if jnp.issubdtype(array.dtype, jnp.floating) and not np.isfinite(array).all()
    ]
    problems["of a wrong shape"], filled = [], {}
    for entry in entries:
        if not all(name in sound for name in entry.sources):
            continue
        parts = [np.asarray(sound[name], np.float32) for name in entry.sources]
        shape = tuple(wanted[entry.target].shape)
        try:
            value = entry.convert(*parts)
        except ValueError:
            value = None
        if value is None or value.shape != shape:
            names = ", ".join(
                f"{name} {part.shape}" for name, part in zip(entry.sources, parts, strict=True)
            )
            problems["of a wrong shape"].append(f"{names} for {entry.target} {shape}")
        filled[entry.target] = value
    words = [f"{kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if words:
        raise UserError(f"{what}: arrays {'; '.join(words)}")
    return unflatten_dict(
        {target: np.ascontiguousarray(filled[target], np.float32) for target in wanted}, sep="/"
    )


def _check_entries(entries: Sequence[Entry], wanted: Mapping[str, Any]) -> None:
    sources = Counter(entry.sources[0] for entry in entries)
    targets = Counter(entry.target for entry in entries)
    wrong = {
        "sources used twice": [n for n, count in sources.items() if count > 1],
        "targets filled twice": [n for n, count in targets.items() if count > 1],
        "targets unknown": targets.keys() - wanted.keys(),
        "targets not filled": wanted.keys() - targets.keys(),
    }
    wrong = {kind: sorted(names) for kind, names in wrong.items() if names}
    if wrong:
        raise ValueError(f"a mapping does not fit its network: {wrong}")


def _by_number(name: str) -> list:
    """Sorts conv2 before conv10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def kernel_from_oihw(kernel: np.ndarray) -> np.ndarray:
    """Conv kernel (out, in, h, w), as in PyTorch and Caffe -> (h, w, in, out)."""
    return kernel.transpose(2, 3, 1, 0)


def kernel_from_out_in(kernel: np.ndarray) -> np.ndarray:
    """Linear layer's (out, in) -> (in, out)."""
    return kernel.T


def kernel_from_flattened(*channels_and_sides: tuple[int, int, int]):
    """Converter of the (out, in) kernel of an FC layer on features that were flattened.

    PyTorch and Caffe flatten channel-first, (C, h, w); the networks here (h, w, C).

    Args:
        *channels_and_sides: (C, h, w) of each branch whose flattened features follow each other.
    """

    def convert(kernel: np.ndarray) -> np.ndarray:
        sizes = [math.prod(shape) for shape in channels_and_sides]
        if kernel.ndim != 2 or kernel.shape[1] != sum(sizes):
            raise ValueError(f"{kernel.shape} for {sizes} inputs")
        parts = np.split(kernel, np.cumsum(sizes)[:-1], axis=1)
        return np.concatenate(
            [
                part.reshape(-1, *shape).transpose(2, 3, 1, 0).reshape(-1, len(part))
                for part, shape in zip(parts, channels_and_sides, strict=True)
            ]
        )

    return convert


def mean_less_bias(mean: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A batch norm's mean that takes in the bias of the conv before it: exactly the same output."""
    if mean.shape != bias.shape:
        raise ValueError(f"{mean.shape} and {bias.shape}")
    return mean - bias
