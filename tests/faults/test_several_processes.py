"""Real runs of several processes: what they train, and what the others do where one dies."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.commands.conftest import CONFIG
from tests.faults.conftest import free_port
from wae_jax.checkpoints import folders, store
from wae_jax.training.loop import train

STEPS = 6
FAKE_DEVICES = "--xla_force_host_platform_device_count=2"
# Batches of 16 on four devices, in all three stages.
SHORT = CONFIG.replace(
    "config.parallel.devices = 1",
    f"""config.parallel.devices = 0
    config.log_every = config.checkpoint_every = 3
    config.keep_checkpoints = 100
    for stage in config.stages.values():
        stage.steps = {STEPS}""",
)


@pytest.fixture
def start_processes(start_program, run_env, tmp_path, monkeypatch, cifar10):
    """Function that starts the two processes of a run."""
    config = tmp_path / "tiny.py"
    config.write_text(SHORT)
    monkeypatch.setitem(run_env, "XLA_FLAGS", f"{run_env['XLA_FLAGS']} {FAKE_DEVICES}")

    def start(workdir, *flags):
        address = f"localhost:{free_port()}"
        return [
            start_program(
                "train.py",
                f"--config={config}",
                f"--workdir={workdir}",
                f"--config.parallel.coordinator={address}",
                "--config.parallel.num_processes=2",
                f"--config.parallel.process_id={number}",
                *flags,
            )
            for number in range(2)
        ]

    return start


def finish(runs) -> None:
    for run in runs:
        assert run.end() == 0, run.stderr()
        assert "error" not in run.stderr()


def parameters(workdir, flat, step=3 * STEPS):
    return flat(store._read(workdir / folders.FOLDER / str(step), "variables"))


def train_here(workdir, devices: int) -> None:
    scope = {}
    exec(SHORT, scope)
    config = scope["get_config"]()
    config.parallel.devices = devices
    train(config, str(workdir))


def assert_close(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


# In place of SLURM's: starts two tasks and tells them what srun would.
SRUN = """#!/bin/bash
shift  # its one option
export SLURM_JOB_ID=$$ SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=2
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait $!
"""


@pytest.fixture(scope="module")
def on_one_process(tmp_path_factory, cifar10):
    """Workdirs of the run on one device and on four."""
    folders = {devices: tmp_path_factory.mktemp(f"on{devices}") for devices in (1, 4)}
    for devices, folder in folders.items():
        train_here(folder, devices)
    return folders


@pytest.mark.parametrize(
    "launch",
    [
        pytest.param("launch/local.sh 2", marks=pytest.mark.slow),
        pytest.param("launch/slurm.sh", marks=pytest.mark.nightly),
    ],
)
def test_two_processes_of_two_devices_train_as_one_of_four_and_as_one_of_one(
    launch, on_one_process, run_env, root, tmp_path, flat
):
    """All three stages, started as a user would; compared at each stage's end."""
    config, srun = tmp_path / "tiny.py", tmp_path / "srun"
    config.write_text(SHORT)
    srun.write_text(SRUN)
    srun.chmod(0o755)
    env = run_env | {
        "PATH": f"{tmp_path}:{run_env['PATH']}",
        "PYTHON": sys.executable,
        "XLA_FLAGS": f"{run_env['XLA_FLAGS']} {FAKE_DEVICES}",
    }
    run = subprocess.run(
        [*launch.split(), f"--config={config}", f"--workdir={tmp_path / 'two'}"],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["step"] == 3 * STEPS
    for step in (STEPS, 2 * STEPS, 3 * STEPS):
        found = parameters(tmp_path / "two", flat, step)
        for folder in on_one_process.values():
            assert_close(found, parameters(folder, flat, step))
    first = parameters(tmp_path / "two", flat, 3)
    assert any(np.abs(value - first[name]).max() > 1e-3 for name, value in found.items())


@pytest.mark.nightly
@pytest.mark.parametrize("lost, stage", [(0, "classifier"), (1, "joint")])
def test_where_one_is_killed_the_other_ends_and_both_go_on(
    lost, stage, on_one_process, start_processes, tmp_path, flat
):
    killed = tmp_path / "killed"
    runs = start_processes(killed)
    log = killed / "metrics.jsonl"
    runs[0].until(
        lambda: log.exists() and f'"stage": "{stage}"' in log.read_text(), "line of its log"
    )
    runs[lost].signal(9)
    began = time.monotonic()
    assert runs[lost].end() == -9
    other = runs[1 - lost]
    assert other.end() == 2
    assert time.monotonic() - began < 60
    last = other.stderr().splitlines()[-1]
    assert last.startswith(f"error: process {lost} of this run has ended, or cannot be reached")
    assert sum("error" in line for line in other.stderr().splitlines()) == 1
    assert "Terminating process" not in other.stderr()
    assert int(folders.newest_good(killed / folders.FOLDER).name) < 3 * STEPS
    if lost == 0:
        train_here(killed, 4)  # with another number of processes
    else:
        finish(start_processes(killed))
    assert_close(parameters(killed, flat), parameters(on_one_process[4], flat))
    steps = [line["step"] for line in map(json.loads, log.read_text().splitlines())]
    assert [s for s in steps if s not in (STEPS, 2 * STEPS, 3 * STEPS)] == [3, 9, 15]


@pytest.mark.nightly
def test_a_signal_to_one_of_them_saves_and_ends_both(start_processes, tmp_path):
    stopped = tmp_path / "stopped"
    long = "--config.stages.autoencoder.steps=300", "--config.checkpoint_every=1000"
    runs = start_processes(stopped, *long)
    log = stopped / "metrics.jsonl"
    runs[0].until(lambda: log.exists() and log.read_text(), "line of its log")
    runs[1].signal(signal.SIGTERM)
    for run in runs:
        assert run.end() == 143, run.stderr()
        assert "Traceback" not in run.stderr() and "error" not in run.stderr()
    step = int(folders.newest_good(stopped / folders.FOLDER).name)
    assert step % 10 == 0 and step < 300  # where they agree
    again = start_processes(stopped, *long)
    finish(again)
    assert f"step {step})" in again[0].stderr()  # from there
