"""A study's table: accuracy, what it gains over plain low resolution, and what it costs."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax.errors import UserError
from wae_jax.runtime import tables
from wae_jax.study import paired
from wae_jax.study.measure import Cell, Times
from wae_jax.study.paired import Accuracies, Estimate
from wae_jax.study.runs import Run
from wae_jax.study.variants import DISTILLED, is_distilled

FULL = "full"
# Plain resizing to any size, and none.
_ON_CURVE = re.compile(rf"({FULL}|lowres(-\d+)?)({re.escape(DISTILLED)})?")


@dataclasses.dataclass(frozen=True)
class Row:
    """One variant.

    Attributes:
        variant: Its name.
        top1: Fraction, mean over seeds; its interval is over images.
        top1_per_seed: Seeds ascending.
        top1_sd: Standard deviation over seeds; None for one seed.
        gap_recovered: (err(low) - err(variant)) / (err(low) - err(full)), see :func:`plain_low`;
            None without both baselines. Like above_curve with the variant's own seeds, see
            :func:`beside`.
        baseline: Whether it is one of these two.
        above_curve: Top-1 less that of the low-resolution curve at the time that the variant
            takes, see :func:`curve_of`; None for the curve's own points and without a curve.
        macs: Per image; mac_ratio: The first variant's over them.
        ms: Per image, median. speedup: Over the first variant, with its 95 % interval.
        train_images_per_s: Of the last stage, mean over seeds.
        epochs, images_seen, hours: Mean over seeds, with the runs that a variant is made of; hours
            are wall-clock time, evaluation included. teacher: Its folder, empty for none.
    """

    variant: str
    top1: Estimate
    top1_per_seed: tuple[float, ...]
    top1_sd: float | None
    gap_recovered: Estimate | None
    baseline: bool
    above_curve: dict[Cell, Estimate | None]
    macs: int
    mac_ratio: float
    ms: dict[Cell, float | None]
    speedup: dict[Cell, tuple[float, float, float] | None]
    train_images_per_s: float | None
    epochs: float | None
    images_seen: float | None
    hours: float | None
    teacher: str


def make_rows(chosen: Mapping[str, Sequence[Run]], times: Times | None) -> list[Row]:
    """A row per variant, in their order.

    Args:
        chosen: Runs by variant, all evaluated on the same images; the first is what speed-ups and
            MAC ratios are relative to.
        times: None where nothing was timed.
    """
    known: dict[frozenset[int], Accuracies] = {}  # by the seeds of the variant in question
    ms: dict[Cell, dict[str, float | None]] = {}
    if times:
        ms = {c: {name: times.ms_per_image(name, c) for name in chosen} for c in times.cells}
    base = next(iter(chosen))
    rows = []
    for name, each in chosen.items():
        seeds = frozenset(run.seed for run in each)
        if seeds not in known:
            known[seeds] = _accuracies(beside(chosen, seeds))
        found = known[seeds]
        per_seed = tuple(run.top1 for run in each)
        rates = [run.images_per_s for run in each if run.images_per_s is not None]
        rows.append(
            Row(
                variant=name,
                top1=found.combined(_one(chosen, name)),
                top1_per_seed=per_seed,
                top1_sd=float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
                gap_recovered=_gap_recovered(chosen, found, name),
                baseline=name in (FULL, plain_low(chosen)),
                above_curve={c: _above_curve(chosen, found, ms[c], name) for c in ms},
                macs=each[0].macs,
                mac_ratio=chosen[base][0].macs / each[0].macs,
                ms={c: ms[c][name] for c in ms},
                speedup={c: times.speedup(base, name, c) for c in ms} if times else {},
                train_images_per_s=float(np.mean(rates)) if rates else None,
                epochs=_mean_total(each, "epochs"),
                images_seen=_mean_total(each, "images_seen"),
                hours=_mean_total(each, "hours"),
                teacher=str((each[0].teacher or {}).get("path", "")),
            )
        )
    return rows


def beside(chosen: Mapping[str, Sequence[Run]], seeds: Collection[int]) -> dict[str, Sequence[Run]]:
    """The runs that a variant with these seeds is held against.

    They are those with the same seeds: what seeds differ by is then no difference of variants. A
    variant that has none of them takes part with all of its runs.
    """
    return {
        name: [run for run in each if run.seed in seeds] or each for name, each in chosen.items()
    }


def _accuracies(chosen: Mapping[str, Sequence[Run]]) -> Accuracies:
    """Each variant's mean over its runs."""
    means = [np.mean([run.correct for run in each], axis=0) for each in chosen.values()]
    return paired.bootstrap(np.stack(means, 1))


