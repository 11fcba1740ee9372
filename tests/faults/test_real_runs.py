"""Real runs under signals: what they leave goes on to the end of an undisturbed run."""

import json
import random
import signal
import time

import numpy as np
import pytest

from tests.commands.conftest import CONFIG
from tests.faults.conftest import STOPPING, logged_steps
from wae_jax.checkpoints import folders, store

STAGES = ("autoencoder", "classifier", "joint")
FLAGS = (
    "--config.checkpoint_every=4",
    "--config.log_every=3",
    "--config.keep_checkpoints=100",
    *(f"--config.stages.{stage}.steps=30" for stage in STAGES),
)


@pytest.fixture
def start_train(start_program, tmp_path):
    """Function that starts train.py in a workdir."""
    config = tmp_path / "tiny.py"
    config.write_text(CONFIG)

    def start(workdir, *flags):
        return start_program(
            "train.py", f"--config={config}", f"--workdir={workdir}", *FLAGS, *flags
        )

    return start


def end_of(workdir, flat):
    step = folders.find(str(workdir))
    return flat({name: store._read(step, name) for name in ("variables", "training")})


def train_lines(workdir):
    timing = {"images_per_s", "wait_fraction"}
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [
        {key: value for key, value in line.items() if key not in timing}
        for line in lines
        if "eval_count" not in line
    ]


def assert_same(workdir, whole, flat):
    """Bit for bit, and every line of the log once with all its steps."""
    found, expected = end_of(workdir, flat), end_of(whole, flat)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert train_lines(workdir) == train_lines(whole)


@pytest.mark.slow
def test_a_signal_in_each_stage_saves_and_resuming_is_exact(start_train, tmp_path, flat):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run = start_train(whole)
    assert run.end() == 0, run.stderr()
    for number, stage in zip(STOPPING, range(3), strict=True):
        run = start_train(stopped)
        begins = 30 * stage + 5
        run.until(lambda begins=begins: max(logged_steps(stopped), default=0) > begins, "step")
        run.signal(number)
        assert run.end() == STOPPING[number], run.stderr()
        assert "saved" in run.stderr()
        assert "Traceback" not in run.stderr()
        assert int(folders.find(str(stopped)).name) >= max(logged_steps(stopped))
    run = start_train(stopped)
    assert run.end() == 0, run.stderr()
    assert_same(stopped, whole, flat)


@pytest.mark.slow
def test_sigusr1_saves_and_goes_on(start_train, tmp_path):
    run = start_train(tmp_path / "run", "--config.checkpoint_every=1000")
    run.until(lambda: logged_steps(tmp_path / "run"), "step")
    run.signal(signal.SIGUSR1)
    assert run.end() == 0, run.stderr()
    steps = [int(step.name) for step in folders.steps(tmp_path / "run" / "checkpoints")]
    assert len(steps) == 4
    assert set(steps) > {30, 60, 90}
    assert "as SIGUSR1 asked" in run.stderr()


@pytest.mark.nightly
@pytest.mark.timeout(2400)
def test_signals_at_random_moments(start_train, tmp_path, flat):
    """Imports, compiling, training, evaluation, saving: the promised status, nothing lost."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    began = time.monotonic()
    run = start_train(whole)
    assert run.end() == 0, run.stderr()
    seconds, draw = time.monotonic() - began, random.Random(0)
    for attempt in range(40):
        number = draw.choice((signal.SIGINT, signal.SIGTERM))
        before = folders.newest_good(stopped / "checkpoints")
        run = start_train(stopped)
        run.until(run.has_handlers, "handler")  # Python itself needs a moment before
        time.sleep(draw.random() * seconds * 0.7)
        run.signal(number)
        status = run.end()
        assert status in (0, STOPPING[number]), f"{attempt}: {status} {run.stderr()}"
        assert "Traceback" not in run.stderr()
        after = folders.newest_good(stopped / "checkpoints")
        assert before is None or int(after.name) >= int(before.name)
    run = start_train(stopped)
    assert run.end() == 0, run.stderr()
    assert_same(stopped, whole, flat)


@pytest.mark.slow
def test_two_runs_started_together_and_a_workdir_that_goes(start_train, tmp_path):
    """The second is refused in one line; the first notices when its workdir is gone."""
    workdir = tmp_path / "run"
    # It saves once, when it is asked to: not just while its workdir goes.
    long = "--config.stages.autoencoder.steps=100000", "--config.checkpoint_every=100000"
    runs = [start_train(workdir, *long), start_train(workdir, *long)]
    while all(run.process.poll() is None for run in runs):
        time.sleep(0.05)
    second, first = sorted(runs, key=lambda run: run.process.poll() is None)
    assert second.end() == 2
    assert f"in use by another run (process {first.process.pid} on" in second.stderr()
    assert second.stderr().count("\n") == 1
    first.until(lambda: len(logged_steps(workdir)) > 3, "step")
    first.signal(signal.SIGUSR1)
    first.until(lambda: "as SIGUSR1 asked" in first.stderr(), "checkpoint")
    workdir.rename(tmp_path / "elsewhere")
    assert first.end() == 2
    assert first.stderr().splitlines()[-1].endswith("removed or replaced while the run was in it")
    assert not workdir.exists()
    assert folders.find(str(tmp_path / "elsewhere"))
