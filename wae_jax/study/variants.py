"""Names of a study's variants: a network, what makes it smaller, a teacher, int8.

NAME+STEP...+distill+int8, each part but NAME optional, as in wae-fast+thinet-0.5+distill+int8. STEP
is a method of compression: thinet-0.5, thinet-gap, thinet-tiny or tucker (with ranks of its own),
or a method and how many times fewer MACs, as taylor-2x or cp-3.4x.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from wae_jax.compress.checkpoint import METHODS, check_method
from wae_jax.config import CompressSettings, Settings
from wae_jax.errors import UserError
from wae_jax.schema.trees import changed

DISTILLED, INT8 = "+distill", "+int8"
_BUDGET = re.compile(r"(.+)-(\d+(?:\.\d+)?)x")


def split(variant: str) -> tuple[str, list[str], bool, bool]:
    """NAME, its steps, whether it has a teacher, and whether it is in int8."""
    rest = variant.removesuffix(INT8)
    int8, plain = rest != variant, rest.removesuffix(DISTILLED)
    name, *steps = plain.split("+")
    return name, steps, plain != rest, int8


def is_distilled(variant: str) -> bool:
    """Whether it has a teacher; in int8, the network that it is made of."""
    return split(variant)[2]


def is_int8(variant: str) -> bool:
    return split(variant)[3]


def method_of(step: str) -> tuple[str, float | None]:
    """The method of compression, and how many times fewer MACs; None where the name has none."""
    budget = None if step in METHODS else _BUDGET.fullmatch(step)
    return (budget[1], float(budget[2])) if budget else (step, None)


def made_of(variant: str, first: str) -> str | None:
    """The variant that it is made of: of the last step's network, or in float32; None for none.

    Args:
        variant: its name.
        first: the study's first variant, which teaches all others and so has no teacher.
    """
    if is_int8(variant):
        return variant.removesuffix(INT8)
    name, steps, distilled, _ = split(variant)
    if not steps:
        return None
    before = "+".join([name, *steps[:-1]])
    return before if not distilled or before == first else before + DISTILLED


def with_steps(settings: Settings, variant: str) -> Settings:
    """The settings of NAME as those of a variant of it.

    Its ``compress`` says what its last step does, and nothing where it has none.

    Raises:
        UserError: no such step, or not with these keys.
    """
    _, steps, _, int8 = split(variant)
    changes: dict[str, Any] = {"method": "", "macs": 0.0, "checkpoint": "", "int8": int8}
    if not steps:
        plain = dataclasses.asdict(CompressSettings())
        changes = plain | {"int8": int8}
    for step in steps:
        method, times = method_of(step)
        if method not in METHODS or (times is not None and times < 1):
            raise UserError(
                f"--variants: {variant}: no step {step!r}; there are {', '.join(METHODS)}, those "
                "with a budget as taylor-2x, and at the end distill and int8"
            )
        changes |= {"method": method, "macs": 1 / times if times else 0.0, "ms": 0.0}
        if METHODS[method].streams is None:
            changes["streams"] = False
        last = dataclasses.replace(settings.compress, **changes)
        check_method(last, of=f"--variants: {variant}: ")
    return changed(settings, {f"compress.{key}": value for key, value in changes.items()})


def check_order(variants: Mapping[str, Settings]) -> None:
    """Raises UserError where a variant stands before, or without, the one that it is made of."""
    first, seen = next(iter(variants)), set()
    for variant in variants:
        before = made_of(variant, first)
        if before is not None and before not in seen:
            raise UserError(f"--variants: {variant} is made of {before}: name that before it")
        seen.add(variant)
