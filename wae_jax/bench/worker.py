"""Calls that live in a process of their own, where no other library's threads disturb them."""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Hashable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from wae_jax.bench.timing import Call, time_interleaved
from wae_jax.errors import UserError

# Makes a call; it travels to the process, as a function that can be imported with its arguments.
MakeCall = Callable[[], Call]


class Worker:
    """A process with calls; a context manager, which ends it.

    While it waits for orders it computes nothing. All orders raise UserError as what they run does,
    and RuntimeError where that fails otherwise or the process died; after an error it is over.

    Args:
        title: What the process is called in errors.
    """

    def __init__(self, title: str):
        self.title = title
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def add(self, key: Hashable, make: MakeCall) -> float:
        """Makes a call in the process; returns how long that took, in seconds."""
        return self._ask("add", key, make)

    def drop(self, key: Hashable) -> None:
        """Forgets a call, with what it holds."""
        self._ask("drop", key)

    def run(self, key: Hashable) -> np.ndarray:
        """What a call returns."""
        return self._ask("run", key)

    def time(self, keys: Mapping[str, Hashable], **options: Any) -> dict[str, np.ndarray]:
        """As :func:`wae_jax.bench.timing.time_interleaved`, of calls by name."""
        return self._ask("time", keys, options)

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, *order: Any) -> Any:
        try:
            self._pipe.send(order)
            kind, value = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join(5)
            raise RuntimeError(
                f"the process of {self.title} died (exit status {self._process.exitcode})"
            ) from error
        if kind == "user error":
            raise UserError(value)
        if kind == "error":
            raise RuntimeError(f"the process of {self.title} failed:\n{value}")
        return value


def _serve(pipe: Connection) -> None:
    calls: dict[Hashable, Call] = {}
    try:
        while True:
            what, *arguments = pipe.recv()
            pipe.send(("done", _ORDERS[what](calls, *arguments)))
    except EOFError:  # the parent is done, or gone
        return
    except UserError as error:
        pipe.send(("user error", str(error)))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))
    finally:
        pipe.close()


def _add(calls: dict[Hashable, Call], key: Hashable, make: MakeCall) -> float:
    began = time.perf_counter()
    calls[key] = make()
    return time.perf_counter() - began


def _drop(calls: dict[Hashable, Call], key: Hashable) -> None:
    del calls[key]


def _run(calls: Mapping[Hashable, Call], key: Hashable) -> np.ndarray:
    return np.asarray(calls[key]())


def _time(
    calls: Mapping[Hashable, Call], keys: Mapping[str, Hashable], options: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    return time_interleaved({name: calls[key] for name, key in keys.items()}, **options)


_ORDERS: dict[str, Callable] = {"add": _add, "drop": _drop, "run": _run, "time": _time}
