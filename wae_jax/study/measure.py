"""Times of a study's networks against each other, ``WORKDIR/times.json``."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax.bench.environment import environment, pick_device
from wae_jax.bench.networks import Network, build_network
from wae_jax.bench.places import open_place, platform_of, program_of
from wae_jax.bench.runtimes import JAX
from wae_jax.bench.timing import Timings, time_in_passes
from wae_jax.errors import UserError
from wae_jax.export.runtimes import TITLES
from wae_jax.runtime import files
from wae_jax.runtime.console import say
from wae_jax.study import runs
from wae_jax.study.load import Watch
from wae_jax.study.runs import Run
from wae_jax.study.variants import is_int8

TIMES_FILE = "times.json"
BATCH_SIZES = (1, 32)
TIMING_SECONDS = 4.0  # for each batch size, all variants

# A runtime and a batch size, in which networks are timed against each other.
Cell = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Times:
    """What was measured.

    Attributes:
        environment: See :func:`wae_jax.bench.environment.environment`, with ``load`` (of every
            runtime, see :meth:`wae_jax.study.load.Load.record`).
        timed_as: Variant -> name of the network in ``cells`` that has its layers: they are timed
            once, whatever their weights.
        cells: Milliseconds of every call.
    """

    environment: dict[str, Any]
    timed_as: dict[str, str]
    cells: dict[Cell, Timings]

    def ms_per_image(self, variant: str, cell: Cell) -> float | None:
        """Median; None for a variant that was not timed: int8 is not in JAX."""
        if not self._has(variant, cell):
            return None
        return self.cells[cell].median(self.timed_as[variant]) / cell[1]

    def _has(self, variant: str, cell: Cell) -> bool:
        return self.timed_as.get(variant) in self.cells[cell].ms

    def speedup(self, base: str, variant: str, cell: Cell) -> tuple[float, float, float] | None:
        """Against ``base``, with its 95 % interval; None where one of them was not timed."""
        if not (self._has(base, cell) and self._has(variant, cell)):
            return None
        names = self.timed_as[base], self.timed_as[variant]
        return self.cells[cell].speedup(*names) if len(set(names)) == 2 else (1.0, 1.0, 1.0)

    @property
    def warnings(self) -> list[str]:
        """Sentences about what disturbed the measurement."""
        return [load["warning"] for load in self.environment["load"].values() if load["warning"]]


def measure(
    workdir: str, found: Sequence[Run], seconds: float = 0.0, runtimes: Sequence[str] = (JAX,)
) -> Times:
    """Times the networks of finished runs in turn, and keeps the result in the folder.

    Networks of equal layers are timed once, with random weights: a call takes as long with any, and
    checkpoints need not be there any more.

    Args:
        workdir: The study's folder.
        found: Its finished runs.
        seconds: Of timing for each runtime and batch size; 0: ``TIMING_SECONDS``.
        runtimes: Each is timed on its own, so that the threads of one cannot disturb another's, and
            adds its own columns. See :data:`wae_jax.bench.places.NAMES`.

    Raises:
        UserError: No such runtime, or a network that it cannot run.
    """
    first: dict[str, Run] = {}  # of every kind
    for run in found:
        first.setdefault(_kind(run), run)
    record, loads = environment(pick_device("")), {}
    cells: dict[Cell, Timings] = {}
    for runtime in runtimes:
        with contextlib.closing(open_place(runtime)) as place:
            keys: dict[Cell, dict[str, tuple]] = {}
            for run in first.values():
                int8 = is_int8(run.variant)
                if int8 and runtime == JAX:
                    continue
                say(f"loading {run.variant} in {TITLES[runtime]}")
                network = _network(run, workdir, runtime)
                for batch in BATCH_SIZES:
                    key = run.variant, batch
                    program = program_of(network, runtime, batch)
                    place.add(key, program._replace(int8=True) if int8 else program)
                    keys.setdefault((runtime, batch), {})[run.variant] = key
            watch = Watch()
            cells |= time_in_passes(
                {cell: functools.partial(place.time, each) for cell, each in keys.items()},
                seconds=seconds or TIMING_SECONDS,
            )
            loads[runtime] = watch.stop().record("the timing")
    timed_as = {run.variant: first[_kind(run)].variant for run in found}
    times = Times({**record, "load": loads}, timed_as, cells)
    _write(Path(workdir) / TIMES_FILE, times)
    return times


def _network(run: Run, workdir: str, runtime: str) -> Network:
    settings = run.network_settings(workdir)
    network = build_network(
        run.variant,
        settings,
        settings.model.dtype,
        platform=platform_of(runtime),
        num_classes=1 + int(runs.numbers(run.labels).max()),
        for_times_only=True,
    )
    # What training needs beside the inference form is not held while others are timed.
    return dataclasses.replace(network, trained_variables=None)


def _kind(run: Run) -> str:
    """The same for networks of the same layers, precision and image size."""
    return json.dumps([run.layers, run.image_size, is_int8(run.variant)], sort_keys=True)


def _write(path: Path, times: Times) -> None:
    cells = [
        {
            "runtime": runtime,
            "batch_size": batch,
            "starts": list(timing.starts),
            "ms": {name: [round(float(x), 5) for x in ms] for name, ms in timing.ms.items()},
        }
        for (runtime, batch), timing in times.cells.items()
    ]
    held = {"environment": times.environment, "timed_as": times.timed_as, "cells": cells}
    files.write_atomically(path, json.dumps(held) + "\n")


def read_times(workdir: str) -> Times | None:
    """What :func:`measure` kept in a study's folder, if anything.

    Raises:
        UserError: The file is damaged.
    """
    path = Path(workdir) / TIMES_FILE
    if not path.exists():
        return None
    try:
        held = files.read_json(path)
        cells = {
            (cell["runtime"], cell["batch_size"]): Timings(
                {name: np.array(ms) for name, ms in cell["ms"].items()}, tuple(cell["starts"])
            )
            for cell in held["cells"]
        }
        return Times(held["environment"], held["timed_as"], cells)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} has no times that can be read; measure again") from error
