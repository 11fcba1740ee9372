"""A checkpoint with what is no number, as older versions saved them, is used by no command."""

import shutil

import numpy as np
import pytest

from tests.commands.conftest import call
from wae_jax.checkpoints import folders, store
from wae_jax.checkpoints.state import TrainState
from wae_jax.errors import UserError


@pytest.fixture(scope="module")
def diverged(trained, tmp_path_factory):
    """A copy of a run whose newest checkpoint has one weight that is NaN."""
    workdir = tmp_path_factory.mktemp("diverged") / "run"
    shutil.copytree(trained[0], workdir)
    step = folders.find(str(workdir))
    meta, variables = store.read_meta(step), store._read(step, "variables")
    kernel = np.array(variables["params"]["frontend"]["encoder"]["conv1"]["kernel"])
    kernel.flat[0] = np.nan
    variables["params"]["frontend"]["encoder"]["conv1"]["kernel"] = kernel
    state = TrainState(np.int32(int(step.name)), **variables, opt_state=())
    store.save(workdir, state, meta, keep=100)
    return workdir


@pytest.mark.parametrize("arguments", [["evaluate"], ["predict", "photo.png"]])
def test_no_command_uses_it(arguments, diverged, refuse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").touch()
    words = ["no finite number", "frontend/", str(diverged)]
    refuse(words, *arguments, f"--checkpoint={diverged}")


def test_nor_does_a_run_start_from_it(diverged, trained):
    like = store._read(folders.find(str(trained[0])), "variables")
    with pytest.raises(UserError, match="no finite number"):
        store.restore_variables(folders.find(str(diverged)), like)


def test_the_step_before_it_is_still_good(diverged, trained):
    steps = folders.steps(diverged / folders.FOLDER)
    assert len(steps) > 1
    assert call("evaluate", f"--checkpoint={steps[1]}") == 0
