"""What a result can be made again from: the command, and the commit of the source."""

import importlib.resources
import shlex
import subprocess
import sys
from pathlib import Path


def command() -> str:
    """The command line of this process, without the folder of the program."""
    program, *arguments = sys.argv
    name = Path(program).name
    return shlex.join([*("wae-jax" if name == "__main__.py" else name).split(), *arguments])


def commit() -> str | None:
    """The commit of the source, ``+changes`` behind it where files differ; None outside a clone."""
    source = Path(str(importlib.resources.files("wae_jax"))).parent
    if not (source / ".git").exists():
        return None
    found = _git(source, "rev-parse", "HEAD")
    changed = found and _git(source, "status", "--porcelain", "--untracked-files=no")
    return f"{found}+changes" if changed else found


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None  # no git, or one that distrusts the folder's owner
    return done.stdout.strip()
