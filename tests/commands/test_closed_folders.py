"""Folders of a run that cannot be read or made."""

import errno
import os

import pytest


def test_checkpoints_that_cannot_be_read_are_one_line(refuse, monkeypatch, tmp_path):
    """By whoever opens the run; also for root, whom no permission keeps out."""
    workdir = tmp_path / "run"
    (workdir / "checkpoints" / "1").mkdir(parents=True)
    closed = str(workdir / "checkpoints")

    def deny(scan):
        def scan_unless_closed(path="."):
            if str(path) == closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scan(path)

        return scan_unless_closed

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, deny(getattr(os, name)))
    words = ["run", "Permission denied"]
    refuse(words, "evaluate", f"--checkpoint={workdir}")
    refuse(words, "visualize", f"--checkpoint={workdir}", f"--out={tmp_path / 'picture.png'}")


@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
def test_a_workdir_where_none_can_be_is_one_line(config_file, refuse, tmp_path):
    (tmp_path / "file").touch()
    for workdir in (tmp_path / "file" / "run", "/proc/run"):
        refuse(
            ["cannot use", str(workdir)], "train", f"--config={config_file}", f"--workdir={workdir}"
        )
