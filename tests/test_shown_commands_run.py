"""Every command of ours that a document, a config or a help text shows, run on a little data."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_shown_commands import shown_commands, to_parse
from wae_jax import data

ROOT = Path(__file__).resolve().parents[1]
# What one page makes, another reads.
FIRST = (
    "train.py",
    "training.md",
    "quickstart.py",
    "serving.md",
    "distillation.md",
    "compress.md",
    "README.md",
)
ELSEWHERE = {"tutorial.md": "test_tutorial.py", "quickstart.ipynb": "test_release.py"}
# Commands that are not run, and why.
NOT_RUN = {
    r"^train --config=configs/(vgg16|resnet50)\.py(?!:smoke|.*=folder)": "needs ImageNet",
    r"=runs/vgg16-lowres": "needs networks trained on ImageNet",
    r"--source=(torchvision|caffe)": "needs its weights; tests/pretrained reads such files",
    r"=runs/(resnet50-imported|wae-vgg16)": "starts from those weights",
    r"torch\b(?!vision)": "needs PyTorch, which users of JAX have not; tests/bench has its own",
    r"^prepare (imagenet2012|tfrecord)": "needs ImageNet; tests/data makes small archives",
    r"--continue_with_changes": "needs a stopped run: tests/faults/test_changes.py",
    r"keras|configs/grocery\.py|photos\.py": "needs Keras's ResNet-50: run by test_tutorial.py",
}
STAGES = "autoencoder", "classifier", "joint", "end_to_end"
SMALL = [
    *(f"--config.stages.{name}.steps=2" for name in STAGES),
    *(f"--config.stages.{name}.batch_size=8" for name in STAGES),
    "--config.data.eval_batch_size=8",
    "--config.parallel.devices=1",
]
SMALL_SPLITS = ["--config.data.train_split=train[:64]", "--config.data.eval_split=test[:16]"]
SHORT = "--seconds=0.2"
MORE = {
    "bench": [SHORT],
    "recommend": [SHORT],
    "data-bench": [SHORT],
    "compress": ["--images=16"],
    "study": ["--seconds=1"],
    "prepare": ["--data_dir=prepared"],
}


def commands():
    """``(file's name, arguments of wae-jax)`` of each once, what others read first."""
    found = {}
    for file, words in shown_commands(ROOT):
        arguments = to_parse(words)
        if arguments is not None and "--help" not in words and file.name not in ELSEWHERE:
            found.setdefault(tuple(arguments), file.name)
    order = {name: number for number, name in enumerate(FIRST)}
    rank = sorted(found.items(), key=lambda item: order.get(item[1], len(order)))
    return [(name, arguments) for arguments, name in rank]


def reasons(arguments):
    """The patterns of NOT_RUN that fit."""
    return [pattern for pattern in NOT_RUN if re.search(pattern, " ".join(arguments))]


RUN = [(name, arguments) for name, arguments in commands() if not reasons(arguments)]


def shorter(arguments):
    """What makes a command short."""
    line = " ".join(arguments)
    more = list(MORE.get(arguments[0], ()))
    if re.search(r"configs/(vgg16|resnet50)", line) and arguments[0] in ("train", "bench"):
        more.append("--config.data.image_size=64")
    if arguments[0] in ("train", "study") and "--config=" in line:
        more += SMALL
        if "=folder" not in line and ":smoke" not in line:
            more += SMALL_SPLITS
    if "--int8" in arguments:
        more += ["--calibration_images=8", "--eval_images=16"]
    return more


@pytest.fixture(scope="module")
def place(tmp_path_factory, cifar10):
    """A folder with what the pages take for granted: configs and photos."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("configs", "launch"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "results").mkdir()
    shutil.copy(ROOT / "configs" / "quickstart.py", folder / "my_config.py")
    source = data.open_source("foolbox_photos", "train")
    for number in range(12):
        ((photo, label),) = source.read([number])
        for split in ("train", "validation"):
            path = folder / "photos" / split / f"class{label % 2}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo)
    (folder / "cat.jpg").write_bytes(photo)
    (folder / "PHOTOS").symlink_to("photos")
    return folder


@pytest.fixture(scope="module")
def env(run_env):
    """That of a user: what computes more than it compiles is optimised."""
    flags = " ".join(f for f in run_env["XLA_FLAGS"].split() if "optimization" not in f)
    return run_env | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("page", "arguments"), RUN, ids=[" ".join(a) for _, a in RUN])
def test_it_runs(page, arguments, place, env):
    for word in arguments:
        if word.startswith("--input="):  # files that the user has
            for name in word.removeprefix("--input=").split(","):
                if not (place / name).exists():
                    shutil.copy(place / "quickstart.onnx", place / name)
    names = "\n".join(map(str, sorted((place / "photos").rglob("*.jpg"))))
    done = subprocess.run(
        [sys.executable, "-m", "wae_jax", *arguments, *shorter(arguments)],
        cwd=place,
        env=env,
        input=names if arguments[-1] == "-" else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page}: {done.stderr}"


def test_what_is_not_run_has_a_reason():
    used = {pattern for _, arguments in commands() for pattern in reasons(arguments)}
    assert used == NOT_RUN.keys()
    ran = {arguments[0] for _, arguments in RUN}
    assert ran == {arguments[0] for _, arguments in commands()} - {"import-weights"}
