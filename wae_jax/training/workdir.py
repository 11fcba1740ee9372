"""The folder of a run: which run it may hold, and from where that goes on."""

import dataclasses
import datetime
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wae_jax.checkpoints import folders, formats
from wae_jax.config import Settings, StageSettings, as_dict
from wae_jax.errors import UserError
from wae_jax.runtime import files
from wae_jax.runtime.console import say
from wae_jax.schema.trees import differences
from wae_jax.training.progress import METRICS_FILE
from wae_jax.training.stages import plan_stages

CONFIG_FILE = "config.json"
CHANGES_FILE = "changes.jsonl"
CHANGES_FLAG = "--continue_with_changes"
LOCK_FILE = ".lock"
# Keys that may change when a run continues: what is computed stays the same, but for rounding.
RUNTIME_KEYS = (
    "data.workers",
    "data.data_dir",
    "data.cache_dir",
    "data.bad_records",
    "data.eval_batch_size",
    "log_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "keep_checkpoints",
    "keep_best",
    "on_nan",
    "nan_limit",
    "eval_every_epochs",
    "parallel.mode",
    "parallel.devices",
    "parallel.shard_optimizer",
    "parallel.coordinator",
    "parallel.num_processes",
    "parallel.process_id",
    "parallel.timeout_s",
)
# Keys of a stage that belong to its data order or to the form of its optimiser's state.
FIXED_IN_STAGE = (
    "batch_size",
    "trains",
    "statistics",
    "classification",
    "transform",
    "optimizer",
)


log = logging.getLogger("wae_jax")


class Hold:
    """A workdir that this process holds; see :func:`hold`."""

    def __init__(self, folder: Path, file=None):
        self._folder, self._file = folder, file

    def check(self) -> None:
        """Raises UserError where the workdir is not there any more, or another is in its place."""
        if self._file is None:
            return
        try:
            path = os.stat(self._folder / LOCK_FILE)
        except OSError:
            path = None
        if path is None or not os.path.samestat(path, os.fstat(self._file.fileno())):
            raise UserError(
                f"the workdir {self._folder} was removed or replaced while the run was in it"
            )


