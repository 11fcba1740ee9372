"""TFDS data sets that we write ourselves: built aside, whole or absent, one builder at a time."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow_datasets as tfds

from wae_jax.data.sources import fetch
from wae_jax.runtime import files

# Written last into a prepared folder: {file name: size in bytes} of everything else in it.
_MANIFEST = "prepared.json"


def prepare(
    make_builder: Callable[[Path], tfds.core.DatasetBuilder],
    name: str,
    version: str,
    *,
    cache_dir: str | os.PathLike = "",
) -> Path:
    """Prepares a data set under `<cache>/tfds/<name>/<version>` unless it is complete already.

    The data set is written to a scratch folder and renamed when whole, under a lock, so that a
    killed run leaves nothing that looks finished and two runs at once build it only once.

    Args:
        make_builder: gets a data folder, returns the TFDS builder that writes there.
        name: TFDS name of the data set.
        version: its version, "major.minor.patch".
        cache_dir: see `fetch.cache_root`.

    Returns:
        The folder, for `tfds.builder_from_directory`.

    Raises:
        UserError: what the builder needs cannot be fetched.
    """
    root = fetch.cache_root(cache_dir) / "tfds"
    final = root / name / version
    if is_complete(final):
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with files.exclusive(root / name):
        if is_complete(final):  # another process was first
            return final
        scratch = root / f".preparing-{name}"
        for leftover in (scratch, final):
            shutil.rmtree(leftover, ignore_errors=True)
        if not sys.stderr.isatty():
            tfds.disable_progress_bar()
        # TFDS prints its messages on stdout, which belongs to the program's results.
        with contextlib.redirect_stdout(sys.stderr):
            make_builder(scratch).download_and_prepare(download_dir=scratch / "downloads")
        built = scratch / name / version
        sizes = {path.name: path.stat().st_size for path in sorted(built.iterdir())}
        (built / _MANIFEST).write_text(json.dumps(sizes, indent=1))
        os.replace(built, final)
        shutil.rmtree(scratch)
    return final


def is_complete(folder: Path) -> bool:
    """Says whether `folder` has every file of a finished preparation, at its full size."""
    try:
        sizes = files.read_json(folder / _MANIFEST)
        return bool(sizes) and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, AttributeError):
        return False
