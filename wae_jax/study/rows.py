"""A study's figures: accuracy, what it gains over plain low resolution, and what it costs."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

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


def front(rows: Sequence[Row], cell: Cell) -> list[str]:
    """The variants on the Pareto front of a cell: none is as fast and better; fastest first."""
    return best_of({r.variant: (ms, r.top1.value) for r in rows if (ms := r.ms[cell]) is not None})
