"""How a process joins the others of its run, and how it leaves them."""

import atexit
import os
import sys
import time
from typing import Any, NoReturn

import jax

from wae_jax.runtime.peers import START_S, TELL_S, Peers, end_once

_peers: Peers | None = None


def join(where: tuple[str, int, int] | None, timeout_s: int) -> None:
    """Joins the other processes of a run, as ``jax.distributed.initialize`` does.

    From then on this process ends with one line and status 2 where another is lost.

    Args:
        where: host:port of process 0, how many processes there are, and which of them this is;
            None leaves it to jax, and to jax's own ways where a process is lost.
        timeout_s: after so many seconds without a sign of life one counts as lost.

    Raises:
        UserError, RuntimeError, ValueError: the others do not come, or cannot be reached.
    """
    global _peers
    limits: dict[str, Any] = {
        "heartbeat_timeout_seconds": timeout_s,
        "shutdown_timeout_seconds": timeout_s,
    }
    if where is None:
        jax.distributed.initialize(**limits)
        return
    address, count, process = where
    if count == 1 or sys.platform != "linux":
        jax.distributed.initialize(address, count, process, **limits)
        return
    peers = Peers(address, count, process, timeout_s)
    peers.open()
    _peers = peers
    jax.distributed.initialize(
        peers.local,
        count,
        process,
        coordinator_bind_address=peers.local,
        # Peers tell of a process that is lost; jax's own way is the last resort.
        heartbeat_timeout_seconds=2 * timeout_s + 60,
        shutdown_timeout_seconds=START_S,
    )
    atexit.register(_leave)  # after jax's own, so that it runs before


def _leave() -> None:
    """The end of a program: the others need not go, unless it is by an error."""
    if getattr(sys, "last_value", None) is not None:  # which Python has shown
        fail(1)
    assert _peers is not None  # as whoever registered this knows
    _peers.call(_peers.tell("done"))
    jax.distributed.shutdown()
    if _peers.process == 0:
        _peers.call(_peers.end_of_relays())


def fail(status: int) -> None:
    """Where this is one of several processes: tells the others of an error, and ends with status.

    jax would wait for the others, which wait for this one.
    """
    if _peers is not None:
        _peers.call(_peers.tell("failed"))
        sys.stdout.flush()
        os._exit(status)


def end(text: str) -> NoReturn:
    """Ends a process that found another gone: in that one's name, where it is known by now."""
    if _peers is not None:
        time.sleep(2 * TELL_S)
        _peers.call(_peers.tell("failed"))
    end_once(text)
