"""What train says: one line and exit status 2 for a mistake, one JSON object at the end."""

import json
import subprocess
import sys

import pytest

# ml_collections loads config files so; only Python's next versions mind.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:the load_module\(\) method is deprecated:DeprecationWarning"
)

CONFIG = "--config=configs/quickstart.py"
TINY = (
    "--config.model.backbone.plan=4 M",
    "--config.model.frontend.channels=4",
    "--config.data.eval_split=test[:64]",
    "--config.data.eval_batch_size=64",
    "--config.run_stages=('joint',)",
    "--config.stages.joint.steps=2",
    "--config.stages.joint.batch_size=8",
    "--config.parallel.devices=1",
)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch, root, cifar10):
    monkeypatch.chdir(root)


MISTAKES = {
    "unknown flag": ([CONFIG, "--workdir=run", "--confg=1"], ["confg"]),
    "stray argument": ([CONFIG, "--workdir=run", "fast"], ["'fast'"]),
    "unknown config key": ([CONFIG, "--workdir=run", "--config.modle.dtype=x"], ["modle"]),
    "unknown nested config key": (
        [CONFIG, "--workdir=run", "--config.stages.joint.epoch=3"],
        ["epoch"],
    ),
    "word for an integer": ([CONFIG, "--workdir=run", "--config.seed=one"], ["seed", "one"]),
    "word for a number": (
        [CONFIG, "--workdir=run", "--config.stages.joint.epochs=long"],
        ["epochs", "long"],
    ),
    "no config file": (["--config=configs/no_such.py", "--workdir=run"], ["configs/no_such.py"]),
    "no config file, with an override": (
        ["--config=configs/no_such.py", "--workdir=run", "--config.seed=1"],
        ["configs/no_such.py"],
    ),
    "unknown variant": ([CONFIG + ":waee", "--workdir=run"], ["waee"]),
    "no workdir": ([CONFIG], ["--workdir"]),
    "no config": (["--workdir=run"], ["--config"]),
    "unknown data set": (
        [CONFIG, "--workdir=run", "--config.data.name=cifar11"],
        ["cifar11", "cifar10"],
    ),
    "unknown training split": (
        [CONFIG, "--workdir=run", "--config.data.train_split=trian"],
        ["trian", "train, test"],
    ),
    "unknown evaluation split": (
        [CONFIG, "--workdir=run", "--config.data.eval_split=validation"],
        ["validation", "train, test"],
    ),
    "unknown augmentation": (
        [CONFIG, "--workdir=run", "--config.data.augmentation=big"],
        ["big", "small", "imagenet"],
    ),
    "image too small for the pools": (
        [
            CONFIG,
            "--workdir=run",
            "--config.data.image_size=8",
            "--config.data.augmentation=imagenet",
            "--config.model.backbone.plan=4 M M M",
            "--config.model.backbone.pool_rounding=down",
        ],
        ["too small"],
    ),
    "no image": ([CONFIG, "--workdir=run", "--config.data.image_size=0"], ["image_size"]),
    "not CIFAR's image size": (
        [CONFIG, "--workdir=run", "--config.data.image_size=16", *TINY],
        ["32", "16"],
    ),
    "unknown front end": (
        [CONFIG, "--workdir=run", "--config.model.frontend.name=wea"],
        ["did you mean 'wae'"],
    ),
    "unknown stage": (
        [CONFIG, "--workdir=run", "--config.run_stages=('joined',)"],
        ["joined", "joint"],
    ),
    "no stage": ([CONFIG, "--workdir=run", "--config.run_stages=()"], ["run_stages"]),
    "pattern that trains nothing": (
        [CONFIG, "--workdir=run", "--config.stages.classifier.trains=encoder"],
        ["encoder"],
    ),
    "logging never": ([CONFIG, "--workdir=run", "--config.log_every=0"], ["log_every"]),
    "batch that does not divide over the devices": (
        [CONFIG, "--workdir=run", "--config.stages.joint.batch_size=6"],
        ["batch_size", "4"],
    ),
    "no checkpoint to restore": (
        [CONFIG, "--workdir=run", "--config.restore=no/such/run", *TINY],
        ["no/such/run"],
    ),
    "no teacher": (
        [CONFIG, "--workdir=run", "--config.distill.teacher=no/such/run", *TINY],
        ["no/such/run"],
    ),
    "too much to learn from the teacher": (
        [CONFIG, "--workdir=run", "--config.distill.weight=2", *TINY],
        ["config.distill.weight is 2.0", "between 0 and 1"],
    ),
    "augmentation out of range": (
        [CONFIG, "--workdir=run", "--config.data.colour_jitter.hue=3", *TINY],
        ["config.data.colour_jitter.hue is 3.0", "between 0 and 0.5"],
    ),
    "images that cannot be paired": (
        [
            CONFIG,
            "--workdir=run",
            "--config.data.mixup=0.2",
            *TINY,
            "--config.stages.joint.batch_size=5",
        ],
        ["batch_size is 5", "multiple of 2"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(mistake, refuse, tmp_path):
    argv, words = MISTAKES[mistake]
    refuse(
        words,
        "train",
        *[a.replace("--workdir=run", f"--workdir={tmp_path / 'run'}") for a in argv],
    )


def test_workdir_that_is_a_file(refuse, tmp_path):
    (tmp_path / "file").write_text("kept")
    refuse(["file"], "train", CONFIG, f"--workdir={tmp_path / 'file'}")
    assert (tmp_path / "file").read_text() == "kept"


def test_workdir_under_a_file(refuse, tmp_path):
    (tmp_path / "file").touch()
    refuse(["file"], "train", CONFIG, f"--workdir={tmp_path / 'file' / 'run'}")


def test_checkpoint_without_its_config(refuse, tmp_path):
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    refuse(["config.json"], "train", CONFIG, f"--workdir={tmp_path}")


def test_damaged_config_in_the_workdir(refuse, tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    refuse([str(tmp_path)], "train", CONFIG, f"--workdir={tmp_path}")


@pytest.mark.slow
def test_a_mistake_leaves_the_workdir_free_for_the_next_try(refuse, succeed, tmp_path):
    """Otherwise the mended command fails as a run with another config."""
    workdir = f"--workdir={tmp_path / 'run'}"
    for wrong in ("--config.data.image_size=16", "--config.restore=no/such/run"):
        refuse([], "train", CONFIG, workdir, wrong, *TINY)
    assert json.loads(succeed("train", CONFIG, workdir, *TINY))["step"] == 2


KEYS = {
    "top1",
    "top5",
    "top1_low",
    "top1_fused",
    "top1_without_high",
    "psnr",
    "high_energy",
    "low_correlation",
    "eval_count",
    "stage",
    "step",
    "train_seconds",
    "workdir",
}


def test_the_last_line_is_the_figures(command, refuse, tmp_path):
    workdir = tmp_path / "run"
    status, out, err = command("train", CONFIG, f"--workdir={workdir}", *TINY)
    assert status == 0, err
    figures = json.loads(out.splitlines()[-1])
    assert figures.keys() >= KEYS
    assert (figures["stage"], figures["step"], figures["eval_count"]) == ("joint", 2, 64)
    assert figures["workdir"] == str(workdir)
    fractions = ("top1", "top5", "top1_low", "top1_fused", "top1_without_high", "low_correlation")
    for name in fractions:
        assert 0 <= figures[name] <= 1
    assert figures["psnr"] > 0
    assert figures["high_energy"] > 0
    assert figures["train_seconds"] > 0
    assert "step 2/2" in err
    assert "left" in err

    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [("joint", 2), ("joint", 2)]
    train_line, eval_line = lines
    assert {
        "loss",
        "classification",
        "reconstruction",
        "energy",
        "top1",
        "learning_rate",
        "images_per_s",
        "epoch",
    } <= train_line.keys()
    assert eval_line["top1"] == figures["top1"]
    assert list(workdir.glob("events.out.tfevents.*"))
    assert json.loads((workdir / "config.json").read_text())["stages"]["joint"]["steps"] == 2

    # A changed config is refused and says which key; keys that change no result are not.
    flag = f"--workdir={workdir}"
    line = refuse(["seed", "0", "1"], "train", CONFIG, flag, *TINY, "--config.seed=1")
    assert "log_every" not in line
    assert command("train", CONFIG, flag, *TINY, "--config.log_every=7")[0] == 0


def test_figures_that_do_not_exist_are_null(succeed, tmp_path):
    out = succeed("train", CONFIG + ":lowres", f"--workdir={tmp_path / 'run'}", *TINY)
    figures = json.loads(out.splitlines()[-1])
    assert figures.keys() >= KEYS
    assert {name for name, value in figures.items() if value is None} == {
        "top1_low",
        "top1_fused",
        "top1_without_high",
        "psnr",
        "high_energy",
        "low_correlation",
    }


# The same from outside, where nothing of this process helps.


def start(root, env, *argv):
    return subprocess.run(
        [sys.executable, "train.py", *argv],
        cwd=root,
        env=env,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "argv, word", [([CONFIG], "--workdir"), ([CONFIG, "--workdir=run", "--config.sede=1"], "sede")]
)
def test_a_mistake_in_a_real_process(argv, word, root, run_env, tmp_path):
    done = start(root, run_env, *[a.replace("=run", f"={tmp_path / 'run'}") for a in argv])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert word in done.stderr


def test_help_shows_how_to_call_it(root, run_env):
    done = start(root, run_env, "--help")
    assert done.returncode == 0
    assert "python train.py --config=" in done.stdout
    assert "--workdir" in done.stdout
