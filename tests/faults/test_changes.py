"""A run that goes on with other settings, where the user says so."""

import json
import shutil

import jax
import numpy as np
import pytest

from tests.networks import ONE_BRANCH, TWO_BRANCHES
from wae_jax.checkpoints import folders, store
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.training.loop import train
from wae_jax.training.workdir import changeable

SMALL = (
    TWO_BRANCHES
    | ONE_BRANCH
    | {
        "data.train_split": "train[:64]",
        "data.eval_split": "test[:32]",
        "data.eval_batch_size": 32,
        "data.image_size": 32,
        "parallel.devices": 1,
        "checkpoint_every": 3,
        "keep_checkpoints": 3,
        "stages.end_to_end.steps": 6,
    }
)
RATE, CLIP = "stages.end_to_end.learning_rate", "stages.end_to_end.clip_norm"


@pytest.fixture(scope="module")
def half_way(tiny_config, cifar10, tmp_path_factory):
    """A run that was stopped after half its steps, and the whole of it."""
    whole = tmp_path_factory.mktemp("changes") / "whole"
    train(tiny_config(SMALL), str(whole))
    half = shutil.copytree(whole, whole.with_name("half"))
    shutil.rmtree(half / "checkpoints" / "6")
    return half, whole


@pytest.fixture
def stopped(half_way, tmp_path):
    return shutil.copytree(half_way[0], tmp_path / "run")


def test_changes_are_refused_with_the_flag_that_allows_them(stopped, tiny_config):
    with pytest.raises(UserError, match=f"{RATE}.*0.002 now.*--continue_with_changes"):
        train(tiny_config(SMALL | {RATE: 0.002}), str(stopped))
    for key, value in (("seed", 1), ("stages.end_to_end.batch_size", 8)):
        with pytest.raises(UserError, match=rf"1 key\(s\) differ: {key}") as error:
            train(
                tiny_config(SMALL | {key: value, RATE: 0.002}),
                str(stopped),
                continue_with_changes=True,
            )
        assert "continue_with_changes" not in str(error.value)


def test_with_the_flag_they_are_in_force_and_logged(
    stopped, half_way, tiny_config, flat, as_described
):
    """Clipping puts a link into the optimiser's chain: its momentum must find its place."""
    changes = {RATE: 0.002, CLIP: 0.5}
    train(tiny_config(SMALL | changes), str(stopped), continue_with_changes=True)
    line = json.loads((stopped / "changes.jsonl").read_text())
    as_described(line, "changes.jsonl")
    as_described({"changes.jsonl"}, "A run's workdir")
    assert line["step"] == 3
    assert line["changes"] == {RATE: [0.01, 0.002], CLIP: [0.0, 0.5]}
    held = json.loads((stopped / "config.json").read_text())["stages"]["end_to_end"]
    assert (held["learning_rate"], held["clip_norm"]) == (0.002, 0.5)
    found, plain = (
        flat(store._read(folders.find(str(each)), "variables")["params"])
        for each in (stopped, half_way[1])
    )
    assert any((found[name] != plain[name]).any() for name in found)
    train(tiny_config(SMALL | changes), str(stopped))  # the same as any run now
    assert len((stopped / "changes.jsonl").read_text().splitlines()) == 1


def test_clipping_that_never_clips_changes_nothing(stopped, half_way, tiny_config, flat):
    train(tiny_config(SMALL | {CLIP: 1e9}), str(stopped), continue_with_changes=True)
    found, plain = (
        store._read(folders.find(str(each)), "training")["opt_state"]
        for each in (stopped, half_way[1])
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_stage_cannot_become_shorter_than_it_is(stopped, tiny_config):
    with pytest.raises(UserError, match="beyond this run's 2 steps"):
        train(
            tiny_config(SMALL | {"stages.end_to_end.steps": 2}),
            str(stopped),
            continue_with_changes=True,
        )


def test_momentum_cannot_appear_within_a_stage(stopped, tiny_config):
    with pytest.raises(UserError, match="another optimiser state"):
        train(
            tiny_config(SMALL | {"stages.end_to_end.momentum": 0.0}),
            str(stopped),
            continue_with_changes=True,
        )


def test_a_key_that_only_evaluation_reads_may_change(stopped, tiny_config):
    train(tiny_config(SMALL | {"data.eval_batch_size": 16}), str(stopped))


@pytest.mark.parametrize(
    "step, finished, begun, open_",
    [
        (None, "", "", "autoencoder classifier joint"),
        (2, "", "autoencoder", "classifier joint"),
        (4, "autoencoder", "", "classifier joint"),
        (6, "autoencoder", "classifier", "joint"),
    ],
)
def test_what_may_change_depends_on_the_stage(step, finished, begun, open_, tiny_config):
    names = ("autoencoder", "classifier", "joint")
    settings = settings_from_config(
        tiny_config({"run_stages": names} | {f"stages.{name}.steps": 4 for name in names})
    )
    meta = None if step is None else {"step": step, "data": {"num_examples": 64}}
    may = changeable(settings, meta)
    for stage in names:
        kept, free = f"stages.{stage}.batch_size", f"stages.{stage}.learning_rate"
        assert (free in may) == (stage not in finished.split())
        assert (kept in may) == (stage in open_.split())
        assert stage in f"{finished} {begun} {open_}"
    assert "seed" not in may
