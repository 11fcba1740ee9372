import subprocess
import sys

import pytest

from wae_jax.runtime import origin


@pytest.mark.parametrize(
    "argv, shown",
    [
        (["/home/me/clone/bench.py", "--csv=a b.csv"], "bench.py '--csv=a b.csv'"),
        (["/env/bin/wae-jax", "study", "--workdir=w"], "wae-jax study --workdir=w"),
        (["wae-jax bench", "--methods=wae"], "wae-jax bench --methods=wae"),
        (["/clone/wae_jax/__main__.py", "study"], "wae-jax study"),
    ],
)
def test_command(argv, shown, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert origin.command() == shown


def test_commit(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", "-C", tmp_path, *who, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    package = tmp_path / "wae_jax"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(origin.importlib.resources, "files", lambda name: package)
    assert origin.commit() is None
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    head = git("rev-parse", "HEAD")
    assert origin.commit() == head and len(head) == 40
    (package / "b.py").write_text("new\n")
    assert origin.commit() == head
    (package / "a.py").write_text("x = 2\n")
    assert origin.commit() == f"{head}+changes"
