"""What compression changed, layer by layer."""

import dataclasses
from collections import Counter

from wae_jax.compress.network import Network
from wae_jax.runtime.tables import markdown

Ranks = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Row:
    """A conv of the trunk, or another part of the network.

    Attributes:
        layer: its name.
        filters: before and after; None where it is no conv of the trunk.
        ranks: after, of a conv that is a product of smaller ones; else empty.
        macs: before and after, of an image in the inference form.
    """

    layer: str
    filters: tuple[int, int] | None
    ranks: Ranks
    macs: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Report:
    """Two networks layer by layer, and their totals: MACs and parameters of the inference form."""

    rows: tuple[Row, ...]
    macs: tuple[int, int]
    parameters: tuple[int, int]

    def table(self) -> str:
        """For people: a Markdown table with the totals in its last line."""
        lines = [["layer", "filters", "after", "MACs", "after", "kept"]]
        for row in self.rows:
            before, after = ("", "") if row.filters is None else map(str, row.filters)
            if row.ranks:
                after += f" (ranks {', '.join(map(str, row.ranks))})"
            lines.append([row.layer, before, after, *_three(*row.macs)])
        lines.append(["total", "", "", *_three(*self.macs)])
        return markdown(lines)


def _three(before: int, after: int) -> tuple[str, str, str]:
    share = f"{100 * after / before:.1f} %" if before else ""
    return f"{before / 1e6:.2f} M", f"{after / 1e6:.2f} M", share


def compare(before: Network, after: Network) -> Report:
    """The report on ``after``, made from ``before``."""
    ours, theirs = _by_layer(before), _by_layer(after)
    ranks = dict(after.model.backbone.ranks)
    rows = tuple(
        Row(
            name,
            (before.layers[name].writes[3], after.layers[name].writes[3])
            if name in before.layers
            else None,
            ranks.get(name, ()),
            (ours[name], theirs[name]),
        )
        for name in {**ours, **theirs}
    )
    return Report(
        rows,
        (before.macs.total, after.macs.total),
        (before.parameters, after.parameters),
    )


def _by_layer(network: Network) -> Counter[str]:
    """MACs by conv of the trunk and by other part, in the order of execution."""
    found: Counter[str] = Counter()
    for scope, macs in network.macs.by_scope.items():
        _, part, *rest = f"{scope}/".split("/")
        path = "/".join(rest)
        conv = next((name for name in network.layers if path.startswith(f"{name}/")), "")
        found[conv if part == "backbone" and conv else part.partition(".")[0]] += macs
    return found
