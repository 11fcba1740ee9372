"""bench.py as a user starts it."""

import json
import subprocess
import sys

import pytest

TINY = (
    "--config=configs/quickstart.py",
    "--config.data.image_size=16",
    "--config.model.backbone.plan=4 M",
    "--batch_sizes=2",
    "--seconds=0.05",
)


@pytest.fixture(scope="module")
def bench(root, run_env):
    def run(*args):
        return subprocess.run(
            [sys.executable, "bench.py", *args],
            cwd=root,
            env=run_env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_program_prints_and_writes(bench, tmp_path):
    done = bench(
        *TINY,
        "--methods=full,wavelet-haar",
        f"--json={tmp_path}/b.json",
        f"--csv={tmp_path}/b.csv",
        f"--plot={tmp_path}/b.png",
    )
    assert done.returncode == 0, done.stderr
    assert "| wavelet-haar" in done.stdout
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["full", "wavelet-haar"]
    assert {path.name for path in tmp_path.iterdir()} == {"b.json", "b.csv", "b.env.json", "b.png"}


@pytest.mark.parametrize(
    "args, words",
    [
        (("--methods=full,wea",), "wea"),
        (("--batch_sizes=two",), "--batch_sizes"),
        (("--checkpoints=runs/wae",), "METHOD=PATH"),
        (("--json=no/such/folder/b.json",), "no such folder"),
        (("--plot=picture.txt",), ".png"),
        (("--config=configs/quickstart.py:lowres",), "without a variant"),
    ],
)
def test_mistakes_are_one_line(bench, args, words):
    config = [] if args[0].startswith("--config") else ["--config=configs/quickstart.py"]
    done = bench(*config, *args)
    assert done.returncode == 2
    assert words in done.stderr and done.stderr.count("\n") == 1
