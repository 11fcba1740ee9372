"""How Hypothesis damages whole files: bytes, and values in JSON."""

import json
from typing import Any

from hypothesis import strategies as st

# Numbers at which readers go wrong.
_ODD_NUMBERS = [0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63, 2**64, 10**19, 10**400]
_ODD_BYTES = [
    *(n.to_bytes(8, order) for n in (0, 1, 2**31, 2**63, 2**64 - 1) for order in ("little", "big")),
    b"77777777777\0",  # sizes in a tar: 8 GiB, and all that fits
    b"\x80" + b"\xff" * 11,
]
_PLACE = st.floats(0, 1, exclude_max=True)

_overwrite = st.tuples(
    st.just("overwrite"), _PLACE, st.binary(min_size=1, max_size=8) | st.sampled_from(_ODD_BYTES)
)
_insert = st.tuples(st.just("insert"), _PLACE, st.binary(min_size=1, max_size=16))
_cut = st.tuples(st.just("cut"), _PLACE, st.integers(1, 600))
_repeat = st.tuples(st.just("repeat"), _PLACE, st.integers(1, 600))
_end = st.tuples(st.just("end"), _PLACE, st.none())
_edits = st.lists(st.one_of(_overwrite, _overwrite, _insert, _cut, _repeat, _end), max_size=6)


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of the files with up to six edits; now and then anything."""
    edited = st.builds(_edit, st.sampled_from(seeds), _edits)
    strategies = [edited, edited, edited, st.binary(max_size=200)]
    texts = [seed for seed in seeds if _is_json(seed)]
    if texts:
        replaced = st.builds(_replace, st.sampled_from(texts), st.lists(_replacement, max_size=4))
        strategies += [replaced] * 6
    return st.one_of(strategies)


def _edit(data: bytes, edits: list[tuple[str, float, Any]]) -> bytes:
    for kind, place, what in edits:
        at = int(place * len(data))
        if kind == "overwrite":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "insert":
            data = data[:at] + what + data[at:]
        elif kind == "cut":
            data = data[:at] + data[at + what :]
        elif kind == "repeat":
            data = data[: at + what] + data[at:]
        else:
            data = data[:at]
    return data


_value = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(_ODD_NUMBERS)
    | st.floats()
    | st.integers(-10, 10)
    | st.text(max_size=8)
    | st.sampled_from(["\0", "../x", "/etc/hostname", "\ud800", "float32"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
_DROP = object()
# Where, as a number that is a way from the root; and what is to be there.
_replacement = st.tuples(st.lists(st.integers(0, 40), max_size=8), _value | st.just(_DROP))


def _replace(text: bytes, replacements) -> bytes:
    tree = json.loads(text)
    for way, value in replacements:
        tree = _replaced(tree, way, value)
    return json.dumps(None if tree is _DROP else tree).encode()


def _replaced(tree, way: list[int], value):
    """The tree with the value in place of what the way leads to."""
    if not way or not isinstance(tree, dict | list) or not tree:
        return value
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = keys[way[0] % len(keys)]
    tree = dict(tree) if isinstance(tree, dict) else list(tree)
    new = _replaced(tree[key], way[1:], value)
    if new is _DROP:
        del tree[key]
    else:
        tree[key] = new
    return tree


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True
