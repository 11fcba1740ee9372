"""The picture of a benchmark: what was promised and what was realised."""

from collections.abc import Sequence
from pathlib import Path

from wae_jax.bench.measure import BASE, Row

MARKERS = "osD^vP*X"
LIMIT = "lowres"  # no method that reads half the resolution can be faster


def plot_rows(rows: Sequence[Row], path: Path) -> None:
    """Realised speed-up of the rows of scope "model", one panel per batch size and dtype.

    Against the MAC ratio, where the diagonal is a perfect method; against top-1 where all rows have
    one. Error bars are 95 % intervals. Rows without a speed-up are left out.
    """
    rows = [row for row in rows if row.scope == "model" and row.speedup is not None]
    panels = list(dict.fromkeys((row.dtype, row.batch_size) for row in rows))
    by_accuracy = bool(rows) and all(row.top1 is not None for row in rows)
    markers = {
        method: MARKERS[i % len(MARKERS)]
        for i, method in enumerate(dict.fromkeys(row.method for row in rows))
    }
    figure, axes = make_panels(len(panels))
    for axis, (dtype, batch) in zip(axes, panels, strict=False):
        panel = [r for r in rows if (r.dtype, r.batch_size) == (dtype, batch)]
        _draw_panel(axis, panel, markers, by_accuracy)
        axis.set_title(f"batch {batch}, {dtype}")
    axes[0].set_ylabel(f"speed-up over {BASE}, measured")
    if rows:
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside right center", fontsize="small"
        )
        figure.suptitle(
            f"{rows[0].backbone}, {rows[0].image_size} pixels, {rows[0].device}", fontsize="medium"
        )
    figure.savefig(path, dpi=150)


def make_panels(count: int, lines: int = 1, *, width: float = 4.2, height: float = 4.2):
    """A figure with panels side by side (at least one) and room for a legend; and the panels.

    Args:
        count: of the panels. lines: Of as many of them as the others.
        width, height: of a panel in inches.
    """
    # Not pyplot: no global state, and the Agg canvas whatever the user's settings.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(1, count // lines)
    figure = Figure(figsize=(width * columns + 2.4, height * lines), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(lines, columns, squeeze=False).ravel()


def _draw_panel(axis, rows: Sequence[Row], markers: dict[str, str], by_accuracy: bool) -> None:
    for i, row in enumerate(rows):
        spread = [[row.speedup - row.speedup_low], [row.speedup_high - row.speedup]]
        axis.errorbar(
            100 * row.top1 if by_accuracy else row.mac_ratio,
            row.speedup,
            yerr=spread,
            marker=markers[row.method],
            color=f"C{i}",
            linestyle="none",
            capsize=3,
            label=row.method,
        )
        if row.method == LIMIT:
            axis.axhline(
                row.speedup,
                color=f"C{i}",
                linestyle="--",
                linewidth=1,
                label="limit: plain low resolution",
            )
    if by_accuracy:
        axis.set_xlabel("top-1, %")
    else:
        highest = 1.08 * max(max(row.mac_ratio, row.speedup_high) for row in rows)
        axis.plot(
            [0, highest],
            [0, highest],
            color="0.6",
            linewidth=1,
            zorder=0,
            label="perfect: speed-up = MAC ratio",
        )
        axis.set_xlim(0, highest)
        axis.set_xlabel("MACs of full / MACs")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
