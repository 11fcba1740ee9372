"""Times of exported files, ours or anybody's, in the runtimes that serve them."""

import dataclasses
import functools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax.bench.runtimes import JAX, TORCH, check_runtimes, worker_threads
from wae_jax.bench.timing import Call, time_in_passes
from wae_jax.bench.worker import Worker
from wae_jax.errors import UserError
from wae_jax.export import stablehlo
from wae_jax.export.runtimes import RUNTIMES, TITLES, OpenFile
from wae_jax.runtime import tables
from wae_jax.runtime.console import say

SUFFIXES = {".onnx": tuple(RUNTIMES), ".stablehlo": (JAX,)}


@dataclasses.dataclass(frozen=True)
class FileRow:
    """Times of one file in one runtime.

    ready_s: seconds to load it. latency_*: milliseconds of a call with the whole batch: median,
    10th and 90th percentile. speedup: against the first file in the same runtime and batch size,
    with its 95 % interval.
    """

    file: str
    runtime: str
    batch_size: int
    ready_s: float
    latency_ms: float
    latency_p10_ms: float
    latency_p90_ms: float
    images_per_s: float
    speedup: float
    speedup_low: float
    speedup_high: float


def time_files(
    paths: Sequence[str], runtimes: Sequence[str], batch_sizes: Sequence[int], *, seconds: float
) -> list[FileRow]:
    """Times files against each other, on random input.

    Args:
        paths: ``.onnx`` files with one input, its first side the batch; ``.stablehlo`` files.
        runtimes: those asked for; a file is timed in the ones that read its kind.
        batch_sizes: for files that take any batch; others are timed with their own.
        seconds: of timing for each runtime and batch size, all files together.

    Raises:
        UserError: A file or runtime that cannot be used, or a file that no runtime reads.
    """
    _check(paths, runtimes)
    cells: dict[tuple[int, str], dict[str, tuple]] = {}
    ready: dict[tuple, float] = {}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(TITLES[name])) for name in runtimes}
        for name, path in ((n, p) for n in runtimes for p in paths):
            if name not in SUFFIXES[Path(path).suffix.lower()]:
                continue
            say(f"loading {path} in {TITLES[name]}")
            own = workers[name].add(path, functools.partial(_own_batch, name, path)) and int(
                workers[name].run(path)
            )
            for batch in [own] if own else batch_sizes:
                key = path, batch
                make = functools.partial(_call, name, path, batch, worker_threads())
                ready[name, *key] = workers[name].add(key, make)
                cells.setdefault((batch, name), {})[path] = key
        timings = time_in_passes(
            {cell: functools.partial(workers[cell[1]].time, keys) for cell, keys in cells.items()},
            seconds=seconds,
        )
    rows = []
    for (batch, name), timing in sorted(timings.items()):
        first = next(iter(timing.ms))
        for path, ms in timing.ms.items():
            ratio = (1.0, 1.0, 1.0) if path == first else timing.speedup(first, path)
            middle = timing.median(path)
            low, high = (float(np.percentile(ms, p)) for p in (10, 90))
            rows.append(
                FileRow(
                    path,
                    name,
                    batch,
                    ready[name, path, batch],
                    middle,
                    low,
                    high,
                    1e3 * batch / middle,
                    *ratio,
                )
            )
    return rows


def as_text(rows: Sequence[FileRow], environment: dict[str, Any]) -> str:
    """A Markdown table, and where it was measured."""
    lines = [["file", "runtime", "batch", "ms [p10, p90]", "images/s", "against the first [95 %]"]]
    lines += [
        [
            row.file,
            f"{TITLES[row.runtime]} {environment.get(row.runtime) or ''}".strip(),
            str(row.batch_size),
            f"{row.latency_ms:.4g} [{row.latency_p10_ms:.4g}, {row.latency_p90_ms:.4g}]",
            f"{row.images_per_s:.4g}",
            f"{row.speedup:.2f}x [{row.speedup_low:.2f}, {row.speedup_high:.2f}]",
        ]
        for row in rows
    ]
    head = f"{environment['cpu']}, {worker_threads()} threads, {environment['date']}"
    return f"{head}\n\n{tables.markdown(lines)}"


def _check(paths: Sequence[str], runtimes: Sequence[str]) -> None:
    check_runtimes(runtimes, "cpu")
    for path in paths:
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            raise UserError(f"--input: {path} does not end in {' or '.join(SUFFIXES)}")
        if not Path(path).is_file():
            raise UserError(f"--input: no file {path}")
        if not set(SUFFIXES[suffix]) & set(runtimes):
            raise UserError(
                f"--input: {path} runs in {' and '.join(SUFFIXES[suffix])}, and --runtimes names "
                f"{', '.join(runtimes)}"
            )
    if TORCH in runtimes:
        raise UserError("--input: PyTorch runs none of these files; leave it out of --runtimes")


def _open(runtime: str, path: str, threads: int) -> OpenFile:
    if runtime in RUNTIMES:
        return RUNTIMES[runtime](Path(path), threads)
    file = stablehlo.load(path)
    shape = (file.batch, file.size, file.size, 3)
    return OpenFile(file, shape, np.dtype(np.uint8))


def _own_batch(runtime: str, path: str) -> Call:
    """The batch of a file, 0 for any."""
    batch = _open(runtime, path, 1).shape[0]
    return lambda: np.array(batch or 0)


def _call(runtime: str, path: str, batch: int, threads: int) -> Call:
    file = _open(runtime, path, threads)
    sides = file.shape[1:]
    if None in sides:
        raise UserError(f"{path} leaves more than the batch open: {file.shape}")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *sides)).astype(file.dtype)

    def call():
        return next(iter(file.call(images).values()))

    return call
