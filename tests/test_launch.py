"""The scripts in launch/, with programs that only say how they were called.

Real runs of them are in tests/faults/test_several_processes.py.
"""

import contextlib
import os
import signal
import subprocess
import time

import pytest

SCRIPTS = ("local.sh", "slurm.sh", "tpu.sh")
# In place of Python: a port for -c, else its arguments and whatever $THEN says.
PYTHON = """#!/bin/bash
if [[ $1 == -c ]]; then echo 1234; exit; fi
echo "$*" >> "$CALLS"
eval "$THEN"
"""


@pytest.fixture
def launch(root, tmp_path):
    """Function that starts a script with such programs in place of the real ones."""
    for name in ("python", "srun", "gcloud"):
        program = tmp_path / name
        program.write_text(PYTHON if name == "python" else PYTHON.replace("-c", "-none"))
        program.chmod(0o755)

    started = []

    def launch(script, *arguments, then="true", **variables):
        env = os.environ | {"CALLS": str(tmp_path / "calls"), "THEN": then} | variables
        env |= {"PATH": f"{tmp_path}:{env['PATH']}"}
        run = subprocess.Popen(
            [root / "launch" / script, *arguments],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(run)
        return run

    yield launch
    for run in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def calls(tmp_path):
    path = tmp_path / "calls"
    return sorted(path.read_text().splitlines()) if path.exists() else []


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_bash(script, root):
    assert subprocess.run(["bash", "-n", root / "launch" / script]).returncode == 0
    assert {path.name for path in (root / "launch").iterdir()} == set(SCRIPTS)


def test_local_starts_each_process(launch, tmp_path):
    assert launch("local.sh", "2", "--config=a b.py").wait(60) == 0
    shared = "train.py --config=a b.py --config.parallel.coordinator=localhost:1234"
    assert calls(tmp_path) == [
        f"{shared} --config.parallel.num_processes=2 --config.parallel.process_id={k}"
        for k in range(2)
    ]


def test_local_ends_as_its_processes_do(launch):
    assert launch("local.sh", "2", then='[[ "$*" == *process_id=0 ]] || exit 3').wait(60) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_local_passes_signals_on(number, launch, tmp_path):
    """And waits while its processes save."""
    saves = f"trap 'sleep 0.3; echo saved >> {tmp_path}/calls; exit 143' TERM; sleep 60 & wait"
    run = launch("local.sh", "2", then=saves)
    deadline = time.monotonic() + 60
    while len(calls(tmp_path)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    run.send_signal(number)
    assert run.wait(60) == 143
    assert calls(tmp_path)[:2] == ["saved", "saved"]


def test_slurm_runs_one_command_everywhere(launch, tmp_path):
    assert launch("slurm.sh", "--config=a.py", "--workdir=b", then="exit 2").wait(60) == 2
    assert calls(tmp_path) == ["--kill-on-bad-exit=1 python train.py --config=a.py --workdir=b"]


def test_slurm_gives_time_to_save(root):
    """The grace period that docs/faults.md names."""
    assert "#SBATCH --signal=TERM@120\n" in (root / "launch/slurm.sh").read_text()
    assert "--signal=TERM@120" in (root / "docs/faults.md").read_text()


def test_tpu_runs_one_command_on_all_hosts(launch, tmp_path):
    assert launch("tpu.sh", "--config=a b.py", TPU="pod", ZONE="here").wait(60) == 0
    assert calls(tmp_path) == [
        "compute tpus tpu-vm ssh pod --zone=here --worker=all "
        "--command=cd wae-jax && python3 train.py --config=a\\ b.py"
    ]


@pytest.mark.parametrize("script", ["local.sh", "tpu.sh"])
def test_what_is_missing_is_said(script, launch):
    run = launch(script, TPU="", ZONE="")
    assert run.communicate(timeout=60)[1].count("usage: ") == 1
    assert run.returncode != 0
