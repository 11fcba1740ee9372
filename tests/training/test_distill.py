"""Distillation: its losses and its step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wae_jax
from wae_jax.config import DistillSettings, ParallelSettings
from wae_jax.errors import UserError
from wae_jax.inference.fold import for_inference
from wae_jax.models.layers import BY_OUTPUT
from wae_jax.models.outputs import Outputs
from wae_jax.runtime.devices import Parallel
from wae_jax.training import frozen, losses
from wae_jax.training.distill import Lesson, Teacher, teach, with_teacher_map
from wae_jax.training.optim import make_optimizer
from wae_jax.training.stages import stage_labels
from wae_jax.training.steps import make_train_step, stage_loss

# A trunk of one conv with its batch norm.
NARROW = {"model.backbone.plan": "4 M", "model.frontend.normalise": False}


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape, scale=3).astype(np.float32)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_by_hand(temperature):
    student, teacher = random(6, 7).astype(np.float64), random(6, 7, seed=1).astype(np.float64)
    log_p, log_q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    expected = temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    assert expected > 0.1
    np.testing.assert_allclose(
        losses.distillation_loss(student, teacher, temperature), expected, rtol=1e-5
    )
    np.testing.assert_allclose(
        losses.distillation_loss(teacher, teacher, temperature), 0, atol=1e-5
    )


def test_its_gradient_is_the_papers_and_none_reaches_the_teacher():
    """Hinton et al., equation 2: T^2 times (q - p) / T, over the batch."""
    student, teacher, temperature = random(6, 7), random(6, 7, seed=1), 4.0
    to_student, to_teacher = jax.grad(losses.distillation_loss, argnums=(0, 1))(
        student, teacher, temperature
    )
    expected = (
        temperature
        * (jax.nn.softmax(student / temperature) - jax.nn.softmax(teacher / temperature))
        / 6
    )
    np.testing.assert_allclose(to_student, expected, atol=1e-6)
    np.testing.assert_array_equal(to_teacher, np.zeros_like(teacher))


def test_scores_that_would_overflow_give_a_finite_loss():
    value = losses.distillation_loss(jnp.array([[1e4, 0.0]]), jnp.array([[0.0, 1e4]]), 1.0)
    np.testing.assert_allclose(value, 1e4)


def test_the_loss_of_features_by_hand():
    found, wanted = random(5, 4), random(5, 4, seed=1)
    variance = wanted.var(0).mean()
    expected = ((found - wanted) ** 2).mean() / variance
    np.testing.assert_allclose(losses.feature_loss(found, wanted, variance), expected, rtol=1e-5)
    np.testing.assert_allclose(
        losses.feature_loss(np.broadcast_to(wanted.mean(0), wanted.shape), wanted, variance),
        1,
        rtol=1e-5,
    )
    assert not jax.grad(losses.feature_loss, argnums=1)(found, wanted, variance).any()


def test_a_lesson_has_the_features_and_their_variance(make_trainer, full):
    trainer, (teacher, variables) = make_trainer("classifier", NARROW), full
    images = trainer.batch(0)["image"]
    outputs = teacher.apply(variables, images)
    lesson = teach(teacher, variables, images, features=True)
    np.testing.assert_array_equal(lesson.scores, outputs.scores)
    inputs = teacher.bind(variables)
    maps = inputs.backbone(inputs.normalise(images), train=False)
    np.testing.assert_allclose(lesson.features, maps.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lesson.variance, np.var(lesson.features, axis=0).mean(), rtol=1e-4)
    assert teach(teacher, variables, images, features=False).features is None
    flat = np.full_like(images, 9)
    assert teach(teacher, variables, flat, features=True).variance > 0


def test_labels_take_no_part_where_the_teacher_has_all_the_weight(make_trainer):
    """Not even where their loss is no number: zero times infinity would be none either."""
    trainer = make_trainer("classifier", NARROW)
    scores, taught = random(6, 10), random(6, 10)
    scores[:, 0], taught[:, 0] = -3e38, -1e9
    outputs = Outputs(scores=jnp.asarray(scores), low_scores=jnp.asarray(scores))
    batch, stage = {"label": np.zeros(6, int)}, trainer.stage.settings
    loss, parts = stage_loss(
        outputs,
        batch,
        stage,
        trainer.settings.losses,
        DistillSettings("", 1.0, 1.0),
        Lesson(taught),
    )
    assert np.isinf(parts["classification"])
    assert np.isfinite(loss)
    assert loss == parts["distillation"]


@pytest.mark.parametrize("mapped", [False, True])
def test_features_add_their_loss(mapped, make_trainer):
    trainer = make_trainer("classifier", NARROW)
    scores, taught = random(6, 10), random(6, 10, seed=1)
    own, wanted = random(6, 3, seed=2), random(6, 4 if mapped else 3, seed=3)
    linear = {"kernel": random(3, 4, seed=4), "bias": random(4, seed=5)} if mapped else None
    outputs = Outputs(scores=scores, low_scores=scores, low_features=own)
    distill = DistillSettings("", 2.0, 0.5, feature_weight=3.0)
    lesson = Lesson(taught, wanted, jnp.float32(2.0))
    arguments = {"label": np.arange(6)}, trainer.stage.settings, trainer.settings.losses, distill
    loss, parts = stage_loss(outputs, *arguments, lesson, linear)
    plain, plain_parts = stage_loss(outputs, *arguments, Lesson(taught))
    found = own @ linear["kernel"] + linear["bias"] if mapped else own
    np.testing.assert_allclose(parts["features"], ((found - wanted) ** 2).mean() / 2, rtol=1e-5)
    assert "features" not in plain_parts
    np.testing.assert_allclose(loss, plain + 3 * parts["features"], rtol=1e-5)


def distilled_step(trainer, teacher, distill, axis_name=None):
    """The trainer's step with a teacher, made of another trainer's model."""
    model = trainer.model.clone()
    if axis_name is not None:
        model = wae_jax.build_model(
            trainer.settings.model, num_classes=10, image_size=16, axis_name=axis_name
        )
    return make_train_step(
        model,
        trainer.stage.settings,
        trainer.settings.losses,
        trainer.optimizer,
        trainer.labels,
        seed=7,
        teacher=teacher,
        distill=distill,
    )


@pytest.fixture(scope="module")
def full(make_trainer):
    """A full-resolution network in its inference form; random weights, made less alike."""
    trainer = make_trainer(
        "end_to_end", {"model.frontend.name": "identity", "run_stages": ("end_to_end",)}
    )
    variables = jax.tree.map(lambda x: 2 * x, trainer.variables)
    return for_inference(trainer.model, variables)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_both_losses_are_weighed(weight, make_trainer):
    """On the summed score; label smoothing and the branches' own losses are left alone."""
    trainer = make_trainer("classifier", NARROW)
    settings = dataclasses.replace(trainer.settings.losses, label_smoothing=0.1, auxiliary_low=0.5)
    low, fused, taught = (jnp.asarray(random(6, 10, seed=seed)) for seed in range(3))
    outputs = Outputs(scores=low + fused, low_scores=low, fused_scores=fused)
    batch, stage = {"label": np.arange(6)}, trainer.stage.settings
    loss, parts = stage_loss(
        outputs, batch, stage, settings, DistillSettings("", 2.0, weight), Lesson(taught)
    )
    plain, plain_parts = stage_loss(outputs, batch, stage, settings)
    assert parts.keys() - plain_parts.keys() == {"distillation"}
    np.testing.assert_allclose(
        parts["distillation"], losses.distillation_loss(low + fused, taught, 2.0)
    )
    assert parts["classification"] == plain_parts["classification"]
    np.testing.assert_allclose(
        loss, plain + weight * (parts["distillation"] - parts["classification"]), rtol=1e-6
    )


