"""Results as Markdown, CSV and JSON."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wae_jax.bench import runtimes
from wae_jax.bench.breakdown import Part
from wae_jax.bench.exported import FileRow
from wae_jax.bench.measure import Row
from wae_jax.bench.run import Results
from wae_jax.bench.torch_peer import PeerRow
from wae_jax.export.runtimes import TITLES as RUNTIME_TITLES
from wae_jax.runtime import tables

TITLES = {
    "model": "network alone",
    "end_to_end": "end to end, from JPEG bytes",
    "train_step": "one training step",
}


def record(item: Row | Part | PeerRow | FileRow) -> dict[str, Any]:
    """A dataclass as a JSON-able dict; floats to six significant digits."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in dataclasses.asdict(item).items()
    }


def as_json(results: Results) -> str:
    """{"environment", "networks", "rows", "breakdown", "peer", "warnings"}; absent figures null."""
    return (
        json.dumps(
            {
                "environment": results.environment,
                "networks": results.networks,
                "rows": [record(row) for row in results.rows],
                "breakdown": [record(part) for part in results.breakdown],
                "peer": [record(row) for row in results.peer],
                "warnings": results.warnings,
            },
            indent=1,
            allow_nan=False,
        )
        + "\n"
    )


def write_csv(results: Results, path: Path) -> None:
    """One line per row, and the environment beside it as ``NAME.env.json``."""
    tables.write_csv(path, [record(row) for row in results.rows], results.environment)


def _number(value: float | None, form: str = ".3g", scale: float = 1.0) -> str:
    return "-" if value is None else format(value * scale, form)


def _interval(values: Sequence[float | None]) -> str:
    return "-" if values[0] is None else "{:.2f}x [{:.2f}, {:.2f}]".format(*values)


def _row_table(rows: Sequence[Row]) -> str:
    with_throughput = any(row.throughput_images_per_s is not None for row in rows)
    with_accuracy = any(row.top1 is not None for row in rows)
    heads = [
        "method",
        "params M",
        "GMACs / image",
        "MAC ratio",
        "speed-up [95 %]",
        "ms [p10, p90]",
        "images/s",
        "temp MB",
        "compile s",
    ]
    heads += ["images/s, queued"] * with_throughput + ["top-1 %", "top-5 %"] * with_accuracy
    lines = [heads]
    for row in rows:
        accuracy = [_number(value, ".2f", 100.0) for value in (row.top1, row.top5)]
        lines.append(
            [
                row.method,
                f"{row.params / 1e6:.3f}",
                f"{row.macs / 1e9:.4f}",
                "-" if row.mac_ratio is None else f"{row.mac_ratio:.2f}x",
                _interval((row.speedup, row.speedup_low, row.speedup_high)),
                f"{row.latency_ms:.4g} [{row.latency_p10_ms:.4g}, {row.latency_p90_ms:.4g}]",
                f"{row.images_per_s:.4g}",
                _number(row.peak_temp_bytes, ".1f", 1e-6),
                f"{row.compile_s:.1f}",
                *([_number(row.throughput_images_per_s, ".4g")] if with_throughput else []),
                *(accuracy if with_accuracy else []),
            ]
        )
    return tables.markdown(lines)


def runtime_title(runtime: str, environment: dict[str, Any]) -> str:
    """Name and version."""
    return f"{RUNTIME_TITLES[runtime]} {environment.get(runtime) or ''}".strip()


def _side_by_side(rows: Sequence[Row], environment: dict[str, Any]) -> list[str]:
    """A table of all runtimes, where there are several: ms of a call, speed-up over full."""
    rows = [row for row in rows if row.scope == "model" and row.dtype == "float32"]
    names = list(dict.fromkeys(row.runtime for row in rows))
    if len(names) < 2:
        return []
    lines = [["method", "batch", *(f"{runtime_title(name, environment)}, ms" for name in names)]]
    for (method, batch), members in _groups(rows, "method", "batch_size").items():
        of = {row.runtime: row for row in members}
        lines.append(
            [
                method,
                str(batch),
                *(
                    f"{of[name].latency_ms:.4g} ({_number(of[name].speedup, '.2f')}x)"
                    if name in of
                    else "-"
                    for name in names
                ),
            ]
        )
    return ["### runtimes, each in its own process", tables.markdown(lines)]


def _part_table(parts: Sequence[Part]) -> str:
    lines = [["method", "part", "MMACs / image", "ms"]]
    lines += [[p.method, p.part, f"{p.macs / 1e6:.2f}", f"{p.latency_ms:.4g}"] for p in parts]
    return tables.markdown(lines)


def _peer_table(rows: Sequence[PeerRow]) -> str:
    lines = [
        [
            "method",
            "batch",
            "JAX ms",
            "PyTorch ms",
            "JAX / PyTorch time [95 %]",
            "largest relative difference",
        ]
    ]
    lines += [
        [
            r.method,
            str(r.batch_size),
            f"{r.jax_ms:.4g}",
            f"{r.torch_ms:.4g}",
            _interval((r.ratio, r.ratio_low, r.ratio_high)),
            f"{r.difference:.1e}",
        ]
        for r in rows
    ]
    return tables.markdown(lines)


def _groups(items: Iterable[Any], *names: str) -> dict[tuple, list[Any]]:
    """Items by the values of their attributes ``names``, in order."""
    groups: dict[tuple, list[Any]] = {}
    for item in items:
        groups.setdefault(tuple(getattr(item, name) for name in names), []).append(item)
    return groups


def as_text(results: Results) -> str:
    """Everything as Markdown: one table per measurement, batch size and dtype, then warnings."""
    env, first = results.environment, results.rows[0]
    blocks = [
        f"{first.backbone}, {first.image_size} pixels, on {env['device']} "
        f"({env['backend']}, {env['cpu_threads']} CPU threads), jax {env['jax']}, "
        f"XLA_FLAGS={env['xla_flags'] or '(none)'}, {env['date']}"
    ]
    groups = _groups(results.rows, "scope", "dtype", "batch_size", "runtime")
    for (scope, dtype, batch, runtime), rows in groups.items():
        where = "" if runtime == runtimes.JAX else f", {runtime_title(runtime, env)}"
        blocks += [f"### {TITLES[scope]}: batch {batch}, {dtype}{where}", _row_table(rows)]
    blocks += _side_by_side(results.rows, env)
    for (dtype, batch), parts in _groups(results.breakdown, "dtype", "batch_size").items():
        blocks += [f"### parts, each alone: batch {batch}, {dtype}", _part_table(parts)]
    for (scope,), rows in _groups(results.peer, "scope").items():
        blocks += [f"### JAX against PyTorch: {TITLES[scope]}, float32", _peer_table(rows)]
    return "\n\n".join(blocks + [f"WARNING: {text}" for text in results.warnings])
