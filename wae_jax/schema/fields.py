"""Ranges of values, as the annotations of a dataclass's fields."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from wae_jax.errors import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A key takes one of these names."""

    names: tuple[str, ...]

    def check(self, key: str, value: str) -> None:
        """Raises UserError where ``value`` of ``config.<key>`` is none of them."""
        check_choice(key, value, self.names)


@dataclasses.dataclass(frozen=True)
class Range:
    """A key takes numbers from ``low`` to ``high``; ``open``: low itself is excluded."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def check(self, key: str, value: float) -> None:
        """Raises UserError where ``value`` of ``config.<key>`` is out of range."""
        if value < self.low or value > self.high or (self.open and value == self.low):
            raise UserError(f"config.{key} is {value}; it must be {self}")

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"between {self.low:g} and {self.high:g}" + ", 0 excluded" * self.open
        return f"above {self.low:g}" if self.open else f"at least {self.low:g}"


def one_of(*names: str) -> OneOf:
    """The range of a key that chooses."""
    return OneOf(names)


def choose(key: str, name: str, options: Mapping[str, T]) -> T:
    """``options[name]``, with an error that lists what there is.

    Raises:
        UserError: ``name`` is not one of ``options``.
    """
    check_choice(key, name, options)
    return options[name]


def check_choice(key: str, name: str, options: Collection[str]) -> None:
    """Raises UserError where ``name`` of ``config.<key>`` (or of an option, ``--key``) is none."""
    if name not in options:
        key = key if key.startswith("-") else f"config.{key}"
        raise UserError(
            f"{key} is {name!r}{hint(str(name), options)}; it must be one of: "
            f"{', '.join(sorted(options))}"
        )


def hint(name: str, options: Collection[str], shown: Callable[[str], str] = repr) -> str:
    """Words that name the option which is closest to ``name``; empty where none is close.

    ``shown``: how the option is written.
    """
    close = difflib.get_close_matches(name, list(options), n=1)
    close = close or [option for option in options if name and option.startswith(name)]
    return f" (did you mean {shown(close[0])}?)" if close else ""
