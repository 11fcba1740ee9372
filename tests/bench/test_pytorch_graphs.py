"""PyTorch itself beside our networks: the same scores, and both can be timed.

Other tests of the twin do without PyTorch; this one installs it, into an environment in the cache.
"""

import csv
import site
import subprocess
import venv
from pathlib import Path

import pytest

from wae_jax.data.sources.fetch import cache_root

TORCH = "torch==2.13.0"

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def torch_python():
    """An interpreter that has PyTorch as well as everything of this one."""
    folder = Path(cache_root("")) / "environments" / TORCH
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", TORCH]
        subprocess.run(install, check=True, timeout=900)
        (here,) = site.getsitepackages()[:1]
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "those_of_the_tests.pth").write_text(here + "\n")
        (folder / "ready").touch()
    return python


@pytest.fixture
def run(torch_python, root, run_env):
    def run(*arguments):
        env = run_env | {"PYTHONPATH": str(root)}
        done = subprocess.run(
            [torch_python, *arguments], cwd=root, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_method_has_pytorchs_scores_and_times(run, tmp_path):
    out = tmp_path / "rows.csv"
    methods = "full,lowres,wae,wae-fast,wae-early,haar-early,stem"
    text = run(
        "bench.py",
        "--config=configs/quickstart.py",
        f"--methods={methods}",
        "--batch_sizes=2",
        "--seconds=1",
        "--peer=torch",
        "--train_step",
        "--runtimes=jax,torch",
        f"--csv={out}",
    )
    rows = [row for row in read(out) if row["runtime"] == "torch"]
    without_twin = {"haar-early"}
    assert {row["method"] for row in rows} == set(methods.split(",")) - without_twin
    assert all(float(row["latency_ms"]) > 0 for row in rows)
    assert "training step" in text


def test_our_onnx_files_beside_those_of_pytorchs_exporter(run, tmp_path):
    out = tmp_path / "exporters.csv"
    run(
        "tools/exporters.py",
        "--config=configs/quickstart.py",
        "--methods=full,wae-early",
        "--batch_sizes=1",
        "--seconds=1",
        f"--csv={out}",
    )
    rows = read(out)
    assert [row["method"] for row in rows] == ["full", "wae-early"]
    # A guard against a graph gone wrong; results/ has what was measured with care.
    assert all(float(row["speedup"]) > 0.5 for row in rows)
