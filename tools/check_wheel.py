"""Tries the wheel in fresh environments: on each Python, with the oldest jax and with the newest.

    python tools/check_wheel.py                        builds the wheel, then 3.11, 3.12 and 3.13
    python tools/check_wheel.py --pythons=3.12 --wheel=dist/wae_jax-0.2.0-py3-none-any.whl

In each it installs the wheel alone, trains a tiny network on photos that it makes, classifies them
with the checkpoint, and prints a line. Needs uv and a Python package index; a Python that is not on
this machine is named, and the exit status is 1 then, too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = str(Path(sys.executable).with_name("uv"))  # in the environment that runs this
PYTHONS = ("3.11", "3.12", "3.13")
# What uv is told of jax, and what is expected of it.
OLDEST, NEWEST = "jax==0.10.*", "jax"
PHOTOS = """
import pathlib, numpy, PIL.Image
for split in ("train", "validation"):
    for shade, name in enumerate(("cat", "dog")):
        folder = pathlib.Path("photos", split, name)
        folder.mkdir(parents=True)
        for i in range(4):
            noise = numpy.random.default_rng(i).integers(0, 128, (48, 48, 3)) + 127 * shade
            PIL.Image.fromarray(noise.astype("uint8")).save(folder / f"{i}.jpg")
"""
CONFIG = """
from wae_jax import default_config


def get_config():
    config = default_config()
    config.data.update(name="folder", data_dir="photos", image_size=32, eval_batch_size=4)
    config.model.backbone.update(name="vgg", plan="4 M", batch_norm=True)
    config.model.head.update(kind="pool", dropout=0.0)
    config.losses.reduction = "mean"
    for stage in config.stages.values():
        stage.update(steps=2, batch_size=4)
    return config
"""


class CheckError(Exception):
    """A program failed; the message has its last lines."""


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """The stdout of a program, which must succeed."""
    # Nothing of the environment around it: not its packages, not a cache with the wheel's own name.
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join(f"{done.stdout}\n{done.stderr}".strip().splitlines()[-15:])
        raise CheckError(f"{' '.join(map(str, command))}\n{last}")
    return done.stdout


def find_python(version: str) -> str:
    """Path of an interpreter of that version; empty where there is none."""
    try:
        find = (UV, "python", "find", "--no-python-downloads", version)
        return run(*find, PYENV_VERSION=version).strip()  # else pyenv shows only its chosen ones
    except CheckError:
        return ""


def check(python: str, jax: str, wheel: Path, known: str) -> str:
    """Tries the wheel with an interpreter and a jax; the versions of both.

    Args:
        python: path of the interpreter.
        jax: the requirement of jax.
        wheel: path of the wheel.
        known: versions that were tried before, and need not be again.

    Raises:
        CheckError: It cannot be installed, or a command fails or says something else.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(UV, "venv", "--quiet", "--python", python, folder / "env")
        inside = folder / "env" / "bin"
        install = (UV, "pip", "install", "--quiet", "--python", inside / "python")
        run(*install, wheel, jax)
        versions = (
            "import sys, jax; print(f'Python {sys.version.split()[0]}, jax {jax.__version__}')"
        )
        found = run(inside / "python", "-c", versions).strip()
        if found == known:
            return found
        (folder / "tiny.py").write_text(CONFIG)
        run(inside / "python", "-c", PHOTOS, cwd=folder)
        program = inside / "wae-jax"
        if run(program, "--version").split()[1] != wheel.name.split("-")[1]:
            raise CheckError(f"{found}: wae-jax --version is not that of {wheel.name}")
        run(program, "train", "--config=tiny.py", "--workdir=run", cwd=folder)
        lines = run(program, "predict", "--checkpoint=run", "--json", "photos", cwd=folder)
        if len(lines.splitlines()) != 16:
            raise CheckError(f"{found}: predict printed {len(lines.splitlines())} lines of 16")
    return found


def build() -> Path:
    """The wheel, made anew in dist/ from the source archive beside it."""
    run(sys.executable, "-m", "build", "--outdir", "dist", ".")
    return max((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)


def main(argv: list[str] | None = None) -> int:
    """Runs the program; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", default=",".join(PYTHONS), help="versions, comma-separated")
    parser.add_argument("--wheel", type=Path, help="default: built from this folder")
    options = parser.parse_args(argv)
    wheel = (options.wheel or build()).resolve()
    failed = False
    for version in options.pythons.split(","):
        python = find_python(version)
        if not python:
            print(f"Python {version}: not on this machine", flush=True)
            failed = True
            continue
        known = ""
        for jax in (OLDEST, NEWEST):
            began = time.monotonic()
            try:
                found = check(python, jax, wheel, known)
            except CheckError as error:
                print(f"Python {version}, {jax}: FAILED\n{error}", flush=True)
                failed = True
            else:
                took = f"{time.monotonic() - began:.0f} s"
                result = "the newest, too" if found == known else f"ok, {took}"
                print(f"{found} ({jax}): {result}", flush=True)
                known = found
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