@contextmanager
def hold(folder: Path, *, main: bool) -> Iterator[Hold]:
    """Holds a workdir, made where it is missing, while no other run may enter it.

    The lock is the kernel's and dies with this process, however that ends. On NFS it holds between
    hosts where the mount has locks (not with ``nolock`` or ``local_lock=flock``); where there are
    none at all, a warning says so.

    Args:
        folder: the workdir.
        main: whether this is the process that writes, of those of a run; the others hold nothing.

    Raises:
        UserError: another run holds it (its host and process are named), or it cannot be made.
    """
    if not main:
        yield Hold(folder)
        return
    made = not folder.exists()
    if folder.is_file():
        raise UserError(f"cannot use the workdir {folder}: it is a file; name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("ab+", buffering=0)
    except OSError as error:
        raise UserError(f"cannot use the workdir {folder}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read().decode().strip() or "it has not said its name yet"
            raise UserError(
                f"the workdir {folder} is in use by another run ({holder}); wait for it, or choose "
                "another --workdir"
            ) from error
        except OSError as error:
            log.warning("no locks in %s (%s): let no other run use it", folder, error.strerror)
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            raise UserError(f"cannot write into the workdir {folder}: {error.strerror}") from error
        try:
            yield Hold(folder, file)
        except UserError:
            if made:
                _remove_if_unused(folder)
            raise


def _remove_if_unused(folder: Path) -> None:
    """A mistake that was found before anything was computed leaves no folder behind."""
    if folder.is_dir() and [path.name for path in folder.iterdir()] == [LOCK_FILE]:
        (folder / LOCK_FILE).unlink()
        folder.rmdir()


def own_checkpoint(workdir: Path) -> Path | None:
    """The newest good checkpoint of the run in ``workdir``, from which it goes on."""
    try:
        return folders.newest_good(workdir / folders.FOLDER)
    except OSError as error:
        raise UserError(f"cannot use the workdir {workdir}: {error}") from error


def check_workdir(
    folder: Path, settings: Settings, meta: dict[str, Any] | None = None, *, changes: bool = False
) -> dict[str, tuple[Any, Any]]:
    """Makes the folder where it is missing.

    Args:
        folder: the workdir.
        settings: of the run that is to be in it.
        meta: of the checkpoint from which it goes on, if any.
        changes: whether keys of stages that are not finished may differ from the run in it.

    Returns:
        The keys that do, with both values.

    Raises:
        UserError: it cannot hold this run, or holds one with another config.
    """
    path = folder / CONFIG_FILE
    try:
        if not path.exists():
            if (folder / folders.FOLDER).exists():
                raise UserError(
                    f"the workdir {folder} has checkpoints but no {CONFIG_FILE}; "
                    "choose another --workdir"
                )
            folder.mkdir(parents=True, exist_ok=True)
            return {}
        held = files.read_json(path)
        log_file = folder / METRICS_FILE
        started = (folder / folders.FOLDER).exists() or (
            log_file.exists() and log_file.stat().st_size > 0
        )
        if not started:
            return {}  # nothing was computed with the config that is there
    except (OSError, ValueError) as error:
        raise UserError(f"cannot use the workdir {folder}: {error}") from error
    run = formats.settings_of_run(held, path)
    may = changeable(run, meta)
    different = _different(run, settings)
    if not changes:
        hint = (
            f", or go on with what you changed: {CHANGES_FLAG}" if different.keys() <= may else ""
        )
        _refuse(different, folder, hint)
    _refuse({key: pair for key, pair in different.items() if key not in may}, folder)
    return different


def changeable(held: Settings, meta: Mapping[str, Any] | None) -> set[str]:
    """Keys of a run that may change where the user says so: those of stages not finished.

    Of a stage that has begun, batches and the optimiser's kind stay. Figures of another evaluation
    split are others, but nothing that is trained.

    Args:
        held: the run's settings so far.
        meta: of its newest checkpoint; None: nothing is saved yet.
    """
    names = [field.name for field in dataclasses.fields(StageSettings)]
    keys = {"data.eval_split"} | {f"stages.{stage}.{n}" for stage in held.stages for n in names}
    if meta is None or not meta["data"]:
        return keys
    for stage in plan_stages(held.running_stages, meta["data"]["num_examples"]):
        if stage.last_step <= meta["step"]:
            keys -= {f"stages.{stage.name}.{name}" for name in names}
        elif stage.first_step < meta["step"]:
            keys -= {f"stages.{stage.name}.{name}" for name in FIXED_IN_STAGE}
    return keys


def check_same_config(held: Settings, settings: Settings, folder: Path) -> None:
    """Raises UserError where the run in ``folder`` has a config in which it cannot go on."""
    _refuse(_different(held, settings), folder)


def _different(held: Settings, settings: Settings) -> dict[str, tuple[Any, Any]]:
    found = differences(held, settings)
    return {key: pair for key, pair in found.items() if key not in RUNTIME_KEYS}


def _refuse(different: Mapping[str, tuple[Any, Any]], folder: Path, hint: str = "") -> None:
    if different:
        shown = ", ".join(
            f"{key} ({old!r} there, {new!r} now)"
            for key, (old, new) in sorted(different.items())[:3]
        )
        raise UserError(
            f"the workdir {folder} holds a run with another config: {len(different)} "
            f"key(s) differ: {shown}; choose another --workdir, or the same config{hint}"
        )


def note_changes(folder: Path, step: int, changes: Mapping[str, tuple[Any, Any]]) -> None:
    """Tells the keys that changed in a run, and appends a line to its ``changes.jsonl``."""
    shown = ", ".join(f"{key} from {old!r} to {new!r}" for key, (old, new) in changes.items())
    say(f"from step {step} on: {shown}")
    line = {"step": step, "time": datetime.datetime.now(datetime.UTC).isoformat()}
    with (folder / CHANGES_FILE).open("a") as file:
        file.write(json.dumps(line | {"changes": changes}) + "\n")


def write_config(folder: Path, settings: Settings) -> None:
    """Keeps the config of the run that the folder now holds."""
    held = {"format": formats.FORMAT, **as_dict(settings)}
    try:
        files.write_atomically(folder / CONFIG_FILE, json.dumps(held, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write into the workdir {folder}: {error.strerror}") from error
