"""Checkpoints: Orbax for the arrays, plus a manifest of hashes that is verified before use.

Layout: ``WORKDIR/checkpoints/STEP/`` holds the Orbax items ``variables`` (params, batch_stats),
``training`` (step, optimiser, averages, a map onto the teacher's features) and ``meta`` (config,
stage, data position), and ``manifest.json``, written last. A step without a right manifest is never
used.

Arrays are read onto this process's first device. Orbax by itself would put them on devices like
those that they were saved from, which another machine does not have.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from wae_jax.checkpoints import folders, formats
from wae_jax.checkpoints.state import TEACHER_MAP, TrainState, averaged
from wae_jax.errors import UserError
from wae_jax.runtime import files

_SMALL_FILES = 256_000  # bytes, and some more than the indices and the manifest of a step take


def save(
    workdir: Path, state: TrainState, meta: dict[str, Any], *, keep: int, best: int | None = None
) -> Path:
    """Writes a step directory, then removes all below the newest ``keep`` that verify.

    Args:
        workdir: the run's folder, which must be there.
        state: replicated or host arrays; in a multi-process run every process must call this.
        meta: what describes the run (see ``formats``), JSON-able; format and step are added.
        keep: how many steps stay, at least 1.
        best: a step that stays besides.

    Returns:
        The step directory.

    Raises:
        UserError: the disk is full or cannot be written; the steps before this one are whole.
    """
    step = write(workdir, state, meta)
    if jax.process_index() == 0:
        finish(step, keep=keep, best=best)
    return step


def write(workdir: Path, state: TrainState, meta: dict[str, Any]) -> Path:
    """The first part of :func:`save`: the arrays are on the disk, the step has no name yet.

    Returns:
        What will be the step directory.
    """
    number = int(state.step)
    step = workdir.absolute() / folders.FOLDER / str(number)
    with _one_line(step):
        _check_space(step, state)
        step.parent.mkdir(exist_ok=True)
        with files.pinned(step.parent) as folder:
            try:
                _write(folder / step.name, number, state, meta)
            except Exception as error:
                if not _from_disk(error):
                    raise
                raise OSError(_first_line(error).replace(str(folder), str(step.parent))) from error
    return step


def finish(step: Path, *, keep: int, best: int | None = None) -> None:
    """The second part of :func:`save`, of one process alone: hashes, name, and what may go."""
    with _one_line(step):
        folders.publish(step)
        folders.prune(step, max(1, keep), best)


@contextlib.contextmanager
def _one_line(step: Path) -> Iterator[None]:
    """Turns what the disk refuses into UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write the checkpoint {step}: {_first_line(error)}; earlier ones are whole"
        ) from error


def _write(step: Path, number: int, state: TrainState, meta: dict[str, Any]) -> None:
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            folders.staged(step),
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(state.variables),
                training=ocp.args.StandardSave(_training_part(state)),
                meta=ocp.args.JsonSave({"format": formats.FORMAT, "step": number, **meta}),
            ),
            force=True,
        )


def _check_space(step: Path, state: TrainState) -> None:
    """Raises UserError where a checkpoint would not fit on the disk beside the others."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _SMALL_FILES
    folder = step.parents[1]
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"cannot write the checkpoint {step}: it takes {needed / 1e6:.1f} MB, and "
            f"{free / 1e6:.1f} MB are free on the disk of {folder}; the ones before it are whole"
        )


def _from_disk(error: Exception) -> bool:
    """Whether an error of writing is the disk's: TensorStore tells by its words alone."""
    return isinstance(error, OSError) or any(
        os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    )


def _first_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().splitlines()[0][:300]


def read_meta(folder: Path) -> dict[str, Any]:
    """What describes a verified step directory, in the newest format.

    Raises:
        UserError: it is of a newer format, or of no form that a checkpoint has.
    """
    meta = formats.upgrade(_saved_meta(folder), folder)
    if meta["step"] is None:
        meta["step"] = int(_read(folder, "training", only=("step",))["step"])
    return meta


def restore_state(folder: Path, like: TrainState) -> TrainState:
    """The whole state of a verified step directory, on this process's first device.

    Args:
        folder: the step directory.
        like: a state with the structure and shapes that are wanted.

    Raises:
        UserError: the checkpoint is of another network or another optimiser, or holds what is no
            finite number.
    """
    variables = restore_variables(folder, like.variables)
    training = _read_training(folder, variables["batch_stats"])
    _check_same(folder, "optimiser", training, _training_part(like))
    _check_finite(folder, training)
    teacher_map = {name: part for name, part in training.items() if name == TEACHER_MAP}
    return TrainState(
        step=training["step"],
        params=variables["params"] | teacher_map,
        batch_stats=variables["batch_stats"],
        opt_state=flax.serialization.from_state_dict(like.opt_state, training["opt_state"]),
        ema=training.get("ema"),
    )


