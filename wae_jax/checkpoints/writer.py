"""Checkpoints written in the background, while training goes on."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from wae_jax.checkpoints import store
from wae_jax.checkpoints.state import TrainState


class Writer:
    """Saves the checkpoints of one run, one at a time, in a thread of its own.

    The caller waits only for a copy of the state in host memory. In a run of several processes
    Orbax's own writing needs all of them in step, so there only process 0's hashing and what
    follows it are in the background.

    Args:
        workdir: the run's folder, which must be there.
    """

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._job: Future | None = None

    def save(
        self, state: TrainState, meta: dict[str, Any], *, keep: int, best: int | None = None
    ) -> None:
        """As :func:`wae_jax.checkpoints.store.save`, but does not wait for the disk.

        It waits for the checkpoint before this one. The caller may donate ``state`` at once.

        Raises:
            UserError: the one before could not be written.
        """
        self.wait()
        if jax.process_count() == 1:
            self._job = self._thread.submit(
                store.save, self._workdir, _on_host(state), meta, keep=keep, best=best
            )
            return
        step = store.write(self._workdir, state, meta)
        if jax.process_index() == 0:
            self._job = self._thread.submit(store.finish, step, keep=keep, best=best)

    def check(self) -> None:
        """Raises what went wrong with the last checkpoint, if that is known by now."""
        if self._job is not None and self._job.done():
            self.wait()

    def wait(self) -> None:
        """Returns when the last checkpoint is whole, and has its name.

        Raises:
            UserError: it could not be written.
        """
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def close(self) -> None:
        """Waits for what is being written; an error of it that nobody asked for is not raised."""
        self._thread.shutdown()


def _on_host(state: TrainState) -> TrainState:
    """A copy that shares no memory with ``state``, as the CPU backend's arrays otherwise would."""
    return jax.tree.map(lambda x: np.array(x, copy=True), jax.device_get(state))
