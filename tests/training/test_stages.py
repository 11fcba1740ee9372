"""Stages: what moves and what does not, golden first-step metrics."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import register_short_resnets
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.models.backbones import BACKBONES
from wae_jax.models.classifier import build_model, variable_shapes
from wae_jax.training.stages import plan_stages, trainable_labels
from wae_jax.training.steps import stage_loss

DECAY = {f"stages.{name}.weight_decay": 0.1 for name in ("autoencoder", "classifier", "joint")}
DECAY |= {f"stages.{name}.decay_biases": True for name in ("autoencoder", "classifier", "joint")}
# The reconstruction takes part at full weight, so that every part of the joint loss shows.
CHANGES = DECAY | {"losses.gamma": 1.0, "ema_decay": 0.75}


@pytest.fixture(scope="module")
def trainers(make_trainer):
    return {name: make_trainer(name, CHANGES) for name in ("autoencoder", "classifier", "joint")}


def moved(before, after) -> set[str]:
    """Names of the arrays that changed by as much as one bit."""
    assert before.keys() == after.keys()
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


def in_frontend(names) -> set[str]:
    return {name for name in names if name.startswith("frontend/")}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("stage", ["autoencoder", "classifier", "joint"])
def test_a_stage_moves_its_own_part_and_nothing_else(stage, steps, trainers, flat):
    trainer = trainers[stage]
    state, _ = trainer.run(steps)
    for before, after in (
        (flat(trainer.variables["params"]), flat(state.params)),
        (flat(trainer.variables["batch_stats"]), flat(state.batch_stats)),
    ):
        frontend = in_frontend(before)
        assert frontend
        assert before.keys() - frontend
        expected = {
            "autoencoder": frontend,
            "classifier": before.keys() - frontend,
            "joint": before.keys(),
        }[stage]
        assert moved(before, after) == expected
    assert int(state.step) == steps


def test_frozen_parameters_have_no_optimiser_state(trainers, flat):
    """Momentum of a frozen parameter would be memory for nothing."""
    trainer = trainers["classifier"]
    kept = [x for x in flat(trainer.optimizer.init(trainer.variables["params"])).values() if x.ndim]
    trained = [
        x
        for name, x in flat(trainer.variables["params"]).items()
        if not name.startswith("frontend/") and x.ndim
    ]
    assert sorted(x.shape for x in kept) == sorted(x.shape for x in trained)


# Deep networks at a thirty-second or sixteenth of their width, so that they compile quickly.
SMALL = {
    "model.light.name": "vgg",
    "model.light.plan": "4 M",
    "model.light.width": 1.0,
    "model.backbone.stem": "small",
    "model.head.kind": "fc",
    "model.head.hidden_low": (8,),
    "model.head.hidden_fused": (8,),
}


# In the default suite: the same blocks and layers, and all that differ in more than their number.
SHORT = ("basic", "bottleneck", "vgg")


def random_variables(shapes, rng):
    """He-normal kernels, everything else away from 0: a residual block's last norm starts there."""

    def draw(leaf):
        if len(leaf.shape) > 1:
            scale = math.sqrt(2 / math.prod(leaf.shape[:-1]))
            return (scale * rng.standard_normal(leaf.shape)).astype(np.float32)
        return rng.uniform(0.3, 0.7, leaf.shape).astype(np.float32)

    return {
        "params": jax.tree.map(draw, shapes["params"]),
        "batch_stats": jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes["batch_stats"]),
    }


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SHORT else pytest.mark.slow)
        for name in sorted({*BACKBONES, *SHORT})
    ],
)
def test_every_parameter_gets_a_gradient_in_the_joint_stage(name, tiny_config, flat, monkeypatch):
    register_short_resnets(monkeypatch)
    width = 1 / 32 if name.startswith("vgg") else 1 / 16
    config = tiny_config(
        SMALL
        | {
            "model.backbone.name": name,
            "losses.gamma": 1.0,
            "model.backbone.width": 1.0 if name == "vgg" else width,
        }
    )
    settings = settings_from_config(config)
    size = settings.data.image_size
    model = build_model(settings.model, num_classes=10, image_size=size)
    rng = np.random.default_rng(0)
    variables = random_variables(variable_shapes(model, size), rng)
    images = rng.integers(0, 256, (4, size, size, 3)).astype(np.uint8)

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            reconstruct=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        stage = settings.running_stages[-1][1]
        return stage_loss(outputs, {"label": np.arange(4)}, stage, settings.losses)[0]

    gradients = flat(jax.jit(jax.grad(loss))(variables["params"]))
    assert not [n for n, g in gradients.items() if not np.isfinite(g).all()]
    assert not [n for n, g in gradients.items() if not g.any()]


