"""Bad photos in a folder, from train.py to the evaluation of what it trained."""

import io
import json
import subprocess
import sys

import PIL.Image
import pytest

from wae_jax import data
from wae_jax.errors import UserError
from wae_jax.evaluation.evaluator import evaluate_checkpoint

PHOTOS, CLASSES = 20, ("first", "second")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """`train` and `validation`: ten real photos in each of two classes, one of them cut."""
    root = tmp_path_factory.mktemp("photos")
    records = data.open_source("foolbox_photos", "train").read(range(PHOTOS))
    for split in ("train", "validation"):
        for i, (encoded, _) in enumerate(records):
            folder = root / split / CLASSES[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            small = io.BytesIO()
            PIL.Image.open(io.BytesIO(encoded)).resize((64, 64)).save(small, "JPEG")
            (folder / f"{i}.jpg").write_bytes(small.getvalue())
        (root / split / "second" / "7.jpg").write_bytes(small.getvalue()[:700])
    return root


def flags(root):
    """A tiny network and a few steps on these photos."""
    return [
        "--config=configs/quickstart.py:full",
        "--config.data.name=folder",
        f"--config.data.data_dir={root}",
        "--config.data.eval_split=validation",
        "--config.data.augmentation=imagenet",
        "--config.data.image_size=32",
        "--config.data.eval_batch_size=16",
        "--config.model.backbone.plan=4 M",
        "--config.stages.end_to_end.steps=5",
        "--config.stages.end_to_end.batch_size=8",
        "--config.log_every=1",
    ]


def train(root, env, *arguments):
    return subprocess.run(
        [sys.executable, "train.py", *arguments],
        cwd=root,
        env=env,
        text=True,
        capture_output=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_train_and_evaluate(photos, root, run_env, tmp_path):
    arguments = [*flags(photos), f"--workdir={tmp_path / 'run'}"]
    stopped = train(root, run_env, *arguments, "--config.data.workers=2")
    assert stopped.returncode == 2 and stopped.stdout == ""
    last = stopped.stderr.splitlines()[-1]
    assert last.startswith("error: file ") and "second/7.jpg: image of 700 bytes" in last
    assert "Traceback" not in stopped.stderr

    # The same run goes on once it is told to skip.
    done = train(
        root, run_env, *arguments, "--config.data.bad_records=skip", "--config.data.workers=1"
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["step"], figures["eval_count"]) == (5, PHOTOS - 1)
    assert "skipped 1 bad record(s) of train of folder (20 records)" in done.stderr
    assert "skipped 1 bad record(s) of validation of folder" in done.stderr

    path = str(tmp_path / "run")
    assert evaluate_checkpoint(path)["eval_count"] == PHOTOS - 1
    with pytest.raises(UserError, match=r"validation/second/7\.jpg.*bad_records=skip"):
        evaluate_checkpoint(path, bad_records="error")
    with pytest.raises(UserError, match=r"every record of .* is bad"):
        evaluate_checkpoint(path, split=f"validation[{bad_index(photos)}:{bad_index(photos) + 1}]")


def bad_index(root) -> int:
    source = data.open_source("folder", "validation", data_dir=root)
    return next(i for i in range(PHOTOS) if source.where(i).endswith("second/7.jpg"))
