"""The networks of a benchmark in other runtimes, each of them in a process of its own.

OpenMP's threads spin for a while after a call and would slow whatever runs next in the same
process; in turn, in processes of their own, no runtime disturbs another. All
compute in float32 with as many threads as XLA has, from the same weights, and must give the scores
of JAX before anything is timed.
"""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from wae_jax.bench.measure import Job, Program, random_images
from wae_jax.bench.networks import Network
from wae_jax.bench.timing import Call
from wae_jax.bench.torch_layers import import_torch
from wae_jax.bench.torch_network import TorchTwin, has_twin
from wae_jax.bench.worker import Worker
from wae_jax.errors import UserError
from wae_jax.export import formats
from wae_jax.export.runtimes import RUNTIMES, TITLES, check_extra
from wae_jax.inference.fold import for_inference
from wae_jax.runtime.console import say
from wae_jax.runtime.machine import cpu_threads, usable_cores

JAX, TORCH = "jax", "torch"
NAMES = (JAX, *RUNTIMES, TORCH)
TOLERANCE = 1e-4  # of the largest score


def check_runtimes(names: Sequence[str], platform: str) -> None:
    """Finds out whether all can be had, before anything is computed.

    Raises:
        UserError: An unknown one, a package is missing, or the device is no CPU.
    """
    for name in names:
        if name not in NAMES:
            raise UserError(f"--runtimes: there is no {name!r}; there are: {', '.join(NAMES)}")
        for package in {JAX: (), TORCH: (TORCH,)}.get(name, ("onnx", name)):
            check_extra(package)
    if platform != "cpu" and set(names) - {JAX}:
        raise UserError("--runtimes compares on the CPU; add --devices=cpu")


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """Jobs in the process of one runtime."""

    worker: Worker
    jobs: list[Job]

    def timers(self) -> dict[tuple, functools.partial]:
        """What times each cell, as :func:`wae_jax.bench.timing.time_in_passes` takes it."""
        cells: dict[tuple, dict[str, tuple]] = {}
        for job in self.jobs:
            cells.setdefault(job.cell, {})[job.network.method] = _key(job)
        return {cell: functools.partial(self.worker.time, keys) for cell, keys in cells.items()}


@contextlib.contextmanager
def elsewhere(names: Sequence[str], jobs: Sequence[Job]) -> Iterator[list[Elsewhere]]:
    """The float32 jobs of scope "model" in each runtime but JAX, found to give JAX's scores.

    Raises:
        UserError: An operation that ONNX lacks, or scores that differ.
    """
    names = [name for name in names if name != JAX]
    jobs = [job for job in jobs if job.scope == "model" and job.network.dtype == "float32"]
    with contextlib.ExitStack() as stack:
        places = [Elsewhere(stack.enter_context(Worker(TITLES[name])), []) for name in names]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wae_jax_")))
        for job in jobs if places else ():
            expected = np.asarray(job.call())
            path = folder / "network.onnx"
            if set(names) - {TORCH}:
                write_onnx(job.network, job.batch_size, path)
            for name, place in zip(names, places, strict=True):
                if name == TORCH and not has_twin(job.network.model):
                    say(f"no PyTorch twin of {job.network.method}: left out there")
                    continue
                say(f"loading {job.network.method} for batch {job.batch_size} in {TITLES[name]}")
                place.jobs.append(_add(place.worker, name, job, path, expected))
            path.unlink(missing_ok=True)
        yield places


def write_onnx(network: Network, batch_size: int | None, path: Path) -> None:
    """A network as an ONNX file in its plain layout; see :func:`wae_jax.export.formats.write_onnx`.

    batch_size: None for any.
    """
    # For another platform than CPU: the plain convs.
    model, variables = for_inference(
        network.trained_model, network.trained_variables, platform="cuda"
    )
    exported = formats.Network(model, variables, network.image_size, batch_size, {})
    formats.write_onnx(exported, path)


def onnx_call(runtime: str, path: Path, shape: tuple[int, ...], threads: int) -> Call:
    """What an exported file makes of random uint8 images of a shape (B, H, W, C)."""
    call = RUNTIMES[runtime](path, threads).call
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return lambda: call(images)[formats.SCORES]


def torch_call(model, variables, batch_size: int, size: int, threads: int) -> Call:
    """Classifies random images with the PyTorch twin of a classifier in its inference form."""
    torch = import_torch()
    torch.set_num_threads(threads)
    twin, images = TorchTwin(model, variables), torch.from_numpy(random_images(batch_size, size))

    def call():
        with torch.inference_mode():
            return twin(images)

    return call


def worker_threads() -> int:
    """As many as XLA has, but no more than there are cores: others spin while they wait."""
    return min(cpu_threads(), usable_cores())


def _key(job: Job) -> tuple[str, int]:
    return job.network.method, job.batch_size


def _add(worker: Worker, name: str, job: Job, path: Path, expected: np.ndarray) -> Job:
    """The job in the worker's process."""
    network = job.network
    common = job.batch_size, network.image_size, worker_threads()
    if name == TORCH:
        weights = jax.device_get(network.variables)
        make = functools.partial(torch_call, network.model, weights, *common)
    else:
        shape = job.batch_size, network.image_size, network.image_size, 3
        make = functools.partial(onnx_call, name, path, shape, worker_threads())
    made_s = worker.add(_key(job), make)
    found = worker.run(_key(job))
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:  # also where it is no number
        raise UserError(
            f"{TITLES[name]} and JAX do not give the same scores for {network.method}: relative "
            f"difference {difference:.1e}, allowed {TOLERANCE:.0e}; not timed"
        )
    program = Program(lambda: None, made_s, None, None)
    return dataclasses.replace(job, runtime=name, call=program.run, program=program)
