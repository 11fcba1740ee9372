"""Times of a study's networks against each other, ``WORKDIR/times.json``."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from wae_jax.bench.environment import environment, pick_device
from wae_jax.bench.measure import model_job
from wae_jax.bench.networks import Network
from wae_jax.bench.timing import Call, Timings, time_in_passes
from wae_jax.checkpoints import folders
from wae_jax.errors import UserError
from wae_jax.runtime import files
from wae_jax.runtime.console import say
from wae_jax.study import runs
from wae_jax.study.load import Watch
from wae_jax.study.runs import Run
from wae_jax.study.study import trained_network

TIMES_FILE = "times.json"
BATCH_SIZES = (1, 32)
TIMING_SECONDS = 4.0  # for each batch size, all variants

# A runtime and a batch size, in which networks are timed against each other.
Cell = tuple[str, int]


def _jax_call(network: Network, batch_size: int, device: jax.Device) -> Call:
    return model_job(network, batch_size, device).call


# What each runtime calls to classify a batch. Every one is timed on its own, so that the threads
# of one cannot disturb another's; each adds its own columns.
RUNTIMES: Mapping[str, Callable[[Network, int, jax.Device], Call]] = {"jax": _jax_call}


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
        """Median; None for a variant that was not timed."""
        if variant not in self.timed_as:
            return None
        return self.cells[cell].median(self.timed_as[variant]) / cell[1]

    def speedup(self, base: str, variant: str, cell: Cell) -> tuple[float, float, float] | None:
        """Against ``base``, with its 95 % interval; None where one of them was not timed."""
        if not {base, variant} <= self.timed_as.keys():
            return None
        names = self.timed_as[base], self.timed_as[variant]
        return self.cells[cell].speedup(*names) if len(set(names)) == 2 else (1.0, 1.0, 1.0)

    @property
    def warnings(self) -> list[str]:
        """Sentences about what disturbed the measurement."""
        return [load["warning"] for load in self.environment["load"].values() if load["warning"]]


def measure(workdir: str, found: Sequence[Run], seconds: float = 0.0) -> Times:
    """Times the networks of finished runs in turn, and keeps the result in the folder.

    Networks of equal layers are timed once. Those of which no checkpoint is left are left out.

    Args:
        workdir: The study's folder.
        found: Its finished runs.
        seconds: Of timing for each runtime and batch size; 0: ``TIMING_SECONDS``.

    Raises:
        UserError: No run has a checkpoint any more.
    """
    device = pick_device("")
    networks, timed_as = _networks(workdir, found)
    record, loads = environment(device), {}
    cells: dict[Cell, Timings] = {}
    for runtime, make_call in RUNTIMES.items():
        calls = {}
        for batch in BATCH_SIZES:
            say(f"compiling {len(networks)} networks for batch {batch}")
            calls[runtime, batch] = {
                name: make_call(network, batch, device) for name, network in networks.items()
            }
        watch = Watch()
        cells |= time_in_passes(calls, seconds=seconds or TIMING_SECONDS)
        loads[runtime] = watch.stop().record("the timing")
    times = Times({**record, "load": loads}, timed_as, cells)
    _write(Path(workdir) / TIMES_FILE, times)
    return times


def _networks(workdir: str, found: Sequence[Run]) -> tuple[dict[str, Network], dict[str, str]]:
    """One network of every kind by the name of its first variant, and that name by variant."""
    names: dict[str, str] = {}  # by kind
    networks: dict[str, Network] = {}
    for run in found:
        folder = runs.folder_of(workdir, run.variant, run.seed)
        if _kind(run) in names or not (Path(folder) / folders.FOLDER).is_dir():
            continue
        network = trained_network(run.variant, folders.find(folder))
        # What training needs beside the inference form is not held while others are timed.
        networks[run.variant] = dataclasses.replace(network, trained_variables=None)
        names[_kind(run)] = run.variant
    if not networks:
        raise UserError(f"{workdir} has no finished run with a checkpoint: nothing can be timed")
    lacking = [run.variant for run in found if _kind(run) not in names]
    if lacking:
        say(f"not timed, as their checkpoints are gone: {', '.join(dict.fromkeys(lacking))}")
    return networks, {r.variant: names[_kind(r)] for r in found if _kind(r) in names}


def _kind(run: Run) -> str:
    """The same for networks of the same layers and image size."""
    return json.dumps([run.config["model"], run.image_size], sort_keys=True)


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
