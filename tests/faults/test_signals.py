"""What a program does with signals, before and after there is something to lose."""

import signal
import time

import pytest

from tests.faults.conftest import STOPPING

PROGRAM = """
import sys
from wae_jax.runtime import signals
signals.install()
{body}
"""
BUSY = "print('on', flush=True)\nwhile True:\n    sum(range(10_000))"
DEFERRED = """
signals.defer()
print('on', flush=True)
while not signals.stop_asked():
    sum(range(10_000))
print('saved', flush=True)
try:
    signals.at_once()
except signals.Stopped as stopped:
    sys.exit(stopped.status)
"""
# One call of C code that lasts for seconds and holds no GIL, as a compilation does.
COMPILING = "import hashlib\nprint('on', flush=True)\nhashlib.sha256(bytes(2_000_000_000))"


def wait_for_on(run):
    assert run.process.stdout.readline() == b"on\n", run.stderr()


@pytest.mark.parametrize("number", STOPPING)
def test_it_ends_at_once_while_nothing_is_lost(number, start_script):
    run = start_script(PROGRAM.format(body=BUSY))
    wait_for_on(run)
    run.signal(number)
    assert run.end() == STOPPING[number]
    assert run.stderr().strip() == f"stopped by {number.name}; the same command continues"


def test_also_within_a_long_call(start_script):
    run = start_script(PROGRAM.format(body=COMPILING))
    wait_for_on(run)
    time.sleep(0.2)
    began = time.monotonic()
    run.signal(signal.SIGINT)
    assert run.end() == 130
    assert time.monotonic() - began < 0.8
    assert "Traceback" not in run.stderr()


@pytest.mark.parametrize("number", STOPPING)
def test_it_saves_first_where_there_is_something_to_lose(number, start_script):
    run = start_script(PROGRAM.format(body=DEFERRED))
    wait_for_on(run)
    run.signal(number)
    assert run.end() == STOPPING[number]
    assert run.out == "saved\n"
    assert run.stderr().strip() == f"{number.name}: saving after this step; once more ends at once"


def test_a_second_one_ends_at_once(start_script):
    run = start_script(PROGRAM.format(body=f"signals.defer()\n{BUSY}"))
    wait_for_on(run)
    run.signal(signal.SIGTERM)
    run.until(lambda: "saving" in run.stderr(), "answer")
    run.signal(signal.SIGINT)
    assert run.end() == 130


def test_sigusr1_asks_to_save_once(start_script):
    body = (
        "signals.defer()\nprint('on', flush=True)\nwhile not signals.take_save_asked(): pass\n"
        "print(signals.take_save_asked(), signals.stop_asked())"
    )
    run = start_script(PROGRAM.format(body=body))
    wait_for_on(run)
    run.signal(signal.SIGUSR1)
    assert run.end() == 0
    assert run.out == "False 0\n"


def test_what_was_ignored_stays_ignored(start_script):
    text = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)" + PROGRAM.format(body=BUSY)
    run = start_script(text)  # as under nohup
    wait_for_on(run)
    run.signal(signal.SIGHUP)
    run.signal(signal.SIGTERM)
    assert run.end() == 143
    assert "SIGHUP" not in run.stderr()


@pytest.mark.parametrize("number", STOPPING)
def test_one_that_comes_while_python_ends_changes_nothing(number, start_script):
    """What is left of a program then has no threads, and no handlers any more."""
    last = f"""
import os
class Last:
    def __del__(self, os=os):
        os.kill(os.getpid(), {int(number)})
        os.write(1, b'over')
last = Last()
"""
    run = start_script(PROGRAM.format(body=last))
    assert run.end() == 0, run.stderr()
    assert run.out == "over"
