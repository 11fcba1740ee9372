"""Checkpoints written while the caller goes on."""

import shutil
import threading

import jax
import numpy as np
import pytest

from tests.checkpoints.conftest import META, make_state
from wae_jax.checkpoints import folders, manifest, store
from wae_jax.checkpoints.writer import Writer
from wae_jax.errors import UserError


@pytest.fixture
def writer(tmp_path):
    writer = Writer(tmp_path)
    yield writer
    writer.close()


@pytest.fixture
def slow_disk(monkeypatch):
    """An event without which nothing is written."""
    go, real = threading.Event(), store._write

    def write(*args):
        assert go.wait(60)
        real(*args)

    monkeypatch.setattr(store, "_write", write)
    yield go
    go.set()


def test_the_caller_goes_on_and_may_donate_its_state(writer, slow_disk, tmp_path):
    state = make_state(3)
    expected = jax.tree.map(np.array, state.variables)
    writer.save(state, META, keep=2)  # comes back, though nothing is written yet
    assert not folders.steps(tmp_path / "checkpoints")
    jax.block_until_ready(
        jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)(state)
    )
    slow_disk.set()
    writer.wait()
    step = folders.find(str(tmp_path))
    assert step.name == "3"
    found = store.restore_variables(step, make_state(0).variables)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_one_at_a_time(writer, slow_disk, tmp_path):
    writer.save(make_state(1), META, keep=2)
    second = threading.Thread(target=writer.save, args=(make_state(2), META), kwargs={"keep": 2})
    second.start()
    second.join(0.2)
    assert second.is_alive()
    slow_disk.set()
    second.join(60)
    writer.wait()
    assert [step.name for step in folders.steps(tmp_path / "checkpoints")] == ["2", "1"]


@pytest.mark.parametrize("asked_by", ["check", "save", "wait"])
def test_an_error_comes_once_and_as_one_line(asked_by, writer, tmp_path, monkeypatch):
    writer.save(make_state(1), META, keep=2)
    writer.wait()
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    writer.save(make_state(2), META, keep=2)
    writer._thread.submit(int).result()  # the job before it has ended
    ask = {"check": writer.check, "wait": writer.wait}
    ask["save"] = lambda: writer.save(make_state(3), META, keep=2)
    with pytest.raises(UserError, match=r"cannot write the checkpoint .*/2: it takes") as error:
        ask[asked_by]()
    assert "\n" not in str(error.value)
    writer.wait()
    assert folders.find(str(tmp_path)).name == "1"


@pytest.mark.parametrize("renamed", [False, True])
def test_a_workdir_that_goes_during_a_save_does_not_come_back(
    renamed, save_step, tmp_path, monkeypatch
):
    workdir, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    save_step(workdir, 1)
    real = store.ocp.Checkpointer.save

    def save(self, *args, **kwargs):
        workdir.rename(elsewhere)
        if not renamed:
            shutil.rmtree(elsewhere)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(store.ocp.Checkpointer, "save", save)
    with pytest.raises(UserError, match=f"cannot write the checkpoint {workdir}") as error:
        store.save(workdir, make_state(2), META, keep=2)
    assert "\n" not in str(error.value) and "/proc" not in str(error.value)
    assert not workdir.exists()
    assert elsewhere.exists() == renamed
    if renamed:
        assert not manifest.problem_with(folders.find(str(elsewhere)))
        assert folders.find(str(elsewhere)).name == "1"
