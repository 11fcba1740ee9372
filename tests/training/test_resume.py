"""Runs that are killed, damaged or started again end as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import wae_jax
from configs import quickstart
from wae_jax.checkpoints import folders, store
from wae_jax.checkpoints.manifest import MANIFEST
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError

STEPS = {"autoencoder": 9, "classifier": 9, "joint": 9}
CHANGES = {
    "data.image_size": 32,
    "data.eval_split": "test[:64]",
    "data.eval_batch_size": 64,
    "model.backbone.plan": "4 M",
    "model.frontend.channels": 4,
    "model.frontend.depth": 1,
    "model.frontend.decoder_channels": 4,
    "model.head.kind": "fc",
    "model.head.dropout": 0.5,
    "model.head.hidden_low": (8,),
    "model.head.hidden_fused": (8,),
    "ema_decay": 0.5,
    "log_every": 1,
    "checkpoint_every": 3,
    "keep_checkpoints": 3,
    "parallel.devices": 1,
    **{f"stages.{name}.steps": steps for name, steps in STEPS.items()},
    **{f"stages.{name}.batch_size": 32 for name in STEPS},
    # Schedules with a shape, to show that they continue too.
    **{f"stages.{name}.schedule": "cosine" for name in STEPS},
}
TIMING = {"images_per_s", "wait_fraction"}
TIMEOUT_S = 120
pytestmark = pytest.mark.slow  # a stopped run is in the default suite too: test_distill_runs.py


@pytest.fixture(scope="module")
def start(root, run_env, cifar10):
    """Starts train.py in a workdir, as a process of its own that writes to files."""
    flags = [f"--config.{key}={value}" for key, value in CHANGES.items()]
    started = []

    def start(workdir: Path) -> subprocess.Popen:
        workdir.parent.mkdir(exist_ok=True, parents=True)
        with open(f"{workdir}.out", "w") as out, open(f"{workdir}.err", "w") as err:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "train.py",
                    "--config=configs/quickstart.py",
                    f"--workdir={workdir}",
                    *flags,
                ],
                cwd=root,
                env=run_env,
                stdout=out,
                stderr=err,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def finish(process: subprocess.Popen, workdir: Path) -> dict:
    """Waits for a run to end well; the JSON object of its last line."""
    assert process.wait(TIMEOUT_S) == 0, stderr_of(workdir)
    return json.loads(Path(f"{workdir}.out").read_text().splitlines()[-1])


def stderr_of(workdir: Path) -> str:
    return Path(f"{workdir}.err").read_text()


def logged(workdir: Path) -> list[dict]:
    """Whole lines of metrics.jsonl, as they stand."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def train_lines(workdir: Path) -> list[dict]:
    return [
        {k: v for k, v in line.items() if k not in TIMING}
        for line in logged(workdir)
        if "eval_count" not in line
    ]


