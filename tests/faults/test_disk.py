"""A disk that is full, while saving and while logging."""

import contextlib
import errno
import os
import shutil
import subprocess

import pytest

from wae_jax.checkpoints import folders, manifest, store
from wae_jax.errors import UserError
from wae_jax.training.progress import MetricsLog

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """Function that fills a disk of 3 MB: a real one where mounting is allowed, else injected."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill():
        if mounted:
            with contextlib.suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        else:
            monkeypatch.setattr(store, "_write", lambda *_: (_ for _ in ()).throw(FULL))
            monkeypatch.setattr(store.folders.files, "write_atomically", _raise)
            monkeypatch.setattr("wae_jax.training.progress.json.dumps", _raise)

    yield disk, fill
    if mounted:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _raise(*_):
    raise FULL


@pytest.mark.parametrize("noticed_before", [True, False])
def test_while_saving_the_steps_before_stay_whole(
    noticed_before, small_disk, save_step, monkeypatch
):
    disk, fill = small_disk
    first = save_step(disk, 1)
    fill()
    if not noticed_before:  # as with a quota, which the free space does not tell
        monkeypatch.setattr(store, "_check_space", lambda *_: None)
    with pytest.raises(UserError, match=r"cannot write the checkpoint .*/2: ") as error:
        save_step(disk, 2)
    assert "\n" not in str(error.value)
    assert folders.find(str(disk)) == first
    assert not manifest.problem_with(first)


def test_room_is_looked_for_before_anything_is_written(save_step, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage._replace(free=200_000))
    with pytest.raises(UserError, match=r"takes 0\.3 MB, and 0\.2 MB are free"):
        save_step(tmp_path, 1)
    assert not (tmp_path / "checkpoints").exists()


def test_while_logging(small_disk):
    disk, fill = small_disk
    log = MetricsLog(disk, resume_step=0)
    log.write({"stage": "joint", "step": 1, "loss": 1.0})
    fill()
    with pytest.raises(UserError, match=r"cannot write the metrics in .*: No space left"):
        for step in range(2, 3000):
            log.write({"stage": "joint", "step": step, "loss": 1.0})
    log.close()


def test_what_was_logged_is_there_after_a_kill(tmp_path):
    """TensorBoard's file too, though nothing has closed it."""
    from tensorboardX.proto.event_pb2 import Event

    log = MetricsLog(tmp_path, resume_step=4)
    log.write({"stage": "joint", "step": 5, "loss": 1.5})
    content = next(tmp_path.glob("events.out.tfevents.*")).read_bytes()
    events, at = [], 0
    while at < len(content):  # length, its checksum, the event, its checksum
        size = int.from_bytes(content[at : at + 8], "little")
        events.append(Event.FromString(content[at + 12 : at + 12 + size]))
        at += 16 + size
    assert events[0].file_version == "brain.Event:2"
    assert (events[1].step, events[1].session_log.status) == (5, 1)
    scalars = [(e.step, v.tag, v.simple_value) for e in events[2:] for v in e.summary.value]
    assert scalars == [(5, "train/loss", 1.5)]
    log.close()