def restore_variables(folder: Path, like) -> Any:
    """Model variables of a verified step directory, on this process's first device.

    Args:
        folder: the step directory.
        like: arrays or shapes with the structure and dtypes that are wanted.

    Raises:
        UserError: the checkpoint is of another network (names what differs), or holds what is no
            finite number.
    """
    saved = _read(folder, "variables")
    _check_same(folder, "network", saved, like)
    _check_finite(folder, saved)
    return jax.tree.map(lambda a, b: a.astype(b.dtype), saved, dict(like))


def restore_evaluated(folder: Path, like) -> Any:
    """As :func:`restore_variables`, but the averages where the run kept them."""
    variables = restore_variables(folder, like)
    if read_meta(folder)["ema"]:
        training = _read_training(folder, variables["batch_stats"], without=("opt_state",))
        variables = averaged(training["ema"])
        _check_finite(folder, variables)
    return variables


def _training_part(state: TrainState) -> dict[str, Any]:
    part = {"step": state.step, "opt_state": flax.serialization.to_state_dict(state.opt_state)}
    if state.ema is not None:
        part["ema"] = state.ema
    if TEACHER_MAP in state.params:
        part[TEACHER_MAP] = state.params[TEACHER_MAP]
    return part


def _saved_meta(folder: Path) -> Any:
    handler = ocp.JsonCheckpointHandler()
    try:
        return handler.restore(folder.absolute() / "meta", args=ocp.args.JsonRestore())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder} does not describe a run: its meta is no JSON") from error
    finally:
        handler.close()


def _read_training(folder: Path, batch_stats, *, without: Collection[str] = ()) -> dict[str, Any]:
    """The item ``training`` in the newest format; parts that are not needed can be left out.

    Args:
        folder: the step directory.
        batch_stats: of the same step; format 0 evaluated its average with them.
        without: parts to leave out.
    """
    number = formats.number_of(_saved_meta(folder), folder)
    saved = _read(folder, "training", without=without)
    return formats.upgrade_training(saved, batch_stats, number)


def _read(
    folder: Path, item: str, *, only: Collection[str] = (), without: Collection[str] = ()
) -> dict[str, Any]:
    """The arrays of an item, or of some parts of it, nested as they were saved."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    path = folder.absolute() / item
    handler = ocp.PyTreeCheckpointHandler()
    try:
        saved = handler.metadata(path).tree
        parts = {k: v for k, v in saved.items() if k in (only or saved) and k not in without}
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), parts
        )
        where = jax.tree.map(lambda x: ocp.ArrayRestoreArgs(sharding=device, dtype=x.dtype), target)
        return handler.restore(
            path,
            args=ocp.args.PyTreeRestore(target, restore_args=where, partial_restore=True),
        )
    finally:
        handler.close()


def _check_same(folder: Path, what: str, saved, wanted) -> None:
    """Raises UserError where the arrays of two trees differ in name or shape."""
    ours, theirs = _shapes(wanted), _shapes(saved)
    wrong = sorted(
        name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)
    )
    if wrong:
        raise UserError(
            f"the checkpoint {folder} is of another {what}: {len(wrong)} arrays "
            f"differ, the first is {wrong[0]} (checkpoint "
            f"{theirs.get(wrong[0], 'lacks it')}, {what} "
            f"{ours.get(wrong[0], 'lacks it')})"
        )


def _check_finite(folder: Path, saved) -> None:
    """Raises UserError where an array holds NaN or infinity: nothing right comes of it."""
    flat = traverse_util.flatten_dict(saved, sep="/")
    bad = [
        name
        for name, leaf in flat.items()
        if leaf is not None
        and jax.numpy.isdtype(leaf.dtype, "real floating")
        and not np.isfinite(np.asarray(leaf)).all()
    ]
    if bad:
        raise UserError(
            f"cannot use the checkpoint {folder}: {len(bad)} of {len(flat)} arrays hold what is no "
            f"finite number, the first is {bad[0]}; take an earlier step, if there is one"
        )


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    flat = traverse_util.flatten_dict(tree, sep="/")
    return {name: tuple(leaf.shape) for name, leaf in flat.items() if leaf is not None}
