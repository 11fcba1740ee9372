"""Whether other programs had a share of the machine while something was measured."""

import contextlib
import dataclasses
import os
import time
from typing import Any

import psutil

# Cores, on average, that others may use before a measurement counts as disturbed.
TOLERATED = 0.2


@dataclasses.dataclass(frozen=True)
class Load:
    """What ran on this process's cores in a stretch of time.

    Attributes:
        load_average_before: The machine's own, of the last minute; None where there is none.
        load_average_after: The same at the end.
        own_cores: CPU time of this process and of its children, over the time.
        other_cores: That of everybody else, the hypervisor's other guests included.
    """

    load_average_before: float | None
    load_average_after: float | None
    own_cores: float
    other_cores: float

    @property
    def disturbed(self) -> bool:
        # Not the load averages: they are mostly of this program itself, training or compiling.
        return self.other_cores > TOLERATED

    def warning(self, what: str) -> str:
        """A sentence where ``what`` was disturbed, else empty."""
        if not self.disturbed:
            return ""
        return (
            f"other programs used {self.other_cores:.1f} cores during {what} (load average "
            f"{self.load_average_before} before, {self.load_average_after} after, "
            f"{self.own_cores:.1f} cores of its own)"
        )

    def record(self, what: str) -> dict[str, Any]:
        """The fields, and ``warning``: a sentence about ``what``, or empty."""
        return {**dataclasses.asdict(self), "warning": self.warning(what)}


class Watch:
    """Starts when it is made; :meth:`stop` tells what ran since."""

    def __init__(self) -> None:
        self._before = _load_average()
        self._began, self._own, self._all = time.perf_counter(), _own_seconds(), _busy_seconds()

    def stop(self) -> Load:
        """The load from then until now."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        own = (_own_seconds() - self._own) / seconds
        busy = (_busy_seconds() - self._all) / seconds
        return Load(self._before, _load_average(), round(own, 2), round(max(0.0, busy - own), 2))


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _own_seconds() -> float:
    """Of this process, of its children, and of theirs: those that have ended, and those alive."""
    own = psutil.Process()
    seconds = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it counts among its parent's ended ones
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def _busy_seconds() -> float:
    """CPU time that was not idle, of the cores that this process may run on."""
    cores = psutil.cpu_times(percpu=True)
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(cores))
    return sum(_busy(cores[i]) for i in mine if i < len(cores))


def _busy(times) -> float:
    # Guests' time is part of the user's.
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return sum(getattr(times, name, 0.0) for name in names)
