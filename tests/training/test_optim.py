"""A stage's learning-rate schedule and optimiser."""

import math

import jax
import numpy as np
import pytest

from wae_jax.config import settings_from_config
from wae_jax.training.optim import make_optimizer, make_schedule
from wae_jax.training.stages import plan_stages


def planned(tiny_config, examples=1600, **changes):
    """The joint stage with changes to its settings: 100 steps per epoch of 16 images."""
    config = tiny_config({f"stages.joint.{k}": v for k, v in changes.items()})
    config.run_stages = ("joint",)
    return plan_stages(settings_from_config(config).running_stages, examples)[0]


def rates(stage):
    schedule = make_schedule(stage)
    return np.array([float(schedule(step)) for step in range(stage.steps)])


PEAK = {"learning_rate": 0.4, "warmup_epochs": 0.0, "final_fraction": 0.0, "epochs": 0.2}


def test_constant_schedule(tiny_config):
    np.testing.assert_allclose(
        rates(planned(tiny_config, **PEAK, schedule="constant")), np.full(20, 0.4), rtol=1e-6
    )


def test_warm_up_rises_in_equal_steps_from_above_zero(tiny_config):
    found = rates(planned(tiny_config, **PEAK | {"warmup_epochs": 0.04}, schedule="constant"))
    np.testing.assert_allclose(found[:6], [0.08, 0.16, 0.24, 0.32, 0.4, 0.4], rtol=1e-5)


@pytest.mark.parametrize("rule, factor", [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_the_rate_grows_with_the_batch_as_asked(rule, factor, tiny_config):
    """Warm-up and schedule included: only the peak is another."""
    shape = PEAK | {"warmup_epochs": 0.04, "schedule": "cosine"}
    plain = rates(planned(tiny_config, **shape))
    scaled = planned(tiny_config, **shape, rate_scaling=rule, reference_batch_size=4)
    np.testing.assert_allclose(rates(scaled), factor * plain, rtol=1e-6)
    assert scaled.settings.peak_rate == pytest.approx(0.4 * factor)


def test_goyal_et_al(tiny_config):
    """Their section 2.1: 0.1 for 256 images, so 3.2 for 8192, warmed up from there."""
    scaled = planned(
        tiny_config, learning_rate=0.1, batch_size=8192, rate_scaling="linear", schedule="constant"
    )
    assert scaled.settings.peak_rate == pytest.approx(3.2)


def test_cosine_schedule(tiny_config):
    found = rates(planned(tiny_config, **PEAK | {"final_fraction": 0.1}, schedule="cosine"))
    expected = 0.4 * (0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(20) / 20)) / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[10] == pytest.approx(0.22)


def test_cosine_schedule_after_warm_up_ends_at_the_stages_end(tiny_config):
    found = rates(planned(tiny_config, **PEAK | {"warmup_epochs": 0.04}, schedule="cosine"))
    np.testing.assert_allclose(found[:4], [0.08, 0.16, 0.24, 0.32], rtol=1e-5)
    np.testing.assert_allclose(found[4:], 0.2 * (1 + np.cos(np.pi * np.arange(16) / 16)), rtol=1e-5)


def test_linear_schedule(tiny_config):
    found = rates(planned(tiny_config, **PEAK | {"final_fraction": 0.5}, schedule="linear"))
    np.testing.assert_allclose(found, 0.4 - 0.2 * np.arange(20) / 20, rtol=1e-5)


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.02])
def test_step_schedule_counts_from_the_stages_start(warmup_epochs, tiny_config):
    found = rates(
        planned(
            tiny_config,
            **PEAK | {"warmup_epochs": warmup_epochs},
            schedule="step",
            step_epochs=0.06,
            step_factor=0.5,
        )
    )
    expected = np.repeat([0.4, 0.2, 0.1, 0.05], [6, 6, 6, 2])
    skip = round(100 * warmup_epochs)
    np.testing.assert_allclose(found[skip:], expected[skip:], rtol=1e-5)


def one_update(stage, params, grads):
    optimizer = make_optimizer(stage, jax.tree.map(lambda _: "train", params))
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return jax.device_get(updates)


