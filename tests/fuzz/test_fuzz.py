"""Readers of files under damaged ones, each in a process with a limit of memory and time."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.fuzz.run import MEMORY
from tests.fuzz.targets import BROKEN, TARGETS

SECONDS = os.environ.get("WAE_JAX_FUZZ_SECONDS", "60")


@pytest.fixture
def fuzz(tmp_path, root):
    """Function that fuzzes a reader: exit status, number of inputs, all that was printed."""

    def fuzz(target, engine, seconds):
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.run", target, engine, str(seconds), str(tmp_path)],
            cwd=root,
            env=os.environ | {"MALLOC_ARENA_MAX": "2"},
            capture_output=True,
            check=False,
        )
        text = (done.stdout + done.stderr).decode(errors="replace")
        if engine == "atheris":
            counts = re.findall(r"number_of_executed_units: (\d+)", text)
        else:
            lines = [line for line in text.splitlines() if line.startswith('{"inputs"')]
            counts = [json.loads(line)["inputs"] for line in lines]
        return done.returncode, sum(map(int, counts)), text

    return fuzz


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "engine, seconds",
    [
        pytest.param("hypothesis", 2, marks=pytest.mark.slow),
        pytest.param("hypothesis", SECONDS, marks=pytest.mark.nightly),
        pytest.param(
            "atheris",
            SECONDS,
            marks=[
                pytest.mark.nightly,
                pytest.mark.skipif(sys.platform != "linux", reason="atheris is for Linux"),
            ],
        ),
    ],
)
def test_it_reads_or_refuses_in_one_line(target, engine, seconds, fuzz, tmp_path):
    status, count, text = fuzz(target, engine, seconds)
    assert status == 0, f"the input is in {tmp_path}: {text[-6000:]}"
    assert count >= 20, text[-6000:]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["hypothesis", "atheris"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_reader_that_breaks_its_promise_is_found(broken, engine, fuzz, tmp_path):
    status, _, text = fuzz(broken, engine, 60)
    assert status != 0
    assert {"raises": "KeyError", "hangs": "Timeout", "grows": "MemoryError"}[broken] in text
    assert (tmp_path / "last-input").read_bytes()[:1] > b"\x80"
    assert MEMORY == 1 << 30
