"""Reads the arrays of an HDF5 file, if a process of its own could do so before.

The HDF5 library is not made for damaged files: on some it runs for ever, or crashes. So this module
is a program too, which imports nothing else of the package: it reads a file and says what is wrong.
"""

import importlib.resources
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

TRIAL_S = 30.0  # for the trial of a small file
_BYTES_PER_S = 10e6  # the slowest disk that a large one is read from
_DEFLATE_RATIO = 1032  # the most that zlib can make of a byte


class Content(NamedTuple):
    """The arrays below ``model_weights`` (or the root) by their paths there, and the config."""

    arrays: dict[str, np.ndarray]
    config: str | None


def read(path: Path) -> Content:
    """What a file holds.

    Raises:
        ValueError: it is damaged, claims more numbers than it has, or has them elsewhere.
        OSError: it cannot be opened.
    """
    limit = TRIAL_S + path.stat().st_size / _BYTES_PER_S
    try:
        trial = subprocess.run(
            [sys.executable, "-P", _program(), path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the HDF5 library has not read it in {limit:.0f} s") from error
    if trial.returncode:
        said = trial.stdout.decode(errors="replace").strip()
        raise ValueError(said or "the HDF5 library crashes on it")
    return _read(path)


def _program() -> str:
    """The file of this module."""
    return str(importlib.resources.files("wae_jax.pretrained") / "h5.py")


def _read(path: Path) -> Content:
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = _numbers(name, item)

    with h5py.File(path, "r") as file:
        inner = isinstance(file.get("model_weights", getlink=True), h5py.HardLink)
        (file["model_weights"] if inner else file).visititems(collect)
        config = file.attrs.get("model_config")
    return Content(arrays, config.decode() if isinstance(config, bytes) else config)


def _numbers(name: str, item: h5py.Dataset) -> np.ndarray:
    if item.dtype.kind not in "fiu":
        raise ValueError(f"{name!r} holds no numbers")
    if item.external or item.is_virtual:
        raise ValueError(f"{name!r} has its numbers in other files")
    filters = item.id.get_create_plist().get_nfilters()
    if item.nbytes > item.id.get_storage_size() * (_DEFLATE_RATIO if filters else 1):
        raise ValueError(f"{name!r} claims {item.nbytes} bytes of numbers, which are not there")
    return item[()]


if __name__ == "__main__":
    try:
        _read(Path(sys.argv[1]))
    except Exception as problem:  # h5py raises many kinds for damaged files
        print(" ".join(str(problem).split())[:300] or type(problem).__name__)
        sys.exit(1)