PARAMS = {"kernel": np.full((2, 2), 3, np.float32), "bias": np.full(2, 3, np.float32)}
ZEROS = jax.tree.map(np.zeros_like, PARAMS)
PLAIN = {
    "optimizer": "sgd",
    "momentum": 0.0,
    "nesterov": False,
    "learning_rate": 0.5,
    "schedule": "constant",
    "clip_norm": 0.0,
}


@pytest.mark.parametrize("decay_biases", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_spares_biases_unless_told(optimizer, decay_biases, tiny_config):
    stage = planned(
        tiny_config, **PLAIN | {"optimizer": optimizer}, weight_decay=0.1, decay_biases=decay_biases
    )
    updates = one_update(stage, PARAMS, ZEROS)
    np.testing.assert_allclose(updates["kernel"], -0.5 * 0.1 * 3 * np.ones((2, 2)), rtol=1e-5)
    np.testing.assert_allclose(updates["bias"], -0.15 * decay_biases * np.ones(2), rtol=1e-5)


def test_adams_weight_decay_is_part_of_its_gradient(tiny_config):
    stage = planned(
        tiny_config, **PLAIN | {"optimizer": "adam"}, weight_decay=0.1, decay_biases=False
    )
    updates = one_update(stage, PARAMS, ZEROS)
    # Adam's first step has the size of the learning rate, however small the gradient.
    np.testing.assert_allclose(updates["kernel"], np.full((2, 2), -0.5), rtol=1e-4)
    assert not updates["bias"].any()


def test_sgd_with_momentum_by_hand(tiny_config):
    stage = planned(tiny_config, **PLAIN | {"momentum": 0.9}, weight_decay=0.0, decay_biases=True)
    optimizer = make_optimizer(stage, jax.tree.map(lambda _: "train", PARAMS))
    opt_state, ones = optimizer.init(PARAMS), jax.tree.map(np.ones_like, PARAMS)
    for expected in (-0.5, -0.5 * 1.9, -0.5 * (1 + 0.9 * 1.9)):
        updates, opt_state = optimizer.update(ones, opt_state, PARAMS)
        np.testing.assert_allclose(updates["bias"], np.full(2, expected), rtol=1e-5)


def test_clipping_is_by_the_global_norm_and_before_weight_decay(tiny_config):
    grads = {"kernel": np.full((2, 2), 2, np.float32), "bias": np.full(2, 4, np.float32)}
    norm = math.sqrt(4 * 4 + 2 * 16)
    stage = planned(tiny_config, **PLAIN | {"clip_norm": 1.0}, weight_decay=0.1, decay_biases=True)
    updates = one_update(stage, PARAMS, grads)
    np.testing.assert_allclose(
        updates["kernel"], np.full((2, 2), -0.5 * (2 / norm + 0.3)), rtol=1e-5
    )
    np.testing.assert_allclose(updates["bias"], np.full(2, -0.5 * (4 / norm + 0.3)), rtol=1e-5)


def test_the_front_end_may_have_a_rate_of_its_own(tiny_config):
    stage = planned(tiny_config, **PLAIN, weight_decay=0.1, decay_biases=True, frontend_rate=0.25)
    params = {"frontend": PARAMS, "backbone": PARAMS}
    updates = one_update(stage, params, jax.tree.map(np.ones_like, params))
    for name, factor in (("frontend", 0.25), ("backbone", 1.0)):
        np.testing.assert_allclose(updates[name]["bias"], -0.5 * 1.3 * factor, rtol=1e-5)


def test_clipping_leaves_frozen_parameters_out_of_the_norm(tiny_config):
    stage = planned(tiny_config, **PLAIN | {"clip_norm": 1.0}, weight_decay=0.0, decay_biases=True)
    optimizer = make_optimizer(stage, {"kernel": "freeze", "bias": "train"})
    grads = {"kernel": np.full((2, 2), 1e6, np.float32), "bias": np.array([3, 4], np.float32)}
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["bias"], [-0.3, -0.4], rtol=1e-5)
    assert not np.asarray(updates["kernel"]).any()
