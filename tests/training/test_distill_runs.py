"""Whole runs with a trained teacher, and what is refused."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import wae_jax
from wae_jax.checkpoints import folders, manifest, store
from wae_jax.checkpoints.load import load_step
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.training import distill as distilling
from wae_jax.training import losses
from wae_jax.training.distill import load_teacher, teach
from wae_jax.training.loop import train

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


@pytest.mark.slow
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
