"""``wae-jax recommend`` as a program."""

import csv
import json
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def recommend(root, run_env):
    def run(*args):
        return subprocess.run(
            [sys.executable, "-m", "wae_jax", "recommend", *args],
            cwd=root,
            env=run_env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_a_config_gets_its_recommendation(recommend, tmp_path):
    figures, table = tmp_path / "found.json", tmp_path / "found.csv"
    done = recommend(
        "--config=configs/quickstart.py",
        "--config.data.image_size=16",
        "--config.model.backbone.plan=4 M",
        "--runtime=jax",
        "--num_classes=10",
        "--budget_ms=1000",
        "--methods=full,lowres,wae-early",
        "--seconds=0.01",
        f"--json={figures}",
        f"--csv={table}",
    )
    assert done.returncode == 0, done.stderr
    assert "16 pixels, batch 1, in JAX" in done.stdout
    assert "Within 1000 ms a call: " in done.stdout
    assert "study --config=configs/quickstart.py" in done.stdout
    held = json.loads(figures.read_text())
    assert {row["method"] for row in held["methods"]} == {"full", "lowres", "wae-early"}
    assert held["environment"]["cpu"] and held["impossible"] == {}
    assert len(list(csv.DictReader(table.read_text().splitlines()))) == 3


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "give either --config=FILE.py or --pretrained=CHECKPOINT"),
        (("--config=configs/quickstart.py:lowres",), "without a variant"),
        (("--config=configs/quickstart.py", "--methods=wea"), "no variant 'wea'"),
        (("--pretrained=nowhere",), "nowhere"),
        (("--config=configs/quickstart.py", "--csv=nowhere/a.csv"), "no such folder"),
    ],
)
def test_mistakes_are_one_line(recommend, arguments, words):
    done = recommend(*arguments)
    assert done.returncode == 2
    assert words in done.stderr and done.stderr.count("\n") == 1
