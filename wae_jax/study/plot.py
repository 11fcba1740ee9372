"""The picture of a study: accuracy against measured time, the low-resolution curve, the front."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wae_jax.bench.plots import MARKERS, make_panels
from wae_jax.export.runtimes import TITLES
from wae_jax.study.measure import Cell
from wae_jax.study.rows import Row, best_of, curve_of, front
from wae_jax.study.variants import DISTILLED, INT8, is_distilled, method_of, split

_MARKERS = MARKERS + "<>dp"  # a study may have many kinds of compression
_LARGEST, _SMALLEST = 6, 3.5  # sizes of markers in points, the first is matplotlib's own
_BESIDE = 22  # entries of a legend beside the panels; a longer one is under them
_ENTRY = 0.2  # height in inches


def plot_rows(rows: Sequence[Row], path: Path) -> None:
    """Top-1 against milliseconds per image, a panel per runtime and batch size.

    Error bars are 95 % intervals over test images. Variants of one network have its colour, those
    with the same steps the same marker; with a teacher it is filled, and its curve dashed. The
    dotted line is the Pareto front: no network is as fast and better. Rows without times are left
    out; where there are many, the legend is under the panels.

    Args:
        rows: Of :func:`wae_jax.study.rows.make_rows`; at least one has times.
        path: The file; its suffix says which kind.
    """
    rows = timed(rows)
    cells = list(rows[0].ms)
    # A line of panels for each runtime, where there are several.
    figure, axes = make_panels(
        len(cells), len(dict.fromkeys(runtime for runtime, _ in cells)), width=4.6, height=4.2
    )
    entries: dict[str, Any] = {}
    for axis, cell in zip(axes, cells, strict=True):
        draw_cell(axis, rows, cell)
        # Some are in one runtime alone.
        entries |= {name: e for e, name in zip(*axis.get_legend_handles_labels(), strict=True)}
        axis.set_ylabel("top-1, %")
    names = sorted(entries, key=_order([row.variant for row in rows]))
    place: dict[str, Any] = {"loc": "outside right center"}
    if len(names) > _BESIDE:
        place = {"loc": "outside lower center", "ncols": 4}
        figure.set_figheight(figure.get_figheight() + _ENTRY * math.ceil(len(names) / 4))
    figure.legend([entries[name] for name in names], names, fontsize="small", **place)
    figure.savefig(path, dpi=150)


def _order(variants: Sequence[str]) -> Callable[[str], int]:
    """Of the legend: as the rows, lines first."""
    places = {name: number for number, name in enumerate(variants)}
    return lambda name: places.get(name, -1)


def timed(rows: Sequence[Row]) -> list[Row]:
    """The rows that have times somewhere."""
    return [row for row in rows if any(ms is not None for ms in row.ms.values())]


def draw_cell(axis, rows: Sequence[Row], cell: Cell) -> None:
    """One panel of :func:`plot_rows`, on an axis of matplotlib."""
    looks = _looks(rows)
    rows = [row for row in rows if row.ms[cell] is not None]
    for ending, style in (("", "-"), (DISTILLED, "--")):
        _draw_curve(axis, rows, cell, ending, style)
    _draw_front(axis, rows, cell)
    _draw_points(axis, rows, cell, looks)
    axis.set(xlabel="ms / image, measured", title=f"{TITLES[cell[0]]}, batch {cell[1]}")
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)


def _draw_curve(axis, rows: Sequence[Row], cell: Cell, ending: str, style: str) -> None:
    """The low-resolution curve that variants with this ending are held against."""
    names = curve_of([row.variant for row in rows], f"any{ending}")
    points = {r.variant: (_time(r, cell), r.top1.value) for r in rows if r.variant in names}
    if len(points) < 2:
        return
    times, top1 = zip(*(points[name] for name in best_of(points)), strict=True)
    slowest = max(_time(row, cell) for row in rows)  # beyond its last point the curve is level
    axis.plot(
        [*times, slowest],
        [100 * each for each in (*top1, top1[-1])],
        style,
        color="0.6",
        zorder=0,
        label="low-resolution curve" + ", with a teacher" * bool(ending),
    )


def _time(row: Row, cell: Cell) -> float:
    """Of a row that has times."""
    ms = row.ms[cell]
    assert ms is not None
    return ms


def _draw_front(axis, rows: Sequence[Row], cell: Cell) -> None:
    names = front(rows, cell)
    points = {row.variant: (_time(row, cell), 100 * row.top1.value) for row in rows}
    if len(names) > 1:
        times, top1 = zip(*(points[name] for name in names), strict=True)
        axis.step(
            times, top1, ":", where="post", color="C3", linewidth=1, zorder=0, label="Pareto front"
        )


def _looks(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Colour and marker by variant, as options of matplotlib's plots."""
    networks = list(dict.fromkeys(split(row.variant)[0] for row in rows))
    kinds = list(dict.fromkeys(_kind(row.variant) for row in rows))
    budgets = sorted({_fewer(row.variant) for row in rows})
    step = (_LARGEST - _SMALLEST) / max(3, len(budgets) - 1)
    found = {}
    for row in rows:
        network = networks.index(split(row.variant)[0])
        # Where there are networks alone, markers tell them apart too.
        kind = network % len(MARKERS) if len(kinds) == 1 else kinds.index(_kind(row.variant))
        found[row.variant] = {
            "color": f"C{network % 10}",
            "marker": _MARKERS[kind % len(_MARKERS)],
            "markersize": _LARGEST - step * budgets.index(_fewer(row.variant)),
        }
    return found


def _kind(variant: str) -> str:
    """What was done to the network, whatever the budget."""
    _, steps, _, int8 = split(variant)
    return "+".join(method_of(step)[0] for step in steps) + INT8 * int8


def _fewer(variant: str) -> float:
    """How many times fewer MACs its steps were asked for."""
    return math.prod(method_of(step)[1] or 1 for step in split(variant)[1])


def _draw_points(
    axis, rows: Sequence[Row], cell: Cell, looks: Mapping[str, Mapping[str, Any]]
) -> None:
    for row in rows:
        top1 = row.top1
        axis.errorbar(
            _time(row, cell),
            100 * top1.value,
            yerr=[[100 * (top1.value - top1.low)], [100 * (top1.high - top1.value)]],
            fillstyle="full" if is_distilled(row.variant) else "none",
            linestyle="none",
            capsize=2,
            elinewidth=0.7,
            label=row.variant,
            **looks[row.variant],
        )