def kill_in(process: subprocess.Popen, workdir: Path, stage: str) -> int:
    """Kills the run after a few steps of a stage, when a checkpoint is there; the last step."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, stderr_of(workdir)
        saved = any(workdir.glob(f"checkpoints/*/{MANIFEST}"))  # written in the background
        if saved and sum(line["stage"] == stage for line in train_lines(workdir)) >= 4:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            last = train_lines(workdir)[-1]
            assert last["stage"] == stage
            return last["step"]
        time.sleep(0.005)
    raise AssertionError(f"stage {stage} did not begin: {stderr_of(workdir)}")


def arrays(step: Path, flat) -> dict[str, np.ndarray]:
    """Everything that a checkpoint keeps of the network and its training."""
    return flat({name: store._read(step, name) for name in ("variables", "training")})


def newest(workdir: Path) -> Path:
    return max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))


def assert_same_end(workdir: Path, undisturbed: Path, flat) -> None:
    """Bit for bit: parameters, statistics, optimiser, average; and what training logged."""
    assert newest(workdir).name == newest(undisturbed).name == str(sum(STEPS.values()))
    found, expected = arrays(newest(workdir), flat), arrays(newest(undisturbed), flat)
    assert found.keys() == expected.keys()
    assert {name.split("/")[0] for name in found} == {"variables", "training"}
    different = [name for name in found if found[name].tobytes() != expected[name].tobytes()]
    assert not different
    assert train_lines(workdir) == train_lines(undisturbed)


@pytest.fixture(scope="module")
def runs(start, tmp_path_factory):
    """An undisturbed run, and one that was killed in its first stage and again in its last."""
    folder = tmp_path_factory.mktemp("runs")
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    figures = [finish(start(undisturbed), undisturbed)]  # what it compiled serves the others
    stopped, messages = [], []
    for stage in ("autoencoder", "joint"):
        stopped.append(kill_in(start(killed), killed, stage))
        messages.append(stderr_of(killed))
    figures.append(finish(start(killed), killed))
    messages.append(stderr_of(killed))
    return {
        "undisturbed": undisturbed,
        "killed": killed,
        "stopped": stopped,
        "figures": figures,
        "messages": messages,
    }


def test_the_undisturbed_run_logged_every_step(runs):
    lines = train_lines(runs["undisturbed"])
    assert [line["step"] for line in lines] == list(range(1, 28))
    assert [line["stage"] for line in lines] == [
        stage for stage, steps in STEPS.items() for _ in range(steps)
    ]
    evaluations = [line for line in logged(runs["undisturbed"]) if "eval_count" in line]
    assert [(line["stage"], line["step"]) for line in evaluations] == [
        ("autoencoder", 9),
        ("classifier", 18),
        ("joint", 27),
    ]
    assert len({line["loss"] for line in lines}) == 27


def test_a_run_killed_twice_ends_the_same(runs, flat):
    first, second = runs["stopped"]
    assert 4 <= first < 9
    assert 18 + 4 <= second < 27
    for message, continues in zip(runs["messages"], (False, True, True), strict=True):
        assert ("continuing from" in message) == continues
        assert "Traceback" not in message
    assert_same_end(runs["killed"], runs["undisturbed"], flat)


def test_its_figures_are_the_same_too(runs):
    undisturbed, killed = (
        {k: v for k, v in figures.items() if k not in ("train_seconds", "workdir")}
        for figures in runs["figures"]
    )
    assert killed == undisturbed
    assert undisturbed["eval_count"] == 64


def test_only_the_newest_checkpoints_are_kept(runs):
    for name in ("undisturbed", "killed"):
        kept = sorted(int(path.name) for path in (runs[name] / "checkpoints").iterdir())
        assert kept == [21, 24, 27]


def copy_of(workdir: Path, folder: Path) -> Path:
    return Path(shutil.copytree(workdir, folder / "run"))


def flip_a_byte(step: Path) -> Path:
    """In the middle of the largest file, which holds weights."""
    victim = max(
        (p for p in (step / "variables").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    return victim


def empty(step: Path) -> None:
    shutil.rmtree(step)
    step.mkdir()


@pytest.fixture(scope="module")
def again(runs, start, tmp_path_factory):
    """Two copies of the finished run, started again; one lost its last two checkpoints."""
    damaged, finished = (
        copy_of(runs["undisturbed"], tmp_path_factory.mktemp(name))
        for name in ("damaged", "finished")
    )
    empty(damaged / "checkpoints" / "27")
    flip_a_byte(damaged / "checkpoints" / "24")
    started = {"damaged": (damaged, start(damaged)), "finished": (finished, start(finished))}
    return {
        name: (workdir, finish(process, workdir)) for name, (workdir, process) in started.items()
    }


def test_damaged_checkpoints_are_named_and_passed_over(again, runs, flat):
    workdir, figures = again["damaged"]
    folder, errors = workdir / "checkpoints", stderr_of(workdir)
    warnings = [line for line in errors.splitlines() if "skipping checkpoint" in line]
    assert len(warnings) == 2
    assert f"{folder / '27'}: it was not finished" in warnings[0]
    assert f"{folder / '24'}: damaged or missing: variables/" in warnings[1]
    assert f"continuing from {folder / '21'}" in errors
    assert_same_end(workdir, runs["undisturbed"], flat)
    for name in ("top1", "psnr", "step", "stage"):
        assert figures[name] == runs["figures"][0][name]


def test_a_finished_run_says_the_same_again(again, runs):
    workdir, figures = again["finished"]
    assert figures == runs["figures"][0] | {"workdir": str(workdir)}
    assert train_lines(workdir) == train_lines(runs["undisturbed"])


def test_it_does_not_log_the_same_evaluation_twice(again):
    lines = [line for line in logged(again["finished"][0]) if "eval_count" in line]
    assert [(line["stage"], line["step"]) for line in lines] == [
        ("autoencoder", 9),
        ("classifier", 18),
        ("joint", 27),
    ]


def test_damage_that_is_asked_for_by_path_is_an_error(runs, tmp_path):
    workdir = copy_of(runs["undisturbed"], tmp_path)
    victims = [flip_a_byte(step) for step in (workdir / "checkpoints").iterdir()]
    for path in (workdir, newest(workdir)):
        with pytest.raises(UserError, match=str(path)) as error:
            wae_jax.load(str(path))
    assert any(victim.name in str(error.value) for victim in victims)


@pytest.mark.parametrize("path", ["no_such_run", "empty"])
def test_no_checkpoint_at_a_path_is_an_error(path, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=path):
        wae_jax.load(str(tmp_path / path))


def test_what_a_killed_save_leaves_is_cleared_away(runs, tmp_path):
    workdir = copy_of(runs["undisturbed"], tmp_path)
    leftover = workdir / "checkpoints" / "30.orbax-checkpoint-tmp-5"
    leftover.mkdir()
    assert folders.newest_good(workdir / "checkpoints").name == "27"
    folders.clean(workdir)
    assert not leftover.exists()
    assert newest(workdir).name == "27"


@pytest.fixture(scope="module")
def loaded(runs):
    return wae_jax.load(str(runs["undisturbed"]))


def test_loading_gives_the_same_scores_each_time(loaded, runs):
    model, variables = loaded
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    apply = jax.jit(model.apply)
    scores = np.asarray(apply(variables, images).scores)
    assert scores.shape == (4, 10)
    assert np.ptp(scores) > 0
    again = wae_jax.load(str(newest(runs["undisturbed"])))[1]
    np.testing.assert_array_equal(apply(again, images).scores, scores)


def test_loading_gives_the_averaged_parameters(loaded, runs, flat):
    kept = arrays(newest(runs["undisturbed"]), flat)
    found = flat(loaded[1]["params"])
    raw = {name: kept[f"variables/params/{name}"] for name in found}
    for name, value in found.items():
        np.testing.assert_array_equal(value, kept[f"training/ema/params/{name}"])
    assert any((raw[name] != found[name]).any() for name in found)


def changed_config(changes):
    """The config of the runs above, changed once more."""
    config = quickstart.get_config()
    config.update_from_flattened_dict(CHANGES | changes)
    return config


@pytest.fixture(scope="module")
def restored(runs, tmp_path_factory):
    """A run of one step at rate 0 that starts from another run's weights."""
    config = changed_config(
        {
            "restore": str(runs["undisturbed"]),
            "run_stages": ("joint",),
            "stages.joint.steps": 1,
            "stages.joint.learning_rate": 0.0,
            "stages.joint.weight_decay": 0.0,
            "seed": 5,
        }
    )
    workdir = tmp_path_factory.mktemp("restored") / "run"
    return workdir, wae_jax.train(config, str(workdir))