def test_the_step_asks_the_teacher_about_the_same_images(make_trainer, full):
    trainer, (teacher, variables) = make_trainer("classifier", NARROW), full
    state, batch = trainer.new_state(), trainer.batch(0)
    step = distilled_step(trainer, teacher, DistillSettings("", 2.0, 0.5))
    parts = jax.jit(step)(state, batch, variables)[1]

    @jax.jit
    def student(variables, images):
        with frozen.as_in_evaluation(trainer.labels):
            return trainer.model.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    taught = jax.jit(lambda v, x: teacher.apply(v, x, train=False).scores)
    expected = losses.distillation_loss(
        student(trainer.variables, batch["image"]).scores, taught(variables, batch["image"]), 2.0
    )
    np.testing.assert_allclose(parts["distillation"], expected, rtol=1e-4)


def test_the_teacher_is_no_constant_of_the_program(make_trainer, full):
    """Its weights are arguments: compiled in, they would be copied into every program."""
    trainer, (teacher, variables) = make_trainer("joint", NARROW), full
    step = distilled_step(trainer, teacher, DistillSettings("", 2.0, 0.5))
    jaxpr = jax.make_jaxpr(step)(trainer.new_state(), trainer.batch(0), variables)
    largest = max((np.size(const) for const in jaxpr.consts), default=0)
    assert largest < 16


@pytest.fixture(scope="module")
def wide(make_trainer):
    """A teacher with more features than the students here, and an FC layer worth laying out."""
    trainer = make_trainer(
        "end_to_end",
        {
            "model.frontend.name": "identity",
            "model.backbone.plan": "8 M 16 M",
            "model.head.kind": "fc",
            "model.head.hidden_single": (2048,),
            "run_stages": ("end_to_end",),
        },
    )
    return Teacher(*for_inference(trainer.model, trainer.variables), "", {}, 16)


