"""Killed at any moment and started again, a preparation gives what an undisturbed one gives."""

import subprocess
import sys
from pathlib import Path

import pytest
from tensorflow_datasets.core.utils import shard_utils

from wae_jax.data.prepare import prepare_imagenet2012, workspace
from wae_jax.errors import UserError
from wae_jax.runtime import files

from .conftest import contents


@pytest.fixture
def killed_runs(root, run_env):
    """Function that starts kill.py and returns how many of its children were killed."""

    def start(*argv):
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("kill.py")), *map(str, argv)],
            env=run_env | {"PYTHONPATH": str(root)},
            text=True,
            capture_output=True,
            timeout=250,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        return int(done.stdout.split()[-1])

    return start


@pytest.mark.slow
def test_killed_before_each_change_on_disk(killed_runs, imagenet_tars, tmp_path, monkeypatch):
    tar = imagenet_tars.validation
    kills = killed_runs(
        "steps",
        30_000,
        tmp_path / "killed",
        "prepare",
        "imagenet2012",
        f"--val={tar}",
        "--workers=2",
    )
    monkeypatch.setattr(shard_utils.ShardConfig, "min_shard_size", 30_000)
    whole = contents(prepare_imagenet2012(validation=tar, data_dir=tmp_path / "whole").parents[1])
    assert sum(".array_record-" in name for name in whole) == 2
    assert kills > 15
    for n in range(1, kills + 2):
        assert contents(tmp_path / "killed" / str(n)) == whole, n


@pytest.mark.slow
def test_killed_at_random_times(killed_runs, imagenet_tars, prepared_imagenet, tmp_path):
    kills = killed_runs(
        "times",
        20_000,
        tmp_path / "killed",
        "prepare",
        "imagenet2012",
        f"--train={imagenet_tars.train}",
        f"--val={imagenet_tars.validation}",
    )
    assert kills == 3
    for n in range(1, 4):
        folder = tmp_path / "killed" / str(n) / "imagenet2012" / "5.1.0"
        assert contents(folder) == contents(prepared_imagenet), n


@pytest.fixture
def fail_in_shard(monkeypatch):
    """Function: from the n-th shard to be written on, the disk is full. Returns their names."""
    real = files.sync

    def fail(n):
        names = []

        def sync(path):
            if path.name.startswith(files.PARTIAL + "imagenet"):
                names.append(path.name)
                if len(names) >= n:
                    raise OSError(28, "No space left on device", str(path))
            real(path)

        monkeypatch.setattr(files, "sync", sync)
        return names

    return fail


def test_finished_shards_are_not_written_again(
    imagenet_tars, prepared_imagenet, tmp_path, small_shards, fail_in_shard, capsys
):
    both = imagenet_tars.train, imagenet_tars.validation
    fail_in_shard(41)
    with pytest.raises(UserError, match="No space left on device"):
        prepare_imagenet2012(*both, data_dir=tmp_path, workers=1)
    kept = contents(tmp_path)
    assert sum(".array_record-" in name for name in kept) == 40
    assert not any(files.PARTIAL in name for name in kept)
    assert not (tmp_path / "imagenet2012" / "5.1.0").exists()
    written = fail_in_shard(1000)
    assert contents(prepare_imagenet2012(*both, data_dir=tmp_path)) == contents(prepared_imagenet)
    assert len(written) == 130 - 40
    assert "40 of 130 shards are there already" in capsys.readouterr().err


def test_disk_full_amid_a_shard(imagenet_tars, tmp_path):
    """ArrayRecord's writer says so only at its end; the limit on file sizes stands for the disk."""
    limit = (
        "import resource, runpy, sys;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "sys.argv[0] = 'wae_jax'; runpy.run_module('wae_jax', run_name='__main__')"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            limit,
            "prepare",
            "imagenet2012",
            f"--train={imagenet_tars.train}",
            f"--data_dir={tmp_path}",
        ],
        text=True,
        capture_output=True,
        timeout=200,
    )
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: cannot write imagenet2012-train.array_record-00000-of-00001")
    assert "File too large" in error
    assert not contents(tmp_path)


def test_two_at_once(imagenet_tars, tmp_path):
    data_dir = tmp_path / "data"
    with (
        workspace.open_workspace(data_dir / "imagenet2012" / "5.1.0"),
        pytest.raises(UserError, match="another run is preparing"),
    ):
        prepare_imagenet2012(validation=imagenet_tars.validation, data_dir=data_dir)
    folder = prepare_imagenet2012(validation=imagenet_tars.validation, data_dir=data_dir)
    assert (folder / "dataset_info.json").exists()


def test_something_else_is_in_the_way(imagenet_tars, tmp_path):
    folder = tmp_path / "imagenet2012" / "5.1.0"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("kept")
    with pytest.raises(UserError, match="is no finished data set; move it out of the way"):
        prepare_imagenet2012(validation=imagenet_tars.validation, data_dir=tmp_path)
    assert contents(tmp_path) == {"imagenet2012/5.1.0/notes.txt": b"kept"}