def test_restore_starts_from_another_runs_weights(restored, loaded, flat):
    workdir, figures = restored
    assert (figures["stage"], figures["step"]) == ("joint", 1)
    expected, found = flat(loaded[1]["params"]), flat(wae_jax.load(str(workdir))[1]["params"])
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def beginning_of(workdir: Path, folder: Path) -> Path:
    """A copy of a run without its last checkpoint."""
    copy = copy_of(workdir, folder)
    shutil.rmtree(newest(copy))
    return copy


def assert_goes_on_without(source: Path, config, whole: Path, folder: Path, flat) -> None:
    """The run ``whole``, cut short, comes to the same end when ``source`` is gone."""
    begun = beginning_of(whole, folder)
    hidden = source.rename(source.with_name("hidden"))
    try:
        wae_jax.train(config, str(begun))
        # It is needed where nothing is saved yet, and what was taken from it is still compared.
        with pytest.raises(UserError, match=str(source)):
            wae_jax.train(config, str(folder / "new"))
        config.update(seed=6)
        with pytest.raises(UserError, match=r"1 key\(s\) differ: seed"):
            wae_jax.train(config, str(begun))
    finally:
        hidden.rename(source)
    assert newest(begun).name == newest(whole).name == "2"
    found, expected = arrays(newest(begun), flat), arrays(newest(whole), flat)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


SHORT = {"run_stages": ("joint",), "stages.joint.steps": 2, "checkpoint_every": 1}


def test_a_run_goes_on_without_the_checkpoint_it_was_restored_from(runs, tmp_path, flat):
    source = copy_of(runs["undisturbed"], tmp_path)
    config = changed_config(SHORT | {"restore": str(source)})
    wae_jax.train(config, str(tmp_path / "whole"))
    (tmp_path / "again").mkdir()
    assert_goes_on_without(source, config, tmp_path / "whole", tmp_path / "again", flat)


def test_a_run_goes_on_without_the_network_it_was_initialised_from(tmp_path, flat, cifar10):
    source = tmp_path / "full"
    convention = {"model.input.mean": (99.0, 98.0, 97.0), "model.backbone.norm_epsilon": 1e-3}
    full = {"model.frontend.name": "identity", "model.head.kind": "pool"}
    wae_jax.train(changed_config(SHORT | full | convention), str(source))
    # They hold the wavelet start.
    wide = {"model.frontend.channels": 6, "model.frontend.decoder_channels": 6}
    config = changed_config(SHORT | wide | {"init.pretrained": str(source)})
    wae_jax.train(config, str(tmp_path / "whole"))
    held = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert held["model"]["input"]["mean"] == [99.0, 98.0, 97.0]
    assert held["model"]["backbone"]["norm_epsilon"] == 1e-3
    (tmp_path / "again").mkdir()
    assert_goes_on_without(source, config, tmp_path / "whole", tmp_path / "again", flat)
    assert json.loads((tmp_path / "again" / "run" / "config.json").read_text()) == held


def test_restore_from_another_network_names_what_differs(runs, tmp_path):
    config = changed_config({"restore": str(runs["undisturbed"]), "model.frontend.channels": 5})
    with pytest.raises(UserError, match=r"another network.*frontend/"):
        wae_jax.train(config, str(tmp_path / "run"))


def test_the_config_of_a_run_is_kept_in_its_checkpoint(runs):
    meta = store.read_meta(newest(runs["undisturbed"]))
    assert settings_from_config(meta["config"]).running_stages[0][1].steps == 9
    assert meta["stage"] == "joint"
    assert meta["num_classes"] == 10
    assert meta["class_names"][3] == "cat"
