"""`python -m wae_jax prepare` as a user runs it, and training on what it writes."""

import json
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds


@pytest.fixture
def run(root, run_env):
    def start(*argv, timeout=200):
        return subprocess.run(
            [sys.executable, *map(str, argv)],
            cwd=root,
            env=run_env,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    return start


def test_prepares_and_says_where(run, imagenet_tars, tmp_path):
    command = (
        "-m",
        "wae_jax",
        "prepare",
        "imagenet2012",
        f"--val={imagenet_tars.validation}",
        f"--data_dir={tmp_path}",
    )
    done = run(*command)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "imagenet2012" / "5.1.0"
    assert done.stdout == f"{folder}\n"
    assert "1 of 1 shards" in done.stderr
    assert "MB/s" in done.stderr
    assert tfds.builder_from_directory(folder).info.splits["validation"].num_examples == 60


@pytest.mark.parametrize("argv, word", [
    (["imagenet2012", "--train=no.tar"], "no.tar"),
    (["imagenet2012"], "ILSVRC2012_img_train.tar"),
    (["imagenet2012", "--val=no.tar", "--workers=0"], "--workers"),
    (["tfrecord", "--in=no/folder", "--out=x"], "no/folder"),
    (["folder", "--in=no/folder", "--name=x"], "no/folder"),
    (["imagenet2013"], "imagenet2012"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(argv, word, monkeypatch, capsys, tmp_path):
    from wae_jax import __main__ as program

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "argv", ["wae_jax", "prepare", *argv])
    with pytest.raises(SystemExit) as end:
        program.main()
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith("error: ") and error.count("\n") == 1
    assert word in error
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_vgg16_trains_on_the_miniature(run, prepared_imagenet, tmp_path):
    done = run(
        "train.py", "--config=configs/vgg16.py", f"--workdir={tmp_path / 'run'}",
        f"--config.data.data_dir={prepared_imagenet.parents[1]}", "--config.data.image_size=64",
        "--config.model.backbone.width=0.125", "--config.run_stages=('joint',)",
        "--config.stages.joint.steps=3", "--config.stages.joint.batch_size=8",
        "--config.data.eval_batch_size=20", "--config.parallel.devices=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["step"], figures["eval_count"]) == (3, 60)
