"""One run in a workdir, which it keeps an eye on."""

import os
import shutil
import signal
import socket

import pytest

from wae_jax.errors import UserError
from wae_jax.training.workdir import hold

HOLDER = """
import sys, time
from pathlib import Path
from wae_jax.training.workdir import hold
with hold(Path(sys.argv[1]), main=True):
    print("on", flush=True)
    time.sleep(100)
"""


def test_a_second_run_is_told_who_is_in_it(tmp_path):
    with hold(tmp_path / "run", main=True), pytest.raises(UserError) as error:  # noqa: SIM117
        with hold(tmp_path / "run", main=True):
            pass
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(error.value)
    with hold(tmp_path / "run", main=True):
        pass  # the first has ended


def test_the_lock_dies_with_its_process(tmp_path, start_script):
    run = start_script(HOLDER, tmp_path)
    assert run.process.stdout.readline() == b"on\n", run.stderr()
    with pytest.raises(UserError, match=f"process {run.process.pid} on"), hold(tmp_path, main=True):
        pass
    run.signal(signal.SIGKILL)
    run.end()
    with hold(tmp_path, main=True) as held:
        held.check()


def test_the_other_processes_of_a_run_hold_nothing(tmp_path):
    with hold(tmp_path, main=True), hold(tmp_path, main=False) as held:
        held.check()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_workdir_that_is_gone_is_noticed(replaced, tmp_path):
    with hold(tmp_path / "run", main=True) as held:
        held.check()
        shutil.rmtree(tmp_path / "run")
        if replaced:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / ".lock").touch()
        with pytest.raises(UserError, match="removed or replaced"):
            held.check()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="cannot use the workdir"),
        hold(tmp_path / "file" / "run", main=True),
    ):
        pass