def names_of(variables):
    return {path[-1].key for path, _ in jax.tree.leaves_with_path(variables)}


def test_the_teacher_is_laid_out_for_a_batch(wide, make_trainer):
    images = make_trainer("joint", NARROW).batch(0)["image"]
    fast = wide.laid_out(16, "cpu")
    assert BY_OUTPUT in names_of(fast) - names_of(wide.variables)
    scores = wide.model.apply(wide.variables, images).scores
    np.testing.assert_allclose(wide.model.apply(fast, images).scores, scores, atol=1e-4)
    assert wide.laid_out(16, "gpu") is wide.variables


def test_the_map_is_there_only_where_it_is_needed(wide, make_trainer, flat):
    trainer = make_trainer("joint", NARROW | {"distill.feature_weight": 1.0})
    own, settings = trainer.variables, trainer.settings
    found = with_teacher_map(own, trainer.model, wide, settings)
    assert found["params"].keys() - own["params"].keys() == {"teacher_map"}
    assert jax.tree.map(np.shape, found["params"]["teacher_map"]) == {
        "kernel": (4, 16),
        "bias": (16,),
    }
    again = with_teacher_map(own, trainer.model, wide, settings)["params"]["teacher_map"]
    np.testing.assert_array_equal(again["kernel"], found["params"]["teacher_map"]["kernel"])
    off = make_trainer("joint", NARROW).settings
    assert with_teacher_map(own, trainer.model, wide, off) is own
    assert with_teacher_map(own, trainer.model, None, settings) is own
    same = dataclasses.replace(wide, model=trainer.model, variables=own)
    assert with_teacher_map(own, trainer.model, same, settings) is own


def test_the_map_trains_with_the_classification_loss_whatever_else_does(wide, make_trainer):
    trainer = make_trainer("joint", NARROW | {"distill.feature_weight": 1.0})
    params = with_teacher_map(trainer.variables, trainer.model, wide, trainer.settings)["params"]
    heads = dataclasses.replace(trainer.stage.settings, trains="head_")
    labels = stage_labels(params, heads)
    assert labels.keys() == params.keys()
    assert set(labels["teacher_map"].values()) == {"train"}
    assert set(jax.tree.leaves(labels["backbone"])) == {"freeze"}
    alone = dataclasses.replace(heads, trains="frontend/", classification=False)
    assert set(stage_labels(params, alone)["teacher_map"].values()) == {"freeze"}
    with pytest.raises(UserError, match="matches no parameter"):
        stage_labels(params, dataclasses.replace(heads, trains="teacher_map"))


@pytest.fixture(scope="module")
def run_on(make_trainer, wide, flat):
    """Function: (parameters, last metrics) after three steps on so many devices; 0 is all."""
    trainer = make_trainer("classifier", NARROW | {"distill.feature_weight": 0.5})
    trainer = dataclasses.replace(trainer, data_seed=20)  # where no ReLU is close to its kink
    distill = dataclasses.replace(trainer.settings.distill, temperature=2.0)
    start = with_teacher_map(trainer.variables, trainer.model, wide, trainer.settings)
    trainer.labels = stage_labels(start["params"], trainer.stage.settings)
    trainer.optimizer = make_optimizer(trainer.stage, trainer.labels)

    def run_on(mode, devices):
        parallel = Parallel(
            ParallelSettings(
                mode=mode, devices=devices, coordinator="", num_processes=1, process_id=0
            )
        )
        step = parallel.compile_train_step(
            distilled_step(trainer, wide.model, distill, parallel.axis_name),
            constants=wide.laid_out(16 // len(parallel.devices), "cpu"),
        )
        state = parallel.put_state(trainer.new_state(start))
        for number in range(3):
            batch = trainer.batch(number)
            batch |= {
                "other_label": batch["label"][::-1].copy(),
                "label_weight": np.linspace(0.5, 1, 16, dtype=np.float32),
            }
            state, parts = step(state, parallel.put_train_batch(batch))
        parts = {name: float(np.mean(parallel.local_value(x))) for name, x in parts.items()}
        return flat(jax.device_get(parallel.get_state(state)).params), parts

    return run_on


@pytest.fixture(scope="module")
def one_device(run_on):
    return run_on("jit", 1)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_distil_as_one(mode, run_on, one_device):
    (found, parts), (expected, expected_parts) = run_on(mode, 0), one_device
    assert parts == pytest.approx(expected_parts, rel=1e-4)
    assert parts["distillation"] > 0
    assert parts["features"] > 0
    assert "teacher_map/kernel" in expected
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
