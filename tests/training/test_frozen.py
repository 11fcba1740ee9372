"""What a stage leaves out stays, norms and their statistics included."""

import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.runtime.devices import Parallel
from wae_jax.training import frozen
from wae_jax.training.run import check_patterns
from wae_jax.training.stages import trainable_labels
from wae_jax.training.steps import stage_loss

HEADS_AND_LIGHT = "head_|light/"


class Norms(nn.Module):
    """A user's own network with flax's norms, told what to do in flax's way."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(4, (3, 3), name="first")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        x = nn.Conv(4, (3, 3), name="second")(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, name="last")(x))


@pytest.fixture(autouse=True)
def own_module(monkeypatch):
    module = types.ModuleType("own_networks")
    module.Norms = Norms
    monkeypatch.setitem(sys.modules, "own_networks", module)


OWN = {"model.backbone.name": "own_networks:Norms", "model.light.name": "vgg"}
OWN |= {"model.light.plan": "4 M", "model.light.width": 1.0, "model.light.batch_norm": True}


def trained(make_trainer, pattern, changes=None):
    """The joint stage with weight decay, which would move weights that get no gradient."""
    return make_trainer(
        "joint",
        {
            "model.backbone.plan": "4 M",
            "stages.joint.trains": pattern,
            "stages.joint.weight_decay": 0.1,
            "stages.joint.decay_biases": True,
        }
        | (changes or {}),
    )


def after_steps(trainer, parallel, steps=3):
    step = parallel.compile_train_step(trainer.train_step(parallel.axis_name))
    state = parallel.put_state(trainer.new_state())
    for number in range(steps):
        state, _ = step(state, parallel.put_train_batch(trainer.batch(number)))
    return jax.device_get(parallel.get_state(state))


def moved(before, after) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "pattern, changes",
    [(HEADS_AND_LIGHT, {}), ("(?!backbone/module/(first|norm)/)", OWN)],
    ids=["part", "own"],
)
def test_frozen_parameters_and_statistics_stay_bit_for_bit(
    mode, pattern, changes, make_trainer, flat
):
    trainer = trained(make_trainer, pattern, changes)
    state = after_steps(
        trainer, Parallel(ParallelSettings(mode=mode, devices=0 if mode == "jit" else 2))
    )
    trains = trainable_labels(trainer.variables["params"], pattern)
    names = jax.tree.map(str, trains)
    expected = {name for name, label in flat(names).items() if label == "train"}
    params, statistics = flat(trainer.variables["params"]), flat(trainer.variables["batch_stats"])
    assert moved(params, flat(state.params)) == expected
    # Each norm here has parameters of its own, but for the front end's.
    of_norms = {name: f"{name.rpartition('/')[0]}/scale" for name in statistics}
    frontend_trains = any(name.startswith("frontend/") for name in expected)
    assert any(name.startswith("backbone/") for name in statistics)
    assert moved(statistics, flat(state.batch_stats)) == {
        name
        for name, scale in of_norms.items()
        if (frontend_trains if name.startswith("frontend/") else scale in expected)
    }


def forward(trainer, variables, batch, *, inside):
    """Outputs in training, within the stage's rule or without."""

    @jax.jit
    def run(variables, images):
        def outputs():
            return trainer.model.apply(
                variables, images, train=True, reconstruct=True, mutable=["batch_stats"]
            )[0]

        if not inside:
            return outputs()
        with frozen.as_in_evaluation(trainer.labels):
            return outputs()

    return run(variables, batch["image"])


@pytest.mark.parametrize("changes", [{}, OWN], ids=["vgg", "own"])
def test_frozen_parts_run_as_in_evaluation(changes, make_trainer):
    """The backbone is frozen with all its norms; those of the light branch use their batch."""
    trainer = trained(make_trainer, HEADS_AND_LIGHT, changes)
    batch = trainer.batch(0)
    variables = jax.tree.map(jnp.array, trainer.variables)
    expected = jax.jit(trainer.model.apply)(variables, batch["image"])
    found = forward(trainer, variables, batch, inside=True)
    np.testing.assert_allclose(found.low_scores, expected.low_scores, rtol=1e-5, atol=1e-6)
    assert np.abs(found.fused_scores - expected.fused_scores).max() > 1e-2
    without = forward(trainer, variables, batch, inside=False)
    assert np.abs(without.low_scores - expected.low_scores).max() > 1e-2


def test_the_step_computes_its_loss_so(make_trainer):
    """All norms are frozen: the first loss is that of the network in evaluation."""
    trainer = trained(make_trainer, "head_")
    batch = trainer.batch(0)
    outputs = jax.jit(lambda v, x: trainer.model.apply(v, x, reconstruct=True))(
        trainer.variables, batch["image"]
    )
    expected = stage_loss(outputs, batch, trainer.stage.settings, trainer.settings.losses)[0]
    found = trainer.run(1)[1][0]["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


NOTHING = "no_such_parameter"


@pytest.mark.parametrize("pattern", [HEADS_AND_LIGHT, NOTHING])
@pytest.mark.parametrize("changes", [{}, OWN, {"ema_decay": 0.5}], ids=["vgg", "own", "average"])
def test_statistics_of_frozen_parts_move_where_the_stage_says_so(
    pattern, changes, make_trainer, flat
):
    trainer = trained(make_trainer, pattern, {"stages.joint.statistics": True} | changes)
    state, _ = trainer.run(2)
    statistics = flat(trainer.variables["batch_stats"])
    assert moved(statistics, flat(state.batch_stats)) == statistics.keys()
    params = flat(trainer.variables["params"])
    trains = {name for name, label in flat(trainer.labels).items() if str(label) == "train"}
    assert moved(params, flat(state.params)) == trains
    assert bool(trains) == (pattern != NOTHING)
    if state.ema:
        averaged = flat(state.ema["batch_stats"])
        assert moved(statistics, averaged) == statistics.keys()


def test_norms_then_run_as_in_training(make_trainer):
    """The loss is that of the whole network in training."""
    changes = {"stages.joint.statistics": True}
    alone, whole = trained(make_trainer, NOTHING, changes), trained(make_trainer, ".*")
    found, expected = (trainer.run(1)[1][0]["loss"] for trainer in (alone, whole))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    still = trained(make_trainer, "head_").run(1)[1][0]["loss"]
    assert abs(still - expected) > 1e-3


def test_a_stage_that_would_move_nothing_is_refused(make_trainer):
    changes = {
        "stages.joint.statistics": True,
        "model.frontend.name": "identity",
        "model.backbone.batch_norm": False,
    }
    trainer = trained(make_trainer, NOTHING, changes)
    with pytest.raises(
        UserError, match=r"stages\.joint trains nothing, and .* no batch statistics"
    ):
        check_patterns((trainer.stage,), trainer.model, 16)


LABELS = {
    "frontend": {"encoder": {"conv": {"kernel": "freeze"}}},
    "backbone": {"norm": {"scale": "freeze", "bias": "train"}, "conv": {"kernel": "freeze"}},
}


@pytest.mark.parametrize(
    "path, expected",
    [
        (("frontend", "norm_low"), True),  # goes with the front end
        (("backbone", "norm"), False),  # a norm whose bias trains is not frozen
        (("backbone", "conv"), True),
        (("backbone", "conv", "inner"), True),
        (("backbone", "other"), False),  # without parameters: with the backbone, part of it trains
        (("light", "norm"), False),  # with the whole network
    ],
)
def test_what_a_norm_goes_with(path, expected):
    assert frozen.is_frozen(LABELS, path) == expected
