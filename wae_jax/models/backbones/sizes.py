"""Layers of a trunk that differ from its family's, as a config names them."""

from collections.abc import Collection, Mapping

from wae_jax.errors import UserError

_KEY = "config.model.backbone."

Widths = tuple[tuple[str, int], ...]  # filters by the name of a conv
Ranks = tuple[tuple[str, tuple[int, ...]], ...]  # see wae_jax.models.low_rank


def read_widths(text: str, allowed: Collection[str]) -> Widths:
    """Filters by conv, from "conv1_1=48 conv2_1=96".

    Args:
        text: the config's ``widths``.
        allowed: names of the convs that may have other filters than the family's.

    Raises:
        UserError: it reads differently, or names another conv.
    """
    pairs = _read("widths", text, allowed, "conv1_1=48 conv2_1=96")
    for name, numbers in pairs:
        if len(numbers) != 1:
            raise UserError(f"{_KEY}widths: {name} needs one number of filters")
    return tuple((name, numbers[0]) for name, numbers in pairs)


def read_ranks(text: str, sizes: Mapping[str, int]) -> Ranks:
    """Ranks by conv, from "conv1_2=16,24 conv2_1=40".

    Args:
        text: the config's ``ranks``.
        sizes: of the kernels of the convs that may be products of smaller ones.

    Raises:
        UserError: it reads differently, or names another conv, or too many ranks.
    """
    pairs = _read("ranks", text, sizes, "conv1_2=16,24 conv2_1=40")
    for name, ranks in pairs:
        if len(ranks) > (3 if sizes[name] > 1 else 1) or (len(ranks) == 3) != (ranks[0] == 0):
            most = (
                "one rank (CP), two (Tucker-2), or 0 and two (columns and rows)"
                if sizes[name] > 1
                else "one rank, as it is 1x1"
            )
            shown = ",".join(map(str, ranks))
            raise UserError(f"{_KEY}ranks: {name} can have {most}, not {shown}")
    return pairs


def as_text(values: Mapping[str, int | tuple[int, ...]]) -> str:
    """What :func:`read_widths` and :func:`read_ranks` read."""
    return " ".join(
        f"{name}={value if isinstance(value, int) else ','.join(map(str, value))}"
        for name, value in values.items()
    )


def _read(key: str, text: str, allowed: Collection[str], example: str) -> Ranks:
    found: dict[str, tuple[int, ...]] = {}
    for item in text.split():
        name, _, value = item.partition("=")
        numbers = value.split(",")
        given = numbers[1:] if len(numbers) == 3 and key == "ranks" else numbers
        if not all(n.isascii() and n.isdigit() for n in numbers) or not all(map(int, given)):
            raise UserError(
                f"{_KEY}{key} has {item!r}; it needs names of convs and whole numbers above 0, as "
                f"in {example!r}"
            )
        if name not in allowed:
            raise UserError(
                f"{_KEY}{key} names {name!r}, and it may name: {', '.join(allowed) or 'none'}"
            )
        if name in found:
            raise UserError(f"{_KEY}{key} names {name} twice")
        found[name] = tuple(map(int, numbers))
    return tuple(found.items())
