"""Who used the machine."""

import os
import subprocess
import sys
import time
from collections import namedtuple

import psutil
import pytest

from wae_jax.study import load

Times = namedtuple("Times", "user idle steal")


@pytest.fixture
def machine(monkeypatch):
    """Clocks of a machine with four cores, of which this process may use two."""
    now = {"wall": 100.0, "own": 5.0, "cores": [0.0] * 4, "steal": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(load, "_own_seconds", lambda: now["own"])
    monkeypatch.setattr(os, "getloadavg", lambda: (1.234, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2})
    monkeypatch.setattr(
        psutil, "cpu_times", lambda percpu: [Times(x, 7.0, now["steal"]) for x in now["cores"]]
    )
    return now


def test_what_others_use_on_our_cores(machine):
    watch = load.Watch()
    machine.update(wall=110.0, own=20.0, cores=[10.0, 10.0, 9.0, 10.0])
    found = watch.stop()
    # 19 s on cores 0 and 2, 15 of them our own, in 10 s.
    assert (found.own_cores, found.other_cores) == (1.5, 0.4)
    assert (found.load_average_before, found.load_average_after) == (1.23, 1.23)
    assert "other programs used 0.4 cores during the timing" in found.warning("the timing")
    assert found.record("it")["warning"].startswith("other programs")


def test_an_own_load_disturbs_nobody(machine):
    watch = load.Watch()
    machine.update(wall=110.0, own=24.0, cores=[10.0, 0.0, 10.0, 0.0])
    assert watch.stop().warning("the timing") == ""


def test_what_the_hypervisor_takes_counts(machine):
    watch = load.Watch()
    machine.update(wall=110.0, steal=2.0)
    assert watch.stop().other_cores == 0.4


def test_of_the_real_machine():
    watch = load.Watch()
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        pass
    found = watch.stop()
    assert found.own_cores > 0.1 and found.other_cores >= 0


def test_a_child_that_goes_on_is_no_other_program():
    """As ONNX Runtime's, which is timed in a process of its own."""
    busy = [sys.executable, "-c", "print(1, flush=True)\nwhile True: pass"]
    with subprocess.Popen(busy, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        watch = load.Watch()
        time.sleep(1.0)
        found = watch.stop()
        child.kill()
    assert found.own_cores > 0.2
