"""Charts as inline SVG that takes its ink from the page, so that it is readable light and dark."""

import html
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from wae_jax.report.files import is_number
from wae_jax.study.measure import Cell
from wae_jax.study.plot import draw_cell
from wae_jax.study.rows import Row

_WIDTH, _HEIGHT = 4.4, 2.7  # inches: readable as they are on a phone
_POINTS = 300  # of a curve; longer ones are averaged
_WIDE = 30.0  # largest over smallest value from which on a scale may be logarithmic
_INK = "#010203"  # stands for the page's own colour until the SVG is written
# Of middle brightness: seen on white and on black.
_COLOURS = (
    "#4285d6", "#e0802f", "#38a169", "#d64550", "#9b6dd0",
    "#a1745f", "#d667b0", "#8a8f98", "#a8a02c", "#2ba7b8",
)  # fmt: skip
_STYLE: dict[Any, Any] = {
    "axes.prop_cycle": f"cycler(color={list(_COLOURS)})",
    "svg.fonttype": "none",
    "svg.hashsalt": "wae_jax",
    "font.size": 9,
    "axes.titlesize": 10,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.parse_math": False,
    "lines.linewidth": 1.4,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color",
         "grid.color"),
        _INK,
    ),
}  # fmt: skip
_NO_LOSS = {"step", "epoch", "learning_rate", "images_per_s", "wait_fraction"}


def stage_charts(stage: str, log: Sequence[dict[str, Any]]) -> list[str]:
    """The curves of one stage as SVG: the terms of its loss, top-1 and learning rate.

    Args:
        stage: Its name.
        log: Lines of the run's metrics log, steps ascending.
    """
    own = [line for line in log if line["stage"] == stage]
    trained = [line for line in own if "eval_count" not in line]
    evaluated = [line for line in own if "eval_count" in line]
    names = dict.fromkeys(
        name
        for line in trained
        for name, value in line.items()
        if is_number(value) and name not in _NO_LOSS and not name.startswith("top")
    )
    losses = {name: _curve(trained, name) for name in sorted(names, key=lambda n: n != "loss")}
    top1 = {"training": _curve(trained, "top1")}
    if len(top1["training"]):  # else the stage does not classify
        top1["evaluation"] = _curve(evaluated, "top1")
    rate = {"learning rate": _curve(trained, "learning_rate")}
    charts = [
        _lines(f"{stage}: loss and its terms", losses, logarithmic=True),
        _lines(f"{stage}: top-1, %", top1, scale=100.0),
        _lines(f"{stage}: learning rate", rate),
    ]
    return [chart for chart in charts if chart]


def _curve(lines: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """(n, 2): step and value where there is one; at most :data:`_POINTS`."""
    points = [(line["step"], line[name]) for line in lines if is_number(line.get(name))]
    if not points:
        return np.empty((0, 2))
    parts = np.array_split(np.array(points, float), min(_POINTS, len(points)))
    return np.array([part.mean(axis=0) for part in parts])


def _lines(
    title: str, curves: dict[str, np.ndarray], *, scale: float = 1.0, logarithmic: bool = False
) -> str:
    """Curves over the step; empty where there is no point."""
    curves = {name: points for name, points in curves.items() if len(points)}
    if not curves:
        return ""
    values = np.concatenate([points[:, 1] for points in curves.values()])
    wide = values.min() > 0 and values.max() > _WIDE * values.min()

    def draw(figure):
        axis = figure.subplots()
        for number, (name, points) in enumerate(curves.items()):
            few = len(points) < 3 or name == "evaluation"
            axis.plot(
                points[:, 0],
                scale * points[:, 1],
                "o" if few else "-",
                color=_COLOURS[number % len(_COLOURS)],
                markersize=4,
                label=name,
            )
        if logarithmic and wide:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.yaxis.set_minor_formatter(lambda value, _: "")
        axis.set(title=title, xlabel="step")
        axis.grid()
        if len(curves) > 1:
            figure.legend(loc="outside lower center", ncols=3)

    return _svg(title, draw, _HEIGHT + 0.2 * (len(curves) > 3))


def accuracy_charts(rows: Sequence[Row]) -> Iterator[str]:
    """Accuracy against measured time with the low-resolution curve, a chart per cell.

    Args:
        rows: Of :func:`wae_jax.study.rows.make_rows`, with times.
    """
    for cell in rows[0].ms:
        title = f"Accuracy against time, {cell[0]}, batch {cell[1]}"
        yield _svg(title, _accuracy(rows, cell), 3.2 + 0.1 * len(rows))


def _accuracy(rows: Sequence[Row], cell: Cell) -> Callable:
    def draw(figure):
        axis = figure.subplots()
        draw_cell(axis, rows, cell)
        axis.set_ylabel("top-1, %")
        figure.legend(loc="outside lower center", ncols=2)

    return draw


def _svg(title: str, draw: Callable, height: float) -> str:
    """What ``draw`` puts on an empty figure, as an ``<svg>`` element."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        text = io.StringIO()
        nobody = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nobody)
    return _inline(text.getvalue(), title)


def _inline(text: str, title: str) -> str:
    """A file of matplotlib's as part of a page: ids of its own, no styles for others."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    own = f"c{zlib.crc32(text.encode()):08x}-"
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}", text)
    text = text.replace(_INK, "currentColor")
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
