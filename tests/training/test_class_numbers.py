"""Labels mean the same in training and in all that is done with a checkpoint afterwards."""

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import wae_jax.data
from tests.networks import TWO_BRANCHES
from wae_jax import __main__ as program
from wae_jax.errors import UserError
from wae_jax.evaluation.evaluator import evaluate_checkpoint
from wae_jax.training.loop import train

CHANGES = TWO_BRANCHES | {
    "data.name": "folder",
    "data.image_size": 32,
    "data.eval_split": "validation",
    "data.eval_batch_size": 8,
    "parallel.devices": 1,
    "run_stages": ("joint",),
    "stages.joint.steps": 1,
    "stages.joint.batch_size": 4,
}


def write(root: Path, split: str, classes: dict[str, int]) -> Path:
    """`root/split/class/N.png`: noise of 32 x 32 pixels."""
    rng = np.random.default_rng(0)
    for name, count in classes.items():
        (root / split / name).mkdir(parents=True)
        for i in range(count):
            image = PIL.Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
            image.save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The validation split lacks one of three classes, so that its own numbers would differ."""
    root = write(tmp_path_factory.mktemp("photos"), "train", {"ant": 3, "bee": 3, "owl": 3})
    write(root, "validation", {"ant": 2, "owl": 4})
    return write(root, "other", {"ant": 2, "bee": 2, "cow": 1})


@pytest.fixture
def labels(monkeypatch):
    """{split: {class folder: label}} of everything that is read from now on."""
    seen = {}

    class Watched(wae_jax.data.DecodedRecords):
        def read(self, records):
            images, found = super().read(records)
            names = [Path(self.source.where(int(i))).parent.name for i in records]
            split = seen.setdefault(self.source.info.split, {})
            split.update(zip(names, found.tolist(), strict=True))
            return images, found

    monkeypatch.setattr(wae_jax.data, "DecodedRecords", Watched)
    return seen


@pytest.fixture(scope="module")
def run(photos, tiny_config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        seen = labels.__wrapped__(patch)
        figures = train(tiny_config(CHANGES | {"data.data_dir": str(photos)}), str(workdir))
    return workdir, figures, seen


def test_training_numbers_the_evaluation_split(run):
    _, figures, seen = run
    assert figures["eval_count"] == 6
    assert seen["validation"] == {"ant": 0, "owl": 2}
    assert seen["train"].items() <= {"ant": 0, "bee": 1, "owl": 2}.items()


@pytest.mark.slow
def test_a_checkpoint_numbers_what_it_is_used_on(run, labels, monkeypatch, tmp_path, capsys):
    workdir, figures, _ = run
    assert evaluate_checkpoint(str(workdir))["top1"] == pytest.approx(figures["top1"])
    assert labels == {"validation": {"ant": 0, "owl": 2}}
    labels.clear()
    elsewhere = write(tmp_path / "photos", "test", {"owl": 3})
    moved = evaluate_checkpoint(str(workdir), split="test", data_dir=str(elsewhere))
    assert moved["eval_count"] == 3
    assert labels == {"test": {"owl": 2}}
    labels.clear()
    picture = tmp_path / "picture.png"
    arguments = ["visualize", f"--checkpoint={workdir}", f"--out={picture}", "--count=6"]
    monkeypatch.setattr(sys, "argv", ["wae_jax", *arguments])
    program.main()
    assert picture.exists() and labels == {"validation": {"ant": 0, "owl": 2}}


def test_other_classes_are_refused(run, photos, tiny_config, tmp_path):
    """In training, also where half of the classes differ; and in evaluation."""
    write(tmp_path, "train", {"ant": 1, "cow": 1})
    write(tmp_path, "half", {"ant": 1, "bee": 1})
    for folder, split, told in (
        (photos, "other", "other has photos of classes that train of folder lacks: cow"),
        (tmp_path, "half", "half has photos of classes that train of folder lacks: bee"),
    ):
        changes = {"data.data_dir": str(folder), "data.eval_split": split}
        with pytest.raises(UserError, match=told):
            train(tiny_config(CHANGES | changes), str(tmp_path / "run"))
    for changes, told in (
        ({"split": "other"}, "other has photos of classes that the checkpoint .* lacks: cow"),
        ({"data_name": "cifar10", "split": "test"}, "cifar10 has 10 classes, and .* has 3"),
    ):
        with pytest.raises(UserError, match=told):
            evaluate_checkpoint(str(run[0]), **changes)


def test_another_data_set_with_other_names_is_refused(run, cifar10, tiny_config, tmp_path):
    """Ten classes too, but not CIFAR-10's."""
    ten = write(tmp_path / "ten", "train", {name: 1 for name in "abcdefghij"})
    changes = CHANGES | {"data.data_dir": str(ten), "data.eval_split": "train"}
    train(tiny_config(changes), str(tmp_path / "run"))
    with pytest.raises(UserError, match="class 0 is 'airplane' in the one and 'a' in the other"):
        evaluate_checkpoint(str(tmp_path / "run"), data_name="cifar10", split="test")
