"""What is handed on: version, pins that fit together, container, wheel and notebook."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import wae_jax
from tools import check_wheel

BIN = Path(sys.executable).parent
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)(?: ;.*)? \\\n((?: {4}--hash=.*\n?)+)", re.M)
FILES = [f"requirements{kind}.txt" for kind in ("", "-dev", "-docs", "-cuda", "-tpu")]
HOLD_ALL = FILES[1:2] + FILES[3:]  # of requirements.txt


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path):
    """{name: version}; every line of the file is a comment, a pin or a hash of it."""
    text = path.read_text()
    found = {plain(name): version for name, version, _ in PIN.findall(text)}
    rest = [line for line in PIN.sub("", text).splitlines() if not line.startswith("#")]
    assert not any(rest), f"{path.name}: {rest}"
    return found


def test_one_version(root):
    assert re.fullmatch(r"\d+\.\d+\.\d+", wae_jax.__version__)
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    source = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert source == "wae_jax.__version__"
    cited = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text(), re.M)
    assert cited[1] == wae_jax.__version__


@pytest.mark.parametrize("name", FILES)
def test_pins_have_hashes_and_no_address(name, root):
    assert len(pins(root / name)) > 20
    text = (root / name).read_text()
    assert "://" not in text and "index" not in text.lower()
    assert text.count("--hash=sha256:") == text.count("--hash")


@pytest.mark.parametrize("name", FILES[1:])
def test_pins_agree(name, root):
    """So that pip takes any two of these files at once."""
    ours, theirs = pins(root / "requirements.txt"), pins(root / name)
    assert {n: v for n, v in theirs.items() if ours.get(n, v) != v} == {}
    if name in HOLD_ALL:
        assert ours.keys() <= theirs.keys()


def test_all_that_the_package_needs_is_pinned(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    needed = {plain(re.match(r"[\w-]+", line)[0]) for line in project["dependencies"]}
    assert needed <= pins(root / "requirements.txt").keys()
    tools = (root / "requirements-dev.in").read_text().splitlines()
    tested = {plain(re.match(r"[\w-]+", line)[0]) for line in tools if not line.startswith("#")}
    for extra in ("onnx", "openvino", "compress", "stablehlo"):
        lines = project["optional-dependencies"][extra]
        tested |= {plain(re.match(r"[\w-]+", line)[0]) for line in lines}
    assert tested <= pins(root / "requirements-dev.txt").keys()


# The container, which is not built here


def hadolint(text):
    return subprocess.run(
        [BIN / "hadolint", "-"], input=text, capture_output=True, text=True, check=False
    )


def test_hadolint_finds_nothing_in_the_dockerfile(root):
    text = (root / "Dockerfile").read_text()
    done = hadolint(text)
    assert (done.returncode, done.stdout) == (0, "")
    assert "DL3002" in hadolint(text.replace("USER 1000", "USER root")).stdout


def test_the_container_has_what_it_copies_and_runs_as_nobody(root):
    text = (root / "Dockerfile").read_text()
    copied = {
        name
        for line in re.findall(r"^COPY (.+)$", text, re.M)
        for name in line.split()[:-1]  # the last is where to
    }
    let_in = re.findall(r"^!(\S+)$", (root / ".dockerignore").read_text(), re.M)
    assert copied == set(let_in)
    assert all((root / name).exists() for name in copied)
    assert re.search(r"^USER 1000$", text, re.M)
    assert re.search(r'^ENTRYPOINT \["wae-jax"\]$', text, re.M)


# What takes minutes


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_wheel_works_on_every_python_with_old_and_new_jax(capfd):
    """Also builds it; a Python that is not on this machine fails it, by name."""
    assert check_wheel.main([]) == 0, capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_runs_from_top_to_bottom(root, run_env, cifar10, tmp_path):
    """Copied into a folder like a clone, with a wae-jax on the PATH, and few steps."""
    notebook = tmp_path / "docs" / "quickstart.ipynb"
    notebook.parent.mkdir()
    notebook.write_bytes((root / "docs" / "quickstart.ipynb").read_bytes())
    (tmp_path / "configs").symlink_to(root / "configs")
    program = tmp_path / "bin" / "wae-jax"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m wae_jax "$@"\n')
    program.chmod(0o755)
    few = ("--config.stages.joint.steps=3", "--config.data.eval_split=test[:200]")
    environment = run_env | {
        "WAE_JAX_NOTEBOOK_TRAIN": " ".join(few),
        "WAE_JAX_NOTEBOOK_INSTALL": "no",
        "PYTHONPATH": str(root),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbmake",
            "--overwrite",
            "-p",
            "no:cacheprovider",
            notebook,
        ],
        cwd=notebook.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    cells = json.loads(notebook.read_text())["cells"]
    made = [output for cell in cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in made)
    assert (tmp_path / "runs" / "notebook.onnx").stat().st_size > 0


def test_the_notebook_is_kept_without_outputs(root):
    cells = json.loads((root / "docs" / "quickstart.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)
