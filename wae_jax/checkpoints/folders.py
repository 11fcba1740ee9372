"""The step directories of a workdir, ``WORKDIR/checkpoints/STEP``: which to use, which to keep."""

import logging
import re
import shutil
from pathlib import Path

import jax

from wae_jax.checkpoints import manifest
from wae_jax.errors import UserError
from wae_jax.runtime import files

FOLDER = "checkpoints"
# Ends of names of what is not a step yet, and of what is none any more.
_STAGED, _RETIRED = ".saving", ".removing"
log = logging.getLogger("wae_jax")


def steps(folder: Path) -> list[Path]:
    """Directories in ``folder`` that are named like steps, highest first, sound or not."""
    if not folder.is_dir():
        return []
    named = [p for p in folder.iterdir() if re.fullmatch("[0-9]+", p.name) and p.is_dir()]
    return sorted(named, key=lambda p: int(p.name), reverse=True)


def newest_good(folder: Path) -> Path | None:
    """The newest step directory in ``folder`` that verifies; warns about newer ones that do not."""
    return _search(folder)[0]


def _search(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest good step, and what is wrong with those that are newer."""
    problems: list[str] = []
    for step in steps(folder):
        problem = manifest.problem_with(step)
        if not problem:
            return step, problems
        problems.append(f"{step}: {problem}")
        log.warning("skipping checkpoint %s", problems[-1])
    return None, problems


def find(path: str) -> Path:
    """The verified step directory that a user's path means.

    Args:
        path: a workdir, its ``checkpoints`` folder, or a step directory. What is in it decides
            which, so each may have any name.

    Raises:
        UserError: there is no checkpoint, or none that verifies.
    """
    try:
        return _find(Path(path), path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _find(folder: Path, path: str) -> Path:
    if not folder.is_dir():
        reason = "it is a file" if folder.exists() else "no such directory"
        raise UserError(f"no checkpoint at {path}: {reason}")
    if (folder / FOLDER).is_dir():
        return _newest(folder / FOLDER, path)
    if _is_step(folder):
        problem = manifest.problem_with(folder)
        if problem:
            raise UserError(f"cannot use the checkpoint {path}: {problem}")
        return folder
    if any(_is_step(step) for step in steps(folder)):
        return _newest(folder, path)
    workdirs = sorted(p.name for p in folder.iterdir() if (p / FOLDER).is_dir())
    if workdirs:
        reason = f"it holds the workdirs {', '.join(workdirs[:3])}{', ...' * (len(workdirs) > 3)}"
    elif any(folder.iterdir()):
        reason = f"it has neither a folder {FOLDER} nor a checkpoint's files"
    else:
        reason = "it is empty"
    raise UserError(
        f"no checkpoint in {path}: {reason}; give a training workdir or one of its "
        f"{FOLDER}/STEP directories"
    )


def _is_step(folder: Path) -> bool:
    return (folder / manifest.MANIFEST).exists() or (folder / "variables").is_dir()


def _newest(folder: Path, path: str) -> Path:
    good, problems = _search(folder)
    if good is None:
        what = f"the newest is {problems[0]}" if problems else "the run has not saved any yet"
        raise UserError(f"no usable checkpoint in {path}: {what}")
    return good


def staged(step: Path) -> Path:
    """Where a step directory is written before it gets its name."""
    return step.with_name(f"{step.name}{_STAGED}")


def publish(step: Path) -> None:
    """Gives the finished :func:`staged` directory its name, and a manifest.

    Until then a directory that has the name already, such as a damaged one, stays as it is.
    """
    manifest.write(staged(step))
    old = _retire(step) if step.exists() else None
    staged(step).rename(step)
    files.sync(step.parent)
    manifest.remember(step)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def prune(written: Path, keep: int, best: int | None = None) -> None:
    """Removes all steps below the newest ``keep`` that verify, never ``written`` nor ``best``.

    Directories that do not verify do not count: they stay until ``keep`` newer ones verify.

    Args:
        written: the step directory that was just written.
        keep: at least 1.
        best: a step's number.
    """
    newer = 0  # steps that verify, above the one looked at
    for step in steps(written.parent):
        problem = manifest.problem_with(step, cached=True)
        if newer >= keep and step != written and int(step.name) != best:
            if problem:
                log.warning("removing checkpoint %s: %s", step, problem)
            shutil.rmtree(_retire(step), ignore_errors=True)
        newer += not problem


def _retire(step: Path) -> Path:
    """Takes a step directory's name away, so that no half-removed one is found; its new path."""
    retired = step.with_name(f"{step.name}{_RETIRED}")
    shutil.rmtree(retired, ignore_errors=True)
    manifest.forget(step)
    return step.rename(retired)


def clean(workdir: Path) -> None:
    """Removes what a killed save left behind."""
    if jax.process_index() == 0:
        for pattern in ("*orbax-checkpoint-tmp*", f"*{_STAGED}", f"*{_RETIRED}"):
            for path in (workdir / FOLDER).glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