def _mean_total(each: Sequence[Run], key: str) -> float | None:
    values = [value for run in each if (value := run.total(key)) is not None]
    return float(np.mean(values)) if len(values) == len(each) else None


def _one(chosen: Mapping[str, Any], name: str) -> np.ndarray:
    """The weights that pick one variant."""
    return np.array([float(other == name) for other in chosen])


def plain_low(chosen: Mapping[str, Sequence[Run]]) -> str | None:
    """The low-resolution baseline: "lowres", else "lowres-SIZE" of half the full size, or None."""
    half = f"lowres-{next(iter(chosen.values()))[0].image_size // 2}"
    return next((name for name in ("lowres", half) if name in chosen), None)


def _gap_recovered(
    chosen: Mapping[str, Sequence[Run]], found: Accuracies, name: str
) -> Estimate | None:
    low = plain_low(chosen)
    if low is None or FULL not in chosen:
        return None
    of_low = _one(chosen, low)
    return found.share(_one(chosen, name) - of_low, _one(chosen, FULL) - of_low)


def curve_of(variants: Sequence[str], name: str) -> list[str]:
    """The variants whose points are the low-resolution curve that ``name`` is held against.

    They are "full" and all "lowres" and "lowres-SIZE"; for a distilled variant the distilled ones,
    with "full" itself where no teacher taught it.
    """
    ending = DISTILLED * is_distilled(name)
    curve = [
        other for other in variants if (m := _ON_CURVE.fullmatch(other)) and (m[3] or "") == ending
    ]
    if ending and FULL + ending not in curve and FULL in variants:
        curve.append(FULL)
    return curve


def best_of(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Those points of a curve that no faster one equals, fastest first.

    A slower network that is no better is nobody's choice: a curve through it would be too easy to
    lie above.

    Args:
        points: (time, top-1) by name.
    """
    best: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not best or points[name][1] > points[best[-1]][1]:
            best.append(name)
    return best


def _above_curve(
    chosen: Mapping[str, Any], found: Accuracies, ms: Mapping[str, float | None], name: str
) -> Estimate | None:
    """Against the line through the curve's best points, which is level beyond them.

    Beyond the slowest that is what the slowest gives in less time; before the fastest, the
    variant is held against a slower rival.
    """
    top1 = dict(zip(chosen, found.values, strict=True))
    curve = curve_of(list(chosen), name)
    points = {other: (each, top1[other]) for other in curve if (each := ms[other])}
    at = ms[name]
    if at is None or name in curve or len(points) < 2:
        return None
    best = best_of(points)
    weights = paired.curve_weights([points[other][0] for other in best], at)
    parts = [w * _one(chosen, other) for w, other in zip(weights, best, strict=True)]
    return found.combined(_one(chosen, name) - np.sum(parts, axis=0))


def label(cell: Cell) -> str:
    """How columns name a cell: the runtime only where it is not JAX."""
    runtime, batch = cell
    return f"batch_{batch}" if runtime == "jax" else f"{runtime}_batch_{batch}"


def _rounded(value: float | None, digits: int) -> float | str:
    return "" if value is None else round(value, digits or None)


def _columns(
    name: str, found: Estimate | tuple[float, float, float] | None, digits: int
) -> dict[str, float | str]:
    """A figure and its interval as columns; empty where it does not exist."""
    three = dataclasses.astuple(found) if isinstance(found, Estimate) else found or (None,) * 3
    names = name, f"{name}_low", f"{name}_high"
    return {key: _rounded(value, digits) for key, value in zip(names, three, strict=True)}


def record(row: Row) -> dict[str, Any]:
    """A row as the CSV has it; ``above_curve`` is that of the first cell."""
    above = dict(row.above_curve)
    first = above.pop(next(iter(above)), None) if above else None
    columns = {
        "variant": row.variant,
        "top1": round(row.top1.value, 4),
        "top1_per_seed": " ".join(f"{top1:.4f}" for top1 in row.top1_per_seed),
        "top1_sd": _rounded(row.top1_sd, 4),
        **_columns("gap_recovered", row.gap_recovered, 3),
        **_columns("above_curve", first, 4),
    }
    for cell, found in above.items():
        columns |= _columns(f"above_curve_{label(cell)}", found, 4)
    columns |= {"macs": row.macs, "mac_ratio": round(row.mac_ratio, 3)}
    columns |= {f"ms_{label(cell)}": _rounded(ms, 4) for cell, ms in row.ms.items()}
    for cell, ratio in row.speedup.items():
        columns |= _columns(f"speedup_{label(cell)}", ratio, 3)
    return columns | {
        "train_images_per_s": _rounded(row.train_images_per_s, 0),
        "epochs": _rounded(row.epochs, 2),
        "images_seen": _rounded(row.images_seen, 0),
        "hours": _rounded(row.hours, 3),
        "teacher": Path(row.teacher).name,
    }


def write_csv(rows: Sequence[Row], environment: Mapping[str, Any], path: Path) -> None:
    """One line per variant; the environment beside it, ``NAME.env.json``."""
    tables.write_csv(path, [record(row) for row in rows], environment)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    return tables.markdown(table_lines(rows))


def table_lines(rows: Sequence[Row]) -> list[list[str]]:
    """The table's cells; the first line has the headings."""
    cells = list(rows[0].ms)
    above = [c for c in cells if any(row.above_curve[c] is not None for row in rows)]
    names = {c: label(c).replace("_", " ") for c in cells}
    lines = [
        [
            "network",
            "top-1",
            "gap recovered",
            *(f"points above the curve, {names[c]} [95 %]" for c in above),
            "MACs / image",
            *(f"ms / image, {names[c]}" for c in cells),
            "training images/s",
        ]
    ]
    for row in rows:
        rate = row.train_images_per_s
        lines.append(
            [
                row.variant,
                f"{100 * row.top1.value:.2f} %",
                _gap_text(row),
                *(_above_text(row.above_curve[c]) for c in above),
                f"{row.macs / 1e6:.2f} M ({row.mac_ratio:.2f}x fewer)",
                *(_time_text(row.ms[c], row.speedup[c]) for c in cells),
                "" if rate is None else f"{rate:.0f}",
            ]
        )
    return lines


def _gap_text(row: Row) -> str:
    found = row.gap_recovered
    return "" if found is None or row.baseline else f"{100 * found.value:.0f} %"


def _above_text(found: Estimate | None) -> str:
    if found is None:
        return ""
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * x for x in dataclasses.astuple(found)))


