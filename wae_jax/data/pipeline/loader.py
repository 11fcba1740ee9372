"""Batches on Grain: a training stream that resumes exactly, and a padded pass for evaluation.

What is in batch k follows from (seed, batch size, data set, k) alone, see `order`. Threads or
worker processes only decide who computes it, so a run may resume with another number of workers or
of processes and sees the same images, cropped and flipped the same way. A Grain element is a whole
batch: per-element overhead is paid once per batch.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import grain
import numpy as np
from absl import flags

from wae_jax.data import order
from wae_jax.data.bad import Tally
from wae_jax.data.images import augment, transforms
from wae_jax.data.pipeline import batches
from wae_jax.data.pipeline.records import DecodedRecords
from wae_jax.errors import UserError
from wae_jax.runtime import process
from wae_jax.runtime.machine import usable_cores

# image uint8 (b, S, S, 3), label int32 (b,), mask float32 (b,): 1 for an example, 0 for padding.
Batch = dict[str, np.ndarray]

_ENDLESS = 1 << 62


class TrainLoader:
    """Iterator over training batches; knows the position after the last one handed out.

    Use `make_train_loader`. Closing it, or leaving its `with` block, ends threads and workers.
    """

    def __init__(self, dataset: grain.IterDataset, position: dict[str, Any], tally: Tally):
        self._position, self._tally = position, tally
        self._iterator = iter(dataset)

    def __iter__(self) -> "TrainLoader":
        return self

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        self._position["next_batch"] += 1
        self._tally.add(batch.pop("skipped", ()))
        return batch

    def state(self) -> dict[str, Any]:
        """Where the stream stands, fit for JSON; resume with its `next_batch` as `start_batch`."""
        return dict(self._position)

    def close(self) -> None:
        """Stops prefetching; logs how many bad records were skipped. May be called twice."""
        self._iterator.close()
        self._tally.report()

    def __enter__(self) -> "TrainLoader":
        return self

    def __exit__(self, *exc) -> None:
        self.close()


class EvalLoader:
    """One pass over a split per `iter()`; `len()` is its batches, the same in all processes."""

    def __init__(self, dataset: grain.IterDataset, num_batches: int, tally: Tally):
        self._dataset, self._num_batches, self._tally = dataset, num_batches, tally

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Batch]:
        iterator = iter(self._dataset)
        try:
            for batch in iterator:
                self._tally.add(batch.pop("skipped", ()))
                yield batch
        finally:
            iterator.close()
            self._tally.report()


def make_train_loader(
    records: DecodedRecords,
    transform: transforms.Transform,
    *,
    batch_size: int,
    seed: int,
    start_batch: int = 0,
    num_batches: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    threads: int | None = None,
    prefetch: int = 4,
    mix: augment.Mix | None = None,
    bad_records: str = "error",
) -> TrainLoader:
    """Makes the endless stream of shuffled epochs, batch by batch; nothing is dropped.

    Args:
        records: the split to train on; all loaders of one split share them.
        transform: from `augment.train_transform` or `transforms.make_transform(..., train=True)`.
        batch_size: examples per global batch, over all processes.
        seed: decides order, crops and flips; 0 <= seed < 2**63.
        start_batch: global batch to begin with; 0, or `next_batch` of a kept state.
        num_batches: batches to hand out before the end, or None for no end.
        process_index, process_count: this process gets the contiguous slice of each global batch
            that has its number.
        workers: processes that make batches; 0 for threads in this one. The script must guard its
            entry point by `if __name__ == "__main__":`, as workers import it.
        threads: threads that make batches, in this process or in each worker. Default: one per core
            for photos that are decoded here, else one.
        prefetch: batches made ahead, in this process or in each worker.
        mix: from `augment.make_mix`; adds "other_label" and "label_weight" to the batches.
        bad_records: what happens where a record cannot be used: "error" or "skip". A skipped record
            is replaced by another one, drawn from the seed, the epoch and the record itself: all
            others keep their place.

    Raises:
        UserError: the batch size cannot be shared evenly between the processes, or not in pairs
            to mix, or there is no such policy; on iterating: a bad record.
    """
    if mix:
        mix.check_batch_size("the batch size", batch_size, process_count)
    shard = order.Shard(batch_size, process_index, process_count)
    examples = batches.Examples(records, transform, seed, bad_records)
    source = records.source
    make_batch = batches.TrainBatches(examples, shard, mix)
    stop = _ENDLESS if num_batches is None else start_batch + num_batches
    dataset = _dataset(make_batch, start_batch, stop, workers, threads, prefetch)
    return TrainLoader(
        dataset,
        {
            "next_batch": start_batch,
            "seed": seed,
            "batch_size": batch_size,
            "num_examples": len(source),
            "source": source.info.name,
            "split": source.info.split,
        },
        Tally(repr(source)),
    )


def make_eval_loader(
    records: DecodedRecords,
    transform: transforms.Transform,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    threads: int | None = None,
    prefetch: int = 4,
    bad_records: str = "error",
) -> EvalLoader:
    """Makes the whole split in its own order, each example once over all processes.

    Every process gets the same number of batches of the same shape; what is missing at the end is
    filled with zeros and mask 0, and so are the places of skipped records. Arguments and errors are
    those of `make_train_loader`.
    """
    shard = order.Shard(batch_size, process_index, process_count)
    examples = batches.Examples(records, transform, 0, bad_records)
    make_batch = batches.EvalBatches(examples, shard)
    num_batches = -(-len(records.source) // batch_size)
    dataset = _dataset(make_batch, 0, num_batches, workers, threads, prefetch)
    return EvalLoader(dataset, num_batches, Tally(repr(records.source)))


def check_resume(state: dict[str, Any], loader: TrainLoader) -> None:
    """Makes sure that a loader continues the stream that `state` was taken from.

    Raises:
        UserError: seed, batch size, data set, split or its size differ.
    """
    new = loader.state()
    differing = [
        f"{key} was {state.get(key)!r} and is {new[key]!r}"
        for key in new
        if key != "next_batch" and state.get(key) != new[key]
    ]
    if differing:
        raise UserError(
            f"the checkpoint was made with other data: {'; '.join(differing)}; restore "
            "these settings, or start in a new working directory"
        )


def _dataset(
    make_batch, start: int, stop: int, workers: int, threads: int | None, prefetch: int
) -> grain.IterDataset:
    _prepare_process()
    if threads is None:
        threads = 1 if workers or make_batch.examples.records.kept else usable_cores()
    dataset = (
        grain.MapDataset.range(start, stop)
        .map(make_batch)
        .to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads))
        )
    )
    if not workers:
        return dataset
    if not flags.FLAGS.is_parsed():  # Grain hands its own flags to the workers
        flags.FLAGS.mark_as_parsed()
    # Batches that nobody took, as after a bad record, are removed at exit; without this option,
    # which the process that does it inherits, it would say so after the error's one line.
    sys.warnoptions.append("ignore:resource_tracker")
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
    return dataset.mp_prefetch(options, worker_init_fn=_init_worker)


def _init_worker(index: int, count: int) -> None:
    del index, count
    # A terminal and SLURM signal whole groups: the parent decides, and may want more batches.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _prepare_process()


def _end_with_parent() -> None:
    """Ends this worker when its parent is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _prepare_process() -> None:
    """Keeps OpenCV from starting a thread per core for each image, and decoded images in the heap.

    They are half a megabyte and more: given back after each, they cost 200 page faults each.
    """
    cv2.setNumThreads(1)
    process.keep_heap()
