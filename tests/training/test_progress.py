"""Rates, means and evaluations of a running training."""

import json
import time

import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import ONE_BRANCH, TWO_BRANCHES
from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.runtime.devices import Parallel
from wae_jax.training import loop, progress
from wae_jax.training.stages import Stage

SMALL = TWO_BRANCHES | {
    "data.train_split": "train[:64]",
    "data.eval_split": "test[:32]",
    "data.eval_batch_size": 32,
    "data.image_size": 32,
    "parallel.devices": 1,
    "log_every": 1,
    "stages.autoencoder.steps": 2,
    "stages.classifier.steps": 2,
    "stages.joint.steps": 6,
}
ONE_STAGE = SMALL | ONE_BRANCH | {"stages.end_to_end.steps": 6}


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def evaluations(workdir):
    return [(line["stage"], line["step"]) for line in lines_of(workdir) if "eval_count" in line]


def test_means_are_those_of_the_steps():
    totals = progress.Totals()
    for step, loss in enumerate([1.0, 2.0, 6.0], start=1):
        totals.add(step, {"loss": jnp.float32(loss), "top1": jnp.float32(step)})
    assert totals.first_bad(np.asarray) is None
    assert totals.count == 3
    assert totals.take(np.asarray) == {"loss": 3.0, "top1": 2.0}
    totals.add(4, {"loss": jnp.float32(8.0), "top1": jnp.float32(0.0)})
    assert totals.take(np.asarray) == {"loss": 8.0, "top1": 0.0}


def test_the_first_step_without_a_finite_loss_is_remembered():
    totals = progress.Totals()
    for step, loss in enumerate([1.0, np.nan, np.inf, 2.0], start=7):
        totals.add(step, {"loss": jnp.float32(loss)})
    assert totals.first_bad(np.asarray) == (8, ["loss"])


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_means_are_the_same_wherever_steps_run(mode, make_trainer):
    trainer = make_trainer("end_to_end", ONE_BRANCH)
    expected = [metrics["loss"] for metrics in trainer.run(3)[1]]
    parallel = Parallel(ParallelSettings(mode=mode))
    step = parallel.compile_train_step(trainer.train_step(parallel.axis_name))
    state, totals = parallel.put_state(trainer.new_state()), progress.Totals()
    for number in range(3):
        state, metrics = step(state, parallel.put_train_batch(trainer.batch(number)))
        totals.add(number + 1, metrics)
    assert totals.first_bad(parallel.local_value) is None
    assert totals.take(parallel.local_value)["loss"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert progress.all_finite(parallel.get_state(state))


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_number_that_is_none_is_found_anywhere(bad):
    tree = {"step": jnp.int32(3), "params": [jnp.zeros(3), jnp.zeros((2, 2), jnp.bfloat16)]}
    assert progress.all_finite(tree)
    tree["params"][1] = tree["params"][1].at[1, 0].set(bad)
    assert not progress.all_finite(tree)


def test_pauses_are_no_part_of_rates(make_trainer, monkeypatch):
    settings = make_trainer("end_to_end", ONE_BRANCH).stage.settings
    stage = Stage("joint", settings, 0, 0, 100, steps_per_epoch=10.0)
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    meter = progress.Meter(stage)
    now[0] = 10.0
    meter.report(10, 10, {"loss": 1.0}, 0.1)
    now[0] = 12.0
    with meter.paused():
        now[0] = 1012.0  # a long evaluation
    now[0] = 1020.0
    line, text = meter.report(20, 10, {"loss": 1.0}, 0.1)
    assert line["images_per_s"] == pytest.approx(settings.batch_size * 10 / 10)
    assert text.endswith("1m20s left")  # 80 steps of a second
    assert meter.seconds == 20.0


@pytest.mark.slow
def test_evaluations_count_from_the_stages_start(tiny_config, cifar10, tmp_path):
    changes = {"eval_every_epochs": 0.5, "stages.joint.batch_size": 16}  # every other step
    loop.train(tiny_config(SMALL | changes), str(tmp_path))
    assert evaluations(tmp_path) == [
        ("autoencoder", 2),
        ("classifier", 4),
        ("joint", 6),
        ("joint", 8),
        ("joint", 10),
    ]


def test_evaluation_never_rounds_to_never(tiny_config, cifar10, tmp_path):
    loop.train(tiny_config(ONE_STAGE | {"eval_every_epochs": 0.001}), str(tmp_path))
    assert [step for _, step in evaluations(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("killed_at", [pytest.param("classifier", marks=pytest.mark.slow), "joint"])
def test_an_evaluation_that_was_due_is_made_on_resume(
    killed_at, tiny_config, cifar10, tmp_path, monkeypatch
):
    evaluate = loop._evaluate

    def die(run, state, stage):
        if stage.name == killed_at:
            raise KeyboardInterrupt
        return evaluate(run, state, stage)

    monkeypatch.setattr(loop, "_evaluate", die)
    with pytest.raises(KeyboardInterrupt):
        loop.train(tiny_config(SMALL), str(tmp_path))
    assert killed_at not in dict(evaluations(tmp_path))
    monkeypatch.setattr(loop, "_evaluate", evaluate)
    loop.train(tiny_config(SMALL), str(tmp_path))
    assert evaluations(tmp_path) == [("autoencoder", 2), ("classifier", 4), ("joint", 10)]


def test_a_state_that_is_no_number_is_not_saved(tiny_config, cifar10, tmp_path):
    changes = {"checkpoint_every": 1, "log_every": 50, "stages.end_to_end.learning_rate": 1e30}
    with pytest.raises(UserError, match=r"no finite number.* at step \d of stage end_to_end"):
        loop.train(tiny_config(ONE_STAGE | changes), str(tmp_path))
    kept = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert kept and max(kept) < 6


def test_weights_that_are_no_numbers_are_not_saved_after_a_finite_loss(
    tiny_config, cifar10, tmp_path
):
    """The rate throws them out of range in the first step, whose own loss is still a number."""
    changes = {"checkpoint_every": 1, "stages.end_to_end.learning_rate": 3e38}
    changes |= {"stages.end_to_end.weight_decay": 100.0}
    with pytest.raises(UserError, match=r"weights that are no finite numbers at step 1 of stage"):
        loop.train(tiny_config(ONE_STAGE | changes), str(tmp_path))
    assert np.isfinite(lines_of(tmp_path)[0]["loss"])
    assert not list(tmp_path.glob("checkpoints/*"))