def test_stages_follow_each_other_without_a_gap(tiny_config):
    config = tiny_config(
        {
            "stages.autoencoder.epochs": 0.5,
            "stages.classifier.epochs": 1.004,
            "stages.joint.steps": 7,
        }
    )
    plan = plan_stages(settings_from_config(config).running_stages, 1600)
    assert [(s.name, s.first_step, s.last_step) for s in plan] == [
        ("autoencoder", 0, 50),
        ("classifier", 50, 151),
        ("joint", 151, 158),
    ]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": 0.0}, "no steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"classification": False, "transform": False}, "neither"),
    ],
)
def test_stages_that_cannot_run_are_refused(change, message, tiny_config):
    with pytest.raises(UserError, match=message):
        config = tiny_config({f"stages.joint.{k}": v for k, v in change.items()})
        plan_stages(settings_from_config(config).running_stages, 1600)


def test_labels_cover_every_parameter(trainers, flat):
    params = trainers["joint"].variables["params"]
    paths = flat(params)
    for pattern, part in (("frontend/", True), ("(?!frontend/)", False)):
        leaves, _ = jax.tree.flatten_with_path(trainable_labels(params, pattern))
        labels = {"/".join(k.key for k in path): label for path, label in leaves}
        assert labels.keys() == paths.keys()
        assert all(
            (label == "train") == (name.startswith("frontend/") == part)
            for name, label in labels.items()
        )


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("front_end/", "matches no parameter; the network's parts are: .*backbone.*frontend"),
        ("encoder/", "matches no parameter"),  # matched from the start of the path
        ("(", "not a regular expression"),
    ],
)
def test_patterns_that_train_nothing_are_refused(pattern, message, trainers):
    with pytest.raises(UserError, match=message):
        trainable_labels(trainers["joint"].variables["params"], pattern)


@pytest.fixture(scope="module")
def outputs(trainers):
    """What the network makes of the first batch, fresh from its initial weights."""
    trainer = trainers["joint"]
    apply = jax.jit(functools.partial(trainer.model.apply, reconstruct=True))
    return jax.device_get(apply(trainer.variables, trainer.batch(0)["image"]))


@pytest.fixture(scope="module")
def loss_of(tiny_config, trainers, outputs):
    """The joint loss of these outputs and its parts, under changed loss settings."""
    stage, batch = trainers["joint"].stage.settings, trainers["joint"].batch(0)

    def loss_of(**changes):
        config = tiny_config({f"losses.{name}": value for name, value in changes.items()})
        return stage_loss(outputs, batch, stage, settings_from_config(config).losses)

    return loss_of


@pytest.fixture(scope="module")
def entropy(trainers):
    """Cross-entropy of scores against the first batch's labels, in numpy."""
    labels = trainers["joint"].batch(0)["label"]

    def entropy(scores):
        log_sum = np.log(np.exp(scores.astype(np.float64)).sum(-1))
        return (log_sum - scores[np.arange(len(labels)), labels]).mean()

    return entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_reaches_the_loss(smoothing, loss_of, outputs, entropy):
    scores = outputs.scores
    uniform = (np.log(np.exp(scores).sum(-1, keepdims=True)) - scores).mean()
    np.testing.assert_allclose(
        loss_of(label_smoothing=smoothing)[1]["classification"],
        (1 - smoothing) * entropy(scores) + smoothing * uniform,
        rtol=1e-5,
    )


