"""Writes ArrayRecord shards in parallel; a shard appears under its name only when complete."""

import concurrent.futures
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from wae_jax.errors import UserError
from wae_jax.runtime import files
from wae_jax.runtime.console import progress_bar, say

# TFDS's own choice: each record can be read alone.
_WRITER_OPTIONS = "group_size:1"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a data set.

    Attributes:
        file_name: its name in the data set's folder.
        num_records: how many records it has.
        num_bytes: their total size, for the progress display.
        read: gives the records in order; called once, in any thread.
    """

    file_name: str
    num_records: int
    num_bytes: int
    read: Callable[[], Iterable[bytes]]


def write_shards(shards: Sequence[Shard], folder: Path, workers: int = 0) -> None:
    """Writes all shards that are not in the folder yet.

    Threads do it: reading, compressing and writing happen outside of Python's lock.

    Args:
        shards: what to write.
        folder: an existing folder.
        workers: shards written at a time; 0: as many as there are CPU cores.

    Raises:
        UserError: a shard cannot be read or written; the others that are complete stay.
    """
    todo = [shard for shard in shards if not (folder / shard.file_name).exists()]
    if len(todo) < len(shards):
        say(f"{len(shards) - len(todo)} of {len(shards)} shards are there already")
    total, finished = sum(shard.num_bytes for shard in todo), len(shards) - len(todo)
    stop, written, began = threading.Event(), _Count(), time.monotonic()
    with (
        progress_bar("shards", total, unit="B", scaled=True) as bar,
        concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool,
    ):
        pending = {pool.submit(_write, shard, folder, stop, written.add) for shard in todo}
        try:
            while pending:
                done, pending = concurrent.futures.wait(
                    pending, timeout=1, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    future.result()
                finished += len(done)
                bar.set_postfix_str(f"{finished} of {len(shards)}", refresh=False)
                bar.update(written.take())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    rate = total / (time.monotonic() - began)
    say(f"{finished} of {len(shards)} shards, {total / 1e9:.2f} GB at {rate / 1e6:.0f} MB/s")


def _write(shard: Shard, folder: Path, stop: threading.Event, add: Callable[[int], None]) -> None:
    final = folder / shard.file_name
    partial = folder / f"{files.PARTIAL}{shard.file_name}"
    written = 0
    try:
        writer = ArrayRecordWriter(str(partial), _WRITER_OPTIONS)
        for record in shard.read():
            writer.write(record)
            # A full disk shows only here, and as an error in close().
            if stop.is_set() or not writer.ok():
                break
            written += 1
            add(len(record))
        _close(writer, final)
        if stop.is_set():
            return
        found = ArrayRecordReader(str(partial)).num_records()
        if not written == found == shard.num_records:
            raise UserError(
                f"{final.name} has {found} records on disk, {written} were written and "
                f"{shard.num_records} expected; try again"
            )
        files.sync(partial)
        os.rename(partial, final)
        files.sync(folder)
    finally:
        partial.unlink(missing_ok=True)


def _close(writer: ArrayRecordWriter, final: Path) -> None:
    try:
        writer.close()
    except RuntimeError as error:
        raise UserError(
            f"cannot write {final.name} ({str(error).split(';')[0]}); complete shards are kept: "
            "run the same command again to continue"
        ) from error


class _Count:
    """Bytes that threads have written since somebody asked."""

    def __init__(self) -> None:
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, num_bytes: int) -> None:
        with self._lock:
            self._bytes += num_bytes

    def take(self) -> int:
        with self._lock:
            taken, self._bytes = self._bytes, 0
        return taken
