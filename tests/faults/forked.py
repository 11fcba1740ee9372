"""Runs in forked processes that have imported everything, and that strike themselves.

Python's fork server imports this module once; a run that it forks starts at once. JAX computes
nothing before the fork.
"""

import dataclasses
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

from tests.conftest import make_tiny_config
from wae_jax.checkpoints import folders, store
from wae_jax.commands.flags import start
from wae_jax.compress import pipeline
from wae_jax.config import settings_from_config
from wae_jax.runtime import signals
from wae_jax.training import loop

TIMEOUT_S = 240
# What a process can be in the middle of: the function that it has just entered.
PLACES = {
    "starting": (loop, "open_run"),
    "compiling": (loop, "_compile_step"),
    "training": (loop.Totals, "add"),
    "writing": (store, "_write"),
    "naming": (folders, "publish"),
    "evaluation": (loop, "_evaluate"),
    "compressing": (pipeline, "compress_checkpoint"),
    "quantising": (pipeline, "_quantised"),
    "telling": (pipeline, "write_steps"),
}


@dataclasses.dataclass(frozen=True)
class Blow:
    """A signal that a process gives itself.

    Attributes:
        number: the signal's.
        place: of :data:`PLACES`.
        times: it has entered that so many times,
        delay: and is so many seconds further.
    """

    number: int
    place: str
    times: int = 1
    delay: float = 0.0

    def prepare(self) -> None:
        """In the process that is to be struck."""
        holder, name = PLACES[self.place]
        entered, left = getattr(holder, name), [self.times]

        def enter(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                threading.Thread(target=self._strike, daemon=True).start()
            return entered(*args, **kwargs)

        setattr(holder, name, enter)

    def _strike(self) -> None:
        time.sleep(self.delay)
        os.kill(os.getpid(), self.number)


def _run(workdir: Path, changes: dict[str, Any], blow: Blow | None, err: Path) -> None:
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    signals.install()
    if blow is not None:
        blow.prepare()
    settings = settings_from_config(make_tiny_config(changes))
    start(lambda: pipeline.train(settings, str(workdir)) and None)


def run(workdir: Path, changes: dict[str, Any], blow: Blow | None = None) -> tuple[int, str]:
    """Trains in a process of its own.

    Returns:
        Its exit status, negative where a signal killed it, and what it wrote on stderr.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    err = workdir.with_name(f"{workdir.name}.err")
    process = context.Process(target=_run, args=(workdir, changes, blow, err))
    process.start()
    process.join(TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"it hangs after {blow}: {err.read_text()}")
    status = process.exitcode
    process.close()
    return status, err.read_text()
