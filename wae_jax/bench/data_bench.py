"""Speed of the input pipeline that training with a config would use, and of its parts."""

import contextlib
import dataclasses
import statistics
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from wae_jax import data
from wae_jax.bench.torchvision_peer import torchvision_batches
from wae_jax.config import DataSettings
from wae_jax.data import order
from wae_jax.runtime import tables
from wae_jax.runtime.machine import usable_cores

Batches = Generator[int, None, None]  # sizes of batches, as they are made
_ROUNDS = 2  # each pipeline is measured so often, in turns


@dataclasses.dataclass(frozen=True)
class Row:
    """One pipeline; memory is resident, of all its processes, shared pages counted in each."""

    pipeline: str
    workers: int
    cores: int
    images_per_s: float
    mb_per_s: float  # encoded bytes
    kb_per_image: float
    batch_size: int
    image_size: int
    peak_memory_mb: float


@dataclasses.dataclass(frozen=True)
class Part:
    """Microseconds per image of one part, alone on one core."""

    part: str
    us_per_image: float


class _TimedImage:
    """An encoded image that adds up the time its decoding takes."""

    def __init__(self, encoded: bytes, clock: dict[str, float]):
        self._clock = clock
        with self._timed():
            self._image = data.EncodedImage(encoded)
        self.shape, self.turn = self._image.shape, self._image.turn

    @contextlib.contextmanager
    def _timed(self):
        began = time.perf_counter()
        yield
        self._clock["decode"] += time.perf_counter() - began

    def region(self, *arguments, **options) -> np.ndarray:
        with self._timed():
            return self._image.region(*arguments, **options)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        with self._timed():
            return np.asarray(self._image)


def measure_parts(source: data.Source, transform: data.Transform, count: int) -> list[Part]:
    """Time of reading, decoding, cropping and resizing, and of putting the batch together.

    The last is the rest: order, random numbers, and whatever is not one of the others.
    """
    clock = dict.fromkeys(("read", "decode", "transform", "all"), 0.0)
    for start in range(0, count, 64):
        began = time.perf_counter()
        positions = np.arange(start, min(count, start + 64))
        epochs, records = order.train_records(positions, seed=0, num_examples=len(source))
        draws = order.uniforms(0, epochs, records, transform.draws)
        reading = time.perf_counter()
        encoded = source.read(records)
        clock["read"] += time.perf_counter() - reading
        images: Iterator[Any] = (_TimedImage(item, clock) for item, _ in encoded)
        transforming = time.perf_counter()
        transform(images, draws)
        clock["transform"] += time.perf_counter() - transforming
        clock["all"] += time.perf_counter() - began
    times = {
        "read": clock["read"],
        "decode": clock["decode"],
        "crop and resize": clock["transform"] - clock["decode"],
        "batch": clock["all"] - clock["read"] - clock["transform"],
    }
    return [Part(part, 1e6 * seconds / count) for part, seconds in times.items()]


@contextlib.contextmanager
def _peak_memory() -> Iterator[dict[str, float]]:
    """Watches this process and the children it has now; "mb" is right after the block."""
    found, done = {"mb": 0.0}, threading.Event()
    process = psutil.Process()
    # Listing children takes long enough to be seen in the rates: only once.
    watched = [process, *process.children(recursive=True)]

    def watch():
        while True:
            total = 0
            for each in watched:
                with contextlib.suppress(psutil.Error):
                    total += each.memory_info().rss
            found["mb"] = max(found["mb"], total / 1e6)
            if done.wait(0.2):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def measure_rate(batches: Iterator[int], seconds: float, warm_up: int) -> tuple[float, float]:
    """Images/s and peak memory in MB of an iterator over batch sizes, after some first batches."""
    for _ in range(warm_up):
        next(batches)
    with _peak_memory() as peak:
        began, images, took = time.perf_counter(), 0, 0.0
        while took < seconds:
            images += next(batches)
            took = time.perf_counter() - began
    return images / took, peak["mb"]


def _our_batches(records, transform, mix, batch_size: int, workers: int) -> Batches:
    with data.make_train_loader(
        records, transform, mix=mix, batch_size=batch_size, seed=0, workers=workers
    ) as loader:
        for batch in loader:
            yield len(batch["label"])


def run_data_bench(
    d: DataSettings, batch_size: int, *, seconds: float, workers: tuple[int, ...], peer: str | None
) -> tuple[list[Row], list[Part]]:
    """Measures the training pipeline of `d`.

    seconds: for all pipelines together, warm-up not counted.
    workers: how many worker processes to try; 0 for threads.
    peer: "torchvision" or None.

    Raises:
        UserError: no such data, or the peer is not installed.
    """
    source = data.open_split(d, d.train_split)
    records = data.DecodedRecords(source, data.Reading.of(d))  # shared, as in training
    transform, mix = data.train_transform(d), data.make_mix(d)
    sample = np.linspace(0, len(source) - 1, min(len(source), 1000)).astype(int)
    image_bytes = statistics.fmean(len(encoded) for encoded, _ in source.read(sample))
    with tempfile.TemporaryDirectory() as folder:
        pipelines = [
            (
                "wae_jax, " + (f"{n} workers" if n else "threads"),
                n,
                lambda n=n: _our_batches(records, transform, mix, batch_size, n),
            )
            for n in workers
        ]
        if peer:
            read = torchvision_batches(source, Path(folder), d.image_size, batch_size)
            pipelines += [
                (f"torchvision, {n} workers", n, lambda n=n: read(n))
                for n in sorted({0, *workers, usable_cores()})
            ]
        rates: dict[str, list[float]] = {}
        memory: dict[str, float] = {}
        for _ in range(_ROUNDS):
            for name, n, start in pipelines:
                with contextlib.closing(start()) as batches:
                    rate, peak = measure_rate(
                        batches,
                        seconds / _ROUNDS / len(pipelines),
                        warm_up=2 * max(1, n or usable_cores()),
                    )
                rates.setdefault(name, []).append(rate)
                memory[name] = max(memory.get(name, 0.0), peak)
    rows = [
        Row(
            name,
            n,
            usable_cores(),
            statistics.fmean(rates[name]),
            statistics.fmean(rates[name]) * image_bytes / 1e6,
            image_bytes / 1e3,
            batch_size,
            d.image_size,
            memory[name],
        )
        for name, n, _ in pipelines
    ]
    return rows, measure_parts(source, transform, 512)


def as_text(rows: list[Row], parts: list[Part]) -> str:
    """Two Markdown tables."""
    pipelines = [["pipeline", "images/s", "MB/s", "peak memory, MB"]]
    pipelines += [
        [r.pipeline, f"{r.images_per_s:.0f}", f"{r.mb_per_s:.1f}", f"{r.peak_memory_mb:.0f}"]
        for r in rows
    ]
    times = [["part, alone on one core", "us per image"]]
    times += [[p.part, f"{p.us_per_image:.0f}"] for p in parts]
    first = rows[0]
    return (
        f"{first.kb_per_image:.1f} KB a photo, to {first.image_size} pixels, batches of "
        f"{first.batch_size}, {first.cores} core(s)\n\n"
        f"{tables.markdown(pipelines)}\n\n{tables.markdown(times)}"
    )
