"""The picture of a study: accuracy against measured time, and the low-resolution curve."""

from collections.abc import Sequence
from pathlib import Path

from wae_jax.bench.plots import MARKERS, make_panels
from wae_jax.study.measure import Cell
from wae_jax.study.report import Row, best_of, curve_of, label
from wae_jax.study.runs import DISTILLED


def plot_rows(rows: Sequence[Row], path: Path) -> None:
    """Top-1 against milliseconds per image, a panel per runtime and batch size.

    Error bars are 95 % intervals over test images. A distilled variant has its plain one's colour
    and marker, filled; its curve is dashed. Rows without times are left out.

    Args:
        rows: Of :func:`wae_jax.study.report.make_rows`; at least one has times.
        path: The file; its suffix says which kind.
    """
    rows = timed(rows)
    cells = list(rows[0].ms)
    figure, axes = make_panels(len(cells), width=4.6, height=4.6)
    for axis, cell in zip(axes, cells, strict=True):
        draw_cell(axis, rows, cell)
    axes[0].set_ylabel("top-1, %")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", fontsize="small"
    )
    figure.savefig(path, dpi=150)


def timed(rows: Sequence[Row]) -> list[Row]:
    """The rows that have times."""
    return [row for row in rows if row.ms and all(ms is not None for ms in row.ms.values())]


def draw_cell(axis, rows: Sequence[Row], cell: Cell) -> None:
    """One panel of :func:`plot_rows`, on an axis of matplotlib; all rows have times."""
    for ending, style in (("", "-"), (DISTILLED, "--")):
        _draw_curve(axis, rows, cell, ending, style)
    _draw_points(axis, rows, cell)
    axis.set(xlabel="ms / image, measured", title=label(cell).replace("_", " "))
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


def _draw_points(axis, rows: Sequence[Row], cell: Cell) -> None:
    plain = list(dict.fromkeys(row.variant.removesuffix(DISTILLED) for row in rows))
    for row in rows:
        number = plain.index(row.variant.removesuffix(DISTILLED))
        top1, distilled = row.top1, row.variant.endswith(DISTILLED)
        axis.errorbar(
            _time(row, cell),
            100 * top1.value,
            yerr=[[100 * (top1.value - top1.low)], [100 * (top1.high - top1.value)]],
            marker=MARKERS[number % len(MARKERS)],
            color=f"C{number % 10}",
            fillstyle="full" if distilled else "none",
            linestyle="none",
            capsize=3,
            elinewidth=1,
            label=row.variant,
        )
