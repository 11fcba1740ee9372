"""What a study says of its figures: the CSV, the table, and sentences."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wae_jax.errors import UserError
from wae_jax.runtime import tables
from wae_jax.study import paired
from wae_jax.study.measure import Cell, Times
from wae_jax.study.paired import Estimate
from wae_jax.study.rows import Row
from wae_jax.study.runs import Run


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
