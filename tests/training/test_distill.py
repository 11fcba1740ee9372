"""Distillation: its loss, the step, whole runs with a trained teacher, and what is refused."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wae_jax
from wae_jax.checkpoints import folders, manifest, store
from wae_jax.checkpoints.load import load_step
from wae_jax.config import DistillSettings, ParallelSettings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.inference.fold import for_inference
from wae_jax.models.layers import BY_OUTPUT
from wae_jax.models.outputs import Outputs
from wae_jax.runtime.devices import Parallel
from wae_jax.training import distill as distilling
from wae_jax.training import frozen, losses
from wae_jax.training.distill import Lesson, Teacher, load_teacher, teach, with_teacher_map
from wae_jax.training.loop import train
from wae_jax.training.optim import make_optimizer
from wae_jax.training.stages import stage_labels
from wae_jax.training.steps import make_train_step, stage_loss

# A trunk of one conv with its batch norm.
NARROW = {"model.backbone.plan": "4 M", "model.frontend.normalise": False}
SMALL = NARROW | {
    "data.image_size": 32,
    "data.train_split": "train[:256]",
    "data.eval_split": "test[:64]",
    "data.eval_batch_size": 64,
    "parallel.devices": 1,
    "log_every": 1,
    "checkpoint_every": 3,
    "keep_checkpoints": 3,
}
FULL = SMALL | {
    "model.frontend.name": "identity",
    "run_stages": ("end_to_end",),
    "stages.end_to_end.steps": 8,
}
# The teacher sees what the student sees: augmented and mixed images. Its features are fewer.
STUDENT = SMALL | {
    "model.backbone.plan": "6 M",
    "distill.feature_weight": 0.5,
    "ema_decay": 0.5,
    "data.rand_augment.ops": 1,
    "data.mixup": 0.5,
    "data.cutmix": 1.0,
    "run_stages": ("autoencoder", "classifier", "joint"),
    **{f"stages.{name}.steps": 4 for name in ("autoencoder", "classifier", "joint")},
}


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


@pytest.fixture(scope="module")
def teacher_dir(tmp_path_factory, tiny_config, cifar10):
    """A run of a full-resolution network on real images."""
    workdir = tmp_path_factory.mktemp("teacher")
    train(tiny_config(FULL), str(workdir))
    return workdir


def student_config(tiny_config, teacher_dir, changes=None):
    return tiny_config(STUDENT | {"distill.teacher": str(teacher_dir)} | (changes or {}))


def variables_of(workdir, flat):
    return flat(load_step(folders.find(str(workdir)))[1])


def train_lines(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "eval_count" not in line]


@pytest.fixture(scope="module")
def layouts():
    """The shapes of the calls that teachers were laid out for, in :func:`student_dir`."""
    return []


@pytest.fixture(scope="module")
def student_dir(tmp_path_factory, tiny_config, teacher_dir, layouts):
    workdir = tmp_path_factory.mktemp("student")

    def lay_out(model, variables, batch_shape, platform):
        layouts.append((batch_shape, platform))
        return variables

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distilling, "lay_out", lay_out)
        train(student_config(tiny_config, teacher_dir), str(workdir))
    return workdir


def test_a_stage_lays_its_teacher_out_for_its_batches(student_dir, layouts):
    assert layouts == [((16, 32, 32, 3), "cpu")] * 2


def test_a_run_with_a_teacher_logs_it_where_it_taught(student_dir):
    for line in train_lines(student_dir):
        assert ("distillation" in line) == (line["stage"] != "autoencoder")
        assert ("features" in line) == ("distillation" in line)
    assert {line["stage"] for line in train_lines(student_dir)} == {
        "autoencoder",
        "classifier",
        "joint",
    }
    assert all(
        line["distillation"] > 0
        for line in train_lines(student_dir)
        if line["stage"] != "autoencoder"
    )


def test_the_teacher_stays_as_it_was_and_is_not_stored(student_dir, teacher_dir, flat):
    step = folders.find(str(teacher_dir))  # verifies its hashes
    meta = store.read_meta(folders.find(str(student_dir)))
    assert meta["teacher"] == {"step": "8", "sha256": manifest.fingerprint(step)}
    plain = load_step(folders.find(str(student_dir)))
    assert variables_of(student_dir, flat).keys() == flat(plain[1]).keys()


def test_the_map_onto_its_features_is_no_part_of_the_network(student_dir, flat):
    """It trains, and is kept to go on with, beside the network and not in it."""
    steps = {step: student_dir / "checkpoints" / str(step) for step in (9, 12)}
    kept = {step: store._read(path, "training") for step, path in steps.items()}
    before, after = (flat(kept[step]["teacher_map"]) for step in (9, 12))
    assert before["kernel"].shape == (6, 4)
    assert not np.array_equal(before["kernel"], after["kernel"])
    assert not [name for name in flat(store._read(steps[12], "variables")) if "teacher" in name]
    assert not [name for name in flat(load_step(steps[12])[1]) if "teacher" in name]


def test_a_stopped_run_goes_on_to_the_same_end(
    student_dir, tiny_config, teacher_dir, tmp_path, flat
):
    workdir = tmp_path / "run"
    shutil.copytree(student_dir, workdir)
    shutil.rmtree(workdir / "checkpoints" / "12")  # as if killed early in the joint stage
    assert folders.find(str(workdir)).name == "9"
    train(student_config(tiny_config, teacher_dir), str(workdir))
    expected, found = (
        variables_of(each, flat)
        | flat(store._read(folders.find(str(each)), "training", only=("teacher_map",)))
        for each in (student_dir, workdir)
    )
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_stopped_run_does_not_go_on_with_another_teacher(student_dir, tiny_config, teacher_dir):
    """The same path, but its newest checkpoint is not the one it was."""
    newest = folders.find(str(teacher_dir))
    aside = newest.rename(newest.with_name("aside"))
    try:
        with pytest.raises(UserError, match=r"taught by the checkpoint of step 8.*another one"):
            train(student_config(tiny_config, teacher_dir), str(student_dir))
    finally:
        aside.rename(newest)


def test_a_teacher_of_the_students_own_kind_teaches_nothing_new(student_dir, tiny_config):
    """The same weights, frozen at rate 0: in evaluation mode both score alike."""
    config = student_config(tiny_config, student_dir)
    settings = settings_from_config(config)
    source = wae_jax.data.open_source("cifar10", "test[:8]")
    teacher = load_teacher(settings, source.info)
    model, variables = wae_jax.load(str(student_dir))
    images = next(
        iter(
            wae_jax.data.make_eval_loader(
                wae_jax.data.DecodedRecords(source),
                wae_jax.data.make_transform("small", 32, train=False),
                batch_size=8,
            )
        )
    )["image"]
    scores = model.apply(variables, images).scores
    taught = teacher.model.apply(teacher.variables, images, train=False).scores
    assert np.ptp(scores) > 0
    np.testing.assert_allclose(taught, scores, atol=1e-4)
    assert losses.distillation_loss(scores, taught, 4.0) < 1e-6


@pytest.mark.parametrize(
    "asked, expected", [("", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")]
)
def test_the_teachers_pass_is_as_it_was_trained_unless_asked(
    asked, expected, tiny_config, teacher_dir
):
    settings = settings_from_config(
        student_config(tiny_config, teacher_dir, {"distill.dtype": asked})
    )
    info = wae_jax.data.open_source("cifar10", "test[:8]").info
    model, variables, _ = load_step(folders.find(str(teacher_dir)))
    teacher = load_teacher(settings, info)
    assert {teacher.model.dtype, teacher.model.backbone.dtype} == {getattr(jnp, expected)}
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    scores = model.apply(variables, images).scores
    lesson = teach(teacher.model, teacher.variables, images, features=True)
    assert lesson.scores.dtype == lesson.features.dtype == jnp.float32
    error = np.abs(lesson.scores - scores).max() / np.abs(scores).max()
    assert error < (1e-5 if expected == "float32" else 3e-2)
    assert (error > 1e-4) == (expected == "bfloat16")


def test_it_is_off_unless_asked_for(tiny_config):
    settings = settings_from_config(tiny_config())
    assert load_teacher(settings, None) is None


MISTAKES = {
    "no checkpoint": ({"distill.teacher": "no/such/run"}, "no checkpoint at no/such/run"),
    "cold": ({"distill.temperature": 0.0}, r"config\.distill\.temperature is 0\.0"),
    "infinitely hot": ({"distill.temperature": float("inf")}, r"distill\.temperature is inf"),
    "too heavy": ({"distill.weight": 1.5}, r"config\.distill\.weight is 1\.5"),
    "negative": ({"distill.weight": -0.1}, r"config\.distill\.weight is -0\.1"),
    "negative features": ({"distill.feature_weight": -1.0}, r"distill\.feature_weight is -1\.0"),
    "another number": ({"distill.dtype": "float16"}, r"config\.distill\.dtype is 'float16'"),
    "no batch": (
        {"stages.joint.batch_size": 1, "data.mixup": 0.0, "data.cutmix": 0.0},
        r"config\.stages\.joint\.batch_size is 1; config\.distill\.feature_weight needs more",
    ),
    "not a number": ({"distill.weight": float("nan")}, r"config\.distill\.weight is nan"),
    "nothing to teach": ({"run_stages": ("autoencoder",)}, "no stage .* has a classification loss"),
    "another image size": (
        {"data.image_size": 16, "data.augmentation": "imagenet"},
        "reads images of 32 x 32, and config.data.image_size is 16",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_before_training_starts(mistake, tiny_config, teacher_dir, tmp_path):
    changes, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message) as error:
        train(student_config(tiny_config, teacher_dir, changes), str(tmp_path / "run"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"num_classes": 11, "class_names": None},
            "cifar10 has 11 classes, and the teacher .* has 10",
        ),
        (
            {"class_names": ("airplane", "lorry", *"cdefghij")},
            "cifar10 and of the teacher .* class 1 is 'lorry' in the one and 'automobile' in the",
        ),
    ],
)
def test_a_teacher_of_other_classes_is_refused(changes, message, tiny_config, teacher_dir):
    info = dataclasses.replace(wae_jax.data.open_source("cifar10", "test").info, **changes)
    settings = settings_from_config(
        json.loads(json.dumps(student_config(tiny_config, teacher_dir).to_dict()))
    )
    with pytest.raises(UserError, match=message):
        load_teacher(settings, info)
