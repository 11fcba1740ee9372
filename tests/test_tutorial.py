"""docs/tutorial.md, run from its first command to its last, in order, on real photos."""

import csv
import json
import os
import re
import socket
import subprocess
import sys

import pytest

from wae_jax import data

CLASSES = 3
# What makes it short: the same commands with these flags.
TINY = {
    "train": (
        "--config.data.image_size=64",
        "--config.stages.joint.steps=3",
        "--config.stages.joint.batch_size=4",
        "--config.data.eval_batch_size=8",
    ),
}
BLOCKS = re.compile(r"```(\w+)\n(.*?)```", re.S)
SAVED_AS = re.compile(r"[Ss]ave this as `([\w.]+)`")


@pytest.fixture(scope="module")
def photos():
    """{split: [(bytes, class name)]}: some of three classes of the grocery set."""
    found = {}
    for split, where, count in (("train", "train", 12), ("validation", "test", 4)):
        source = data.open_source("grocery", where)
        taken = [0] * CLASSES
        found[split] = []
        for index in range(len(source)):
            ((encoded, label),) = source.read([index])
            if label < CLASSES and taken[label] < count:
                taken[label] += 1
                found[split].append((encoded, source.info.class_names[label]))
        assert all(taken)
    return found


@pytest.fixture
def folder(photos, root, tmp_path):
    """An empty folder with photos, and beside it a wae-jax that takes smaller steps."""
    for split, items in photos.items():
        for number, (encoded, name) in enumerate(items):
            path = tmp_path / "work" / "photos" / split / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded)
    (tmp_path / "work" / "photo.jpg").write_bytes(photos["validation"][0][0])
    program = tmp_path / "bin" / "wae-jax"
    program.parent.mkdir()
    cases = "".join(f'{name}) set -- "$@" {" ".join(more)};;\n' for name, more in TINY.items())
    python = f"PYTHONPATH={root} exec {sys.executable} -m wae_jax"
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\n{python} "$@"\n')
    program.chmod(0o755)
    return tmp_path / "work"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_and_program_of_the_tutorial(folder, root, run_env):
    text = (root / "docs" / "tutorial.md").read_text()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bins = [str(folder.parent / "bin"), os.path.dirname(sys.executable), run_env["PATH"]]
    env = run_env | {"PATH": os.pathsep.join(bins), "PORT": str(port)}
    # A hundred calls of a ResNet-50: here optimising pays.
    env["XLA_FLAGS"] = " ".join(f for f in env["XLA_FLAGS"].split() if "optimization" not in f)
    kinds, outputs = [], []
    for block in BLOCKS.finditer(text):
        kind, content = block.groups()
        kinds.append(kind)
        if kind == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", content],
                cwd=folder,
                env=env,
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{content}\n{done.stderr}"
            outputs.append(done.stdout)
        elif kind == "python":
            name = SAVED_AS.findall(text[: block.start()])[-1]
            (folder / name).write_text(content)
    assert set(kinds) == {"text", "bash", "python"} and kinds.count("bash") == len(outputs) == 6
    weights, summary, train, _, export, answer = outputs
    assert weights.splitlines()[-4] == "photo.jpg"
    assert re.search(r"full resolution: .* 3\.\d\d times as many", summary)
    figures = [json.loads(line) for line in train.splitlines()[-2:]]
    assert figures[0]["eval_count"] == figures[1]["eval_count"] == 12
    with open(folder / "predictions.csv") as file:
        assert len(list(csv.DictReader(file))) == 12
    predicted = json.loads(export.splitlines()[-1])["classes"]
    served = json.loads(answer)
    assert served == pytest.approx({c["name"]: c["probability"] for c in predicted}, abs=0.05)