def test_the_joint_loss_is_the_sum_of_its_parts(loss_of, outputs, entropy):
    loss, parts = loss_of(
        gamma=0.25,
        energy_weight=3.0,
        low_weight=5.0,
        auxiliary_low=0.5,
        auxiliary_fused=2.0,
        label_smoothing=0.0,
    )
    expected = (
        entropy(outputs.scores)
        + 0.5 * entropy(outputs.low_scores)
        + 2 * entropy(outputs.fused_scores)
        + 0.25 * (parts["reconstruction"] + 3 * parts["energy"] + 5 * parts["low"])
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(outputs.scores, outputs.low_scores + outputs.fused_scores)
    np.testing.assert_allclose(
        parts["reconstruction"], ((outputs.images - outputs.reconstruction) ** 2).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(parts["energy"], (outputs.sub_images.high**2).mean(), rtol=1e-5)
    halved = outputs.images.reshape(-1, 8, 2, 8, 2, 3).mean((2, 4))
    np.testing.assert_allclose(
        parts["low"], ((outputs.sub_images.low - halved) ** 2).mean(), rtol=1e-5
    )


def test_i_l_may_be_anything_unless_asked_for(loss_of):
    assert "low" not in loss_of()[1]


def test_mixed_labels_reach_every_classification_loss(trainers, outputs, tiny_config):
    """Weights of 0 are the other label's loss; top-1 stays with the label."""
    batch, stage = trainers["joint"].batch(0), trainers["joint"].stage.settings
    config = tiny_config({"losses.auxiliary_low": 0.5, "losses.auxiliary_fused": 2.0})
    settings = settings_from_config(config).losses
    others = (batch["label"] + 3) % 10
    mixed = batch | {"other_label": others, "label_weight": np.zeros(len(others), np.float32)}
    loss, parts = stage_loss(outputs, mixed, stage, settings)
    expected_loss, expected_parts = stage_loss(outputs, batch | {"label": others}, stage, settings)
    own_loss, own_parts = stage_loss(outputs, batch, stage, settings)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    np.testing.assert_allclose(parts["classification"], expected_parts["classification"], rtol=1e-6)
    assert parts["top1"] == own_parts["top1"]
    assert abs(loss - own_loss) > 1e-3


@pytest.mark.slow
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(make_trainer):
    trainer = make_trainer("joint", CHANGES | {"model.dtype": "bfloat16"})
    step = trainer.train_step()
    assert "bf16" in str(jax.make_jaxpr(step)(trainer.new_state(), trainer.batch(0)))
    state, metrics = trainer.run(1)
    for tree in (state.params, state.batch_stats):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype("float32")}
    for name, value in metrics[0].items():
        assert value.dtype == jnp.float32
        assert np.isfinite(value), name


# Metrics of the first step of each stage, fresh weights from seed 0 and the batch of conftest.py.
# They change when the network, its initial weights, a loss or a config default does. If you meant
# that, renew them with the numbers that the failing test prints, and say why in the commit.
GOLDEN = {
    "autoencoder": {"energy": 0.18372, "loss": 1.03416, "reconstruction": 0.850437},
    "classifier": {"classification": 3.74524, "loss": 3.74524, "top1": 0.125},
    "joint": {
        "classification": 3.78621,
        "energy": 0.18372,
        "loss": 4.82036,
        "reconstruction": 0.850437,
        "top1": 0.0625,
    },
}


@pytest.mark.parametrize("stage", GOLDEN)
def test_golden_first_step(stage, trainers):
    metrics = trainers[stage].run(1)[1][0]
    found = {name: float(f"{float(value):.6g}") for name, value in sorted(metrics.items())}
    assert found == pytest.approx(GOLDEN[stage], rel=1e-4), (
        f"first-step metrics changed; if on purpose, renew GOLDEN[{stage!r}] in {__name__}.py "
        f"with {json.dumps(found)}"
    )
