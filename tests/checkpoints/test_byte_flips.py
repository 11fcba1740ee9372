"""Any damage to a checkpoint's files is seen, and the one before it used; or it changes nothing."""

import logging
import random
import shutil

import jax
import numpy as np
import pytest

from tests.checkpoints.conftest import META, make_state
from wae_jax.checkpoints import folders, store


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """With the steps 1 and 2, of which 2 is damaged and mended again and again."""
    workdir = tmp_path_factory.mktemp("flips")
    for step in (1, 2):
        store.save(workdir, make_state(step), META, keep=2)
    return workdir


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Each damage is a warning."""
    caplog.set_level(logging.CRITICAL, "wae_jax")


@pytest.fixture(scope="module")
def files(workdir):
    """All of step 2, the manifest too, with their content."""
    found = sorted(p for p in (workdir / "checkpoints" / "2").rglob("*") if p.is_file())
    return {path: path.read_bytes() for path in found}


def is_seen(workdir, what) -> bool:
    """Whether the run goes on from step 1; else step 2 has to hold exactly what was saved."""
    found = folders.find(str(workdir))
    if found.name == "1":
        return True
    state = make_state(2)
    restored = store.restore_state(found, make_state(0))
    for value, expected in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(value, expected, err_msg=what)
    meta = store.read_meta(found)
    assert {key: meta[key] for key in META if key != "config"} == {
        key: value for key, value in META.items() if key != "config"
    }, what
    assert meta["step"] == 2, what
    return False


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_bytes_at_random_positions(count, workdir, files):
    draw, paths = random.Random(count), list(files)
    sizes, seen = [len(files[path]) for path in paths], 0
    for _ in range(count):
        path = draw.choices(paths, sizes)[0]
        content = bytearray(files[path])
        position, mask = draw.randrange(len(content)), draw.randrange(1, 256)
        content[position] ^= mask
        path.write_bytes(content)
        try:
            seen += is_seen(workdir, f"{path} at {position} ^ {mask}")
        finally:
            path.write_bytes(files[path])
    # What is harmless is little: white space of the manifest that has become other white space.
    assert seen >= 0.95 * count
    assert folders.find(str(workdir)).name == "2"


@pytest.mark.parametrize("damage", ["truncated", "longer", "empty", "missing", "a folder"])
def test_each_file(damage, workdir, files):
    for path, content in files.items():
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        elif damage != "missing":
            new = {"truncated": content[:-1], "longer": content + b"\n", "empty": b""}[damage]
            path.write_bytes(new)
        try:
            harmless = (damage == "longer" and path.name == "manifest.json") or (
                content == b"" and damage == "empty"
            )
            assert is_seen(workdir, f"{path} {damage}") != harmless, path
        finally:
            if path.is_dir():
                path.rmdir()
            path.write_bytes(content)


def test_each_folder_that_is_missing(workdir, tmp_path):
    step = workdir / "checkpoints" / "2"
    inner = [path for path in step.rglob("*") if path.is_dir() and any(path.iterdir())]
    assert len(inner) > 3
    for path in inner:
        path.rename(tmp_path / "away")
        assert is_seen(workdir, f"{path} missing"), path
        shutil.move(tmp_path / "away", path)
    assert folders.find(str(workdir)).name == "2"
