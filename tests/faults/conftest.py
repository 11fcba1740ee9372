"""The fault harness: real runs that are started, watched, signalled, killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.checkpoints.conftest import META, make_state
from wae_jax.checkpoints import store

TIMEOUT_S = 240


class RealRun:
    """A program in a process of its own; its stderr is in a file, so that it cannot fill a pipe."""

    def __init__(self, argv: list[str], folder: Path, env: dict[str, str], cwd: Path):
        self.err = folder / f"{time.time_ns()}.err"
        with self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *argv],
                cwd=cwd,
                env={**env, "PYTHONPATH": str(cwd)},
                stdout=subprocess.PIPE,
                stderr=err,
            )

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def has_handlers(self) -> bool:
        """Whether it catches SIGTERM by now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(next(x for x in status.splitlines() if x.startswith("SigCgt")).split()[1], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def until(self, condition, what: str) -> None:
        """Waits while the program runs until ``condition()`` holds."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert self.process.poll() is None, self.stderr()
            assert time.monotonic() < deadline, f"no {what}: {self.stderr()}"
            time.sleep(0.005)

    def end(self) -> int:
        """Waits for the program's end; its exit status, negative where a signal killed it."""
        self.out = self.process.communicate(timeout=TIMEOUT_S)[0].decode()
        return self.process.returncode

    def stderr(self) -> str:
        return self.err.read_text()


@pytest.fixture
def start_program(tmp_path, run_env, root):
    """Function that starts ``python ARGV`` in the repository; what still runs is killed."""
    started = []

    def start(*argv: str) -> RealRun:
        run = RealRun(list(argv), tmp_path, run_env, root)
        started.append(run)
        return run

    yield start
    for run in started:
        run.process.kill()
        run.process.wait()
        run.process.stdout.close()


@pytest.fixture
def start_script(start_program):
    """Function that starts a Python program given as text."""
    return lambda text, *argv: start_program("-c", text, *map(str, argv))


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def logged_steps(workdir: Path) -> list[int]:
    """Steps of the training lines in a run's log."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [line["step"] for line in map(json.loads, lines) if "loss" in line]


STOPPING = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="session")
def save_step():
    """Function that saves a small checkpoint of a step in a workdir; its directory."""

    def save_step(workdir: Path, step: int) -> Path:
        workdir.mkdir(parents=True, exist_ok=True)
        return store.save(workdir, make_state(step), META, keep=100)

    return save_step