def _time_text(ms: float | None, speedup: tuple[float, float, float] | None) -> str:
    if ms is None:
        return ""
    return f"{ms:.3f}" + (f" ({speedup[0]:.2f}x)" if speedup else "")


def front(rows: Sequence[Row], cell: Cell) -> list[str]:
    """The variants on the Pareto front of a cell: none is as fast and better; fastest first."""
    return best_of({r.variant: (ms, r.top1.value) for r in rows if (ms := r.ms[cell]) is not None})


def compare(chosen: Mapping[str, Sequence[Run]], one: str, other: str) -> list[str]:
    """McNemar's exact test of two variants, a sentence for every seed that both have.

    Raises:
        UserError: They have no seed in common.
    """
    by_seed = {run.seed: run for run in chosen[other]}
    pairs = [(run, by_seed[run.seed]) for run in chosen[one] if run.seed in by_seed]
    if not pairs:
        raise UserError(f"{one} and {other} have no seed in common")
    sentences = []
    for a, b in pairs:
        only_a, only_b, p = paired.mcnemar(a.correct, b.correct)
        sentences.append(
            f"{a.name} and {b.name}: {only_a} images only the first has right, {only_b} only the "
            f"second, of {len(a.correct)}; McNemar's exact p = {p:.2g}"
        )
    return sentences


def warnings(chosen: Mapping[str, Sequence[Run]], times: Times | None) -> list[str]:
    """Sentences about what makes figures doubtful, and what is missing."""
    found = list(times.warnings) if times else []
    untimed = [name for name in chosen if times is None or name not in times.timed_as]
    if untimed:
        found.append(f"no times of {', '.join(untimed)}: measure them with --only=measure")
    disturbed = [run.name for each in chosen.values() for run in each if run.load["warning"]]
    if disturbed:
        found.append(
            f"other programs ran beside the training of {', '.join(disturbed)}: training images/s "
            "and hours are worth nothing there"
        )
    return found
