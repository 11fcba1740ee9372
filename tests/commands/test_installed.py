"""The package away from its repository: what it imports, and all of it from an installed wheel."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv

import PIL.Image
import pytest
import safetensors.numpy

from tests.commands.conftest import resnet18
from tests.pretrained import seeded

# Extras of pyproject.toml, and what is used where it happens to be there.
OPTIONAL = {"torch", "torchvision", "tensorflow", "onnx", "onnxruntime", "flatbuffers"}
CLASSES = ("cat", "dog", "owl")


def imported_by(path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    return found


def test_configs_import_only_the_package(root):
    """So their paths work from any folder."""
    for path in (root / "configs").glob("*.py"):
        assert imported_by(path) == {"wae_jax"}, path


def test_all_that_is_imported_is_among_the_dependencies(root):
    def plain(name):
        return re.sub(r"[-_.]+", "-", name).lower()

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    needed = {plain(re.match(r"[\w-]+", line)[0]) for line in project["dependencies"]}
    owners = importlib.metadata.packages_distributions()
    missing = set()
    for path in (root / "wae_jax").rglob("*.py"):
        for name in imported_by(path) - sys.stdlib_module_names - OPTIONAL - {"wae_jax"}:
            if not {plain(owner) for owner in owners[name]} & needed:
                missing.add(name)
    assert not missing


def test_the_package_needs_no_file_of_the_repository(root):
    assert not [p for p in (root / "wae_jax").rglob("*.py") if "__file__" in p.read_text()]
    # A file of another kind gets into the wheel only where pyproject.toml names it.
    tools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    named = {
        path
        for package, patterns in tools["package-data"].items()
        for pattern in patterns
        for path in (root / package.replace(".", "/")).glob(pattern)
    }
    others = {p for p in (root / "wae_jax").rglob("*") if p.suffix not in ("", ".py", ".pyc")}
    assert others == named


@pytest.fixture(scope="module")
def installed(root, run_env, tmp_path_factory):
    """Function that runs a program of an environment with the wheel, in an empty folder.

    The environment sees the packages of this one; only the package itself is installed.
    """
    folder = tmp_path_factory.mktemp("installed")
    source, place, home = (folder / name for name in ("source", "environment", "elsewhere"))
    source.mkdir()
    home.mkdir()
    # pip builds in the folder that it is given, and takes what lies in build/ there.
    shutil.copytree(root / "wae_jax", source / "wae_jax")
    shutil.copy(root / "pyproject.toml", source)
    for name in ("README.md", "LICENSE"):
        if (root / name).exists():
            shutil.copy(root / name, source)
    venv.create(place, symlinks=True, with_pip=False)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "present.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {
        name: value for name, value in run_env.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    environment["PATH"] = os.pathsep.join([str(place / "bin"), environment["PATH"]])

    def run(*arguments):
        program, *rest = map(str, arguments)
        done = subprocess.run(
            [place / "bin" / program, *rest],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    major = int(importlib.metadata.version("setuptools").partition(".")[0])
    isolation = ["--no-build-isolation"] if major >= 77 else []
    run("python", "-m", "pip", "install", "--quiet", "--no-deps", *isolation, source)
    shutil.rmtree(source)
    found = run("python", "-c", "import wae_jax; print(wae_jax.__file__)").strip()
    assert found.startswith(str(packages))
    return run, home


@pytest.mark.nightly
def test_import_predict_evaluate_bench_and_train_from_a_wheel(installed, root):
    run, home = installed
    safetensors.numpy.save_file(resnet18(root, len(CLASSES)), home / "net.safetensors")
    (home / "labels.txt").write_text("\n".join(CLASSES))
    for split in ("train", "validation"):
        for name in CLASSES:
            folder = home / "photos" / split / name
            folder.mkdir(parents=True)
            for i, image in enumerate(seeded.images(2, 64)):
                PIL.Image.fromarray(image).save(folder / f"{i}.jpg")

    assert "import-weights" in run("wae-jax", "--help")
    assert run("python", "-m", "wae_jax", "--help") == run("wae-jax", "--help")

    out = run(
        "wae-jax",
        "import-weights",
        "--source=torchvision",
        "--model=resnet18",
        "--in=net.safetensors",
        "--out=imported",
        "--labels=labels.txt",
    )
    assert out == "imported\n"

    lines = run("wae-jax", "predict", "--checkpoint=imported", "--json", "photos").splitlines()
    assert len(lines) == 12
    assert {each["name"] for each in json.loads(lines[0])["classes"]} == set(CLASSES)

    out = run("wae-jax", "evaluate", "--checkpoint=imported", "--data=folder", "--data_dir=photos")
    assert json.loads(out.splitlines()[-1])["eval_count"] == 6

    config = f"--config={root / 'configs' / 'quickstart.py'}"
    tiny = (
        "--config.data.name=folder",
        "--config.data.data_dir=photos",
        "--config.data.eval_split=validation",
        "--config.data.augmentation=imagenet",
        "--config.data.image_size=16",
        "--config.model.backbone.plan=4 M",
    )
    out = run(
        "wae-jax",
        "bench",
        config,
        *tiny,
        "--methods=full,wae-fast",
        "--batch_sizes=2",
        "--seconds=0.05",
        "--csv=bench.csv",
    )
    assert "| wae-fast" in out
    assert (home / "bench.csv").exists() and (home / "bench.env.json").exists()

    out = run(
        "wae-jax",
        "train",
        config,
        *tiny,
        "--config.run_stages=('joint',)",
        "--config.stages.joint.steps=2",
        "--config.stages.joint.batch_size=4",
        "--workdir=run",
    )
    assert json.loads(out.splitlines()[-1])["eval_count"] == 6

    run("wae-jax", "report", "--workdir=run", "--seconds=1", "--count=2")
    page = (home / "report.html").read_text()
    assert "Model card" in page and "prefers-color-scheme: dark" in page
