"""Dataclasses from nested mappings and back, with every value checked."""

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar, get_args, get_origin, get_type_hints

from wae_jax.errors import UserError

T = TypeVar("T")


class _Dataclass(Protocol):
    """An instance of any dataclass, to type checkers."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


D = TypeVar("D", bound=_Dataclass)


def merge(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with what they lack of ``defaults``, at every depth."""
    merged = copy.deepcopy(dict(defaults))
    for key, value in values.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if nested else value
    return merged


def plain(value: Any, sequence: type = tuple) -> Any:
    """Dataclasses and mappings as dicts, sequences as ``sequence``."""
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item, sequence) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return sequence(plain(item, sequence) for item in value)
    return value


def build(kind: type[T], values: Any, key: str) -> T:
    """A dataclass from a mapping with exactly its fields, nested ones too."""
    fields = get_type_hints(kind, include_extras=True)
    if not isinstance(values, Mapping):
        raise UserError(f"{key} is {values!r}; it must be a group of keys")
    missing, extra = fields.keys() - values.keys(), values.keys() - fields.keys()
    if missing or extra:
        words = [
            f"{word} {', '.join(sorted(map(str, names)))}"
            for word, names in (("lacks", missing), ("has unknown", extra))
            if names
        ]
        raise UserError(f"{key} {' and '.join(words)}")
    return kind(**{name: _value(fields[name], values[name], f"{key}.{name}") for name in fields})


def _value(kind: Any, value: Any, key: str) -> Any:
    """One value as a field's type wants it, checked against its range."""
    origin, arguments = get_origin(kind), get_args(kind)
    if hasattr(kind, "__metadata__"):
        value = _value(arguments[0], value, key)
        for limits in kind.__metadata__:
            limits.check(key.removeprefix("config."), value)
        return value
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return build(kind, value, key)
    if origin is Mapping and isinstance(value, Mapping):
        item = arguments[1]
        return {
            name: _value(item, each, f"{key}.{name}") if dataclasses.is_dataclass(item) else each
            for name, each in value.items()
        }
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], each, f"{key}[{i}]") for i, each in enumerate(value))
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        wanted = {float: "a finite number", int: "a whole number", bool: "True or False"}
        name = wanted.get(kind, "text" if kind is str else "a sequence" if origin else str(kind))
        raise UserError(f"{key} is {value!r}; it must be {name}")
    return value


def changed(settings: D, changes: Mapping[str, Any]) -> D:
    """Settings with dotted keys changed, as ``{"backbone.name": "vgg16"}``.

    Raises:
        AttributeError: no such key.
    """
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        old = getattr(settings, name)
        new = changed(old, {rest: value}) if rest else value
        settings = dataclasses.replace(settings, **{name: new})
    return settings


def differences(one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> its two values, for every key in which two dataclasses of a kind differ."""
    found: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a) and type(a) is type(b):
            inner = differences(a, b)
        elif isinstance(a, Mapping) and isinstance(b, Mapping):
            inner = {}
            for key in sorted(a.keys() | b.keys()):
                x, y = a.get(key), b.get(key)
                if dataclasses.is_dataclass(x) and type(x) is type(y):
                    inner |= {f"{key}.{name}": pair for name, pair in differences(x, y).items()}
                elif x != y:
                    inner[key] = (x, y)
        else:
            found |= {field.name: (a, b)} if a != b else {}
            continue
        found |= {f"{field.name}.{name}": pair for name, pair in inner.items()}
    return found
