"""Jobs, the rows that their times become, and the compiling of a function for timing."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.bench.environment import device_name
from wae_jax.bench.macs import count_macs, xla_flops
from wae_jax.bench.networks import Network
from wae_jax.bench.timing import Call, Timings, speedup

BASE = "full"  # the method that speed-ups and MAC ratios are relative to


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the results.

    runtime: what computed, one of :data:`wae_jax.bench.runtimes.NAMES`; compile_s is how long it
        took to get ready.
    scope: "model" (the network alone, input on the device), "end_to_end" (JPEG bytes to scores,
        one host thread) or "train_step" (one optimiser step).
    params: of the inference form, without decoder; of the trained form for "train_step".
    macs: per image, front end included. xla_flops: XLA's own count, per image.
    throughput_images_per_s: of calls that are queued, not waited for one by one.
    latency_*: milliseconds of one call with the whole batch: median, 10th and 90th percentile.
    peak_temp_bytes: XLA's scratch memory, without weights, input and output.
    speedup: against "full" in the same runtime, scope, batch size and dtype, with its 95 %
        interval.
    top1, top5: fractions. rounds: how often each call was timed.
    A figure that does not exist is None.
    """

    runtime: str
    scope: str
    method: str
    backbone: str
    image_size: int
    batch_size: int
    dtype: str
    backend: str
    device: str
    params: int
    macs: int
    xla_flops: float | None
    compile_s: float
    latency_ms: float
    latency_p10_ms: float
    latency_p90_ms: float
    images_per_s: float
    throughput_images_per_s: float | None
    peak_temp_bytes: int | None
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    mac_ratio: float | None
    top1: float | None
    top5: float | None
    rounds: int


@dataclasses.dataclass(frozen=True)
class Program:
    """A function compiled ahead of time, and what the compiler says about it."""

    run: Callable
    compile_s: float
    xla_flops: float | None  # per call
    peak_temp_bytes: int | None


@dataclasses.dataclass(frozen=True)
class Job:
    """One thing to time, and what is known of it before. ``call`` handles a whole batch."""

    scope: str
    network: Network
    batch_size: int
    call: Call
    program: Program
    params: int
    macs: int  # per image
    runtime: str = "jax"

    @property
    def cell(self) -> tuple[str, str, int, str]:
        """Jobs of one cell are timed against each other."""
        return self.scope, self.network.dtype, self.batch_size, self.runtime


def compile_ahead(fn: Callable, *args: Any, **jit_options: Any) -> Program:
    """Compiles ``fn`` for arguments like ``args``, on the device where these live."""
    began = time.perf_counter()
    compiled = jax.jit(fn, **jit_options).lower(*args).compile()
    seconds = time.perf_counter() - began
    memory = compiled.memory_analysis()
    return Program(
        compiled,
        seconds,
        xla_flops(compiled),
        None if memory is None else memory.temp_size_in_bytes,
    )


def count_params(params: Any) -> int:
    """Numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def random_images(batch_size: int, size: int) -> np.ndarray:
    """uint8 (B, S, S, 3), the same ones at each call."""
    return np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)


def model_job(network: Network, batch_size: int, device: jax.Device) -> Job:
    """The network alone: weights and images are arguments that live on the device."""
    images = jax.device_put(random_images(batch_size, network.image_size), device)
    variables = jax.device_put(network.variables_for(batch_size), device)
    program = compile_ahead(network.scores, variables, images)
    # Of the plain convs: how the program computes them is not the network's cost.
    lowered = jax.jit(network.scores).lower(network.variables, images)
    program = dataclasses.replace(program, xla_flops=xla_flops(lowered))
    return Job(
        "model",
        network,
        batch_size,
        lambda: program.run(variables, images),
        program,
        count_params(network.variables["params"]),
        inference_macs(network),
    )


def inference_macs(network: Network) -> int:
    """MACs of one image, front end included."""
    size = network.image_size
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    return count_macs(network.scores, network.variables, image).total


def rows_of_cell(jobs: Iterable[Job], timings: Timings, device: jax.Device) -> list[Row]:
    """One row per job of a cell; ``timings`` has their methods' names."""
    jobs = list(jobs)
    base = next((job for job in jobs if job.network.method == BASE), None)
    rows = []
    for job in jobs:
        network, ms = job.network, timings.ms[job.network.method]
        faster: tuple[float | None, float | None, float | None] = (None, None, None)
        ratio = None
        if base is not None:
            faster = speedup(timings.ms[BASE], ms, blocks=timings.starts)
            ratio = base.macs / job.macs if job.macs else None
        if job is base:
            faster = (1.0, 1.0, 1.0)
        middle = float(np.median(ms))
        flops = job.program.xla_flops
        rows.append(
            Row(
                runtime=job.runtime,
                scope=job.scope,
                method=network.method,
                backbone=network.backbone,
                image_size=network.image_size,
                batch_size=job.batch_size,
                dtype=network.dtype,
                backend=device.platform,
                device=device_name(device),
                params=job.params,
                macs=job.macs,
                xla_flops=None if flops is None else flops / job.batch_size,
                compile_s=job.program.compile_s,
                latency_ms=middle,
                latency_p10_ms=float(np.percentile(ms, 10)),
                latency_p90_ms=float(np.percentile(ms, 90)),
                images_per_s=1e3 * job.batch_size / middle,
                throughput_images_per_s=None,
                peak_temp_bytes=job.program.peak_temp_bytes,
                speedup=faster[0],
                speedup_low=faster[1],
                speedup_high=faster[2],
                mac_ratio=ratio,
                top1=network.top1,
                top5=network.top5,
                rounds=len(ms),
            )
        )
    return rows
