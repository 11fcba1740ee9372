"""Checkpoints: Orbax for the arrays, plus a manifest of hashes that is verified before use.

Layout: ``WORKDIR/checkpoints/STEP/`` holds the Orbax items ``variables`` (params, batch_stats),
``training`` (step, optimiser, parameter averages) and ``meta`` (config, stage, data position), and
``manifest.json``, written last. A step without a right manifest is never used: Orbax itself
restores flipped bytes without an error, and takes an empty directory for the newest step.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import orbax.checkpoint as ocp

from wae_jax.checkpoints.state import TrainState
from wae_jax.errors import UserError

MANIFEST = "manifest.json"
FOLDER = "checkpoints"
log = logging.getLogger("wae_jax")


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[str(path.relative_to(folder))] = digest
    return found


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def problem_with(folder: Path) -> str:
    """Why the step directory ``folder`` cannot be used, in words; empty where it can."""
    try:
        expected = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return "it was not finished (no manifest)"
    except (OSError, ValueError):
        return "its manifest is unreadable"
    found = _hashes(folder)
    bad = sorted(name for name in expected if found.get(name) != expected[name])
    return f"damaged or missing: {', '.join(bad[:3])}" if bad else ""


def _steps(folder: Path) -> list[Path]:
    """Step directories, newest first."""
    if not folder.is_dir():
        return []
    names = [p for p in folder.iterdir() if p.is_dir() and p.name.isdigit()]
    return sorted(names, key=lambda p: int(p.name), reverse=True)


def newest_good(folder: Path) -> Path | None:
    """The newest step directory that verifies; warns about each newer one that does not."""
    for step in _steps(folder):
        problem = problem_with(step)
        if not problem:
            return step
        log.warning("skipping checkpoint %s: %s", step, problem)
    return None


def find(path: str) -> Path:
    """The verified step directory that a user's path means: a workdir or one step's directory.

    Raises:
        UserError: there is none, or none that verifies.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"no checkpoint at {path}: no such directory")
    if folder.name.isdigit() or (folder / MANIFEST).exists():
        problem = problem_with(folder)
        if problem:
            raise UserError(f"cannot use the checkpoint {path}: {problem}")
        return folder
    for candidate in (folder / FOLDER, folder):
        good = newest_good(candidate)
        if good:
            return good
    raise UserError(
        f"no usable checkpoint in {path}: give a training workdir or one of its "
        f"{FOLDER}/STEP directories"
    )


def fingerprint(folder: Path) -> str:
    """A hash of all that the verified step directory ``folder`` holds."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _training_part(state: TrainState) -> dict[str, Any]:
    part = {"step": state.step, "opt_state": flax.serialization.to_state_dict(state.opt_state)}
    if state.ema_params is not None:
        part["ema_params"] = state.ema_params
    return part


def save(workdir: Path, state: TrainState, meta: dict[str, Any], *, keep: int) -> Path:
    """Writes the state and ``meta`` (JSON-able), then removes all but the newest ``keep`` steps.

    state: replicated arrays; in a multi-process run every process must call this.
    """
    target = workdir.absolute() / FOLDER / str(int(state.step))
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            target,
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(state.variables),
                training=ocp.args.StandardSave(_training_part(state)),
                meta=ocp.args.JsonSave(meta),
            ),
            force=True,
        )
    if jax.process_index() == 0:
        write_atomically(target / MANIFEST, json.dumps(_hashes(target), indent=1))
        for old in _steps(target.parent)[max(1, keep) :]:
            shutil.rmtree(old)
    return target


def clean(workdir: Path) -> None:
    """Removes what a killed save left behind."""
    for path in (workdir / FOLDER).glob("*orbax-checkpoint-tmp*"):
        shutil.rmtree(path)


def _restore(folder: Path, **items) -> Any:
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(folder.absolute(), args=ocp.args.Composite(**items))


def read_meta(folder: Path) -> dict[str, Any]:
    """The ``meta`` that :func:`save` was given."""
    return _restore(folder, meta=ocp.args.JsonRestore())["meta"]


def _abstract(tree):
    """Shapes and dtypes on this process's first device, wherever the checkpoint was made."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def restore_state(folder: Path, like: TrainState) -> TrainState:
    """The whole state, with the structure, shapes and dtypes of ``like``."""
    template = _abstract({"variables": like.variables, "training": _training_part(like)})
    items = _restore(
        folder, **{name: ocp.args.StandardRestore(tree) for name, tree in template.items()}
    )
    training = items["training"]
    return TrainState(
        step=training["step"],
        params=items["variables"]["params"],
        batch_stats=items["variables"]["batch_stats"],
        opt_state=flax.serialization.from_state_dict(like.opt_state, training["opt_state"]),
        ema_params=training.get("ema_params"),
    )


def restore_variables(folder: Path, like) -> Any:
    """Model variables with the structure of ``like`` (arrays or shapes).

    Raises:
        UserError: the checkpoint is of another network; names what differs.
    """
    saved = _restore(folder, variables=ocp.args.StandardRestore())["variables"]
    saved_shapes, like_shapes = _shapes(saved), _shapes(like)
    wrong = sorted(
        name
        for name in saved_shapes.keys() | like_shapes.keys()
        if saved_shapes.get(name) != like_shapes.get(name)
    )
    if wrong:
        raise UserError(
            f"the checkpoint {folder} is of another network: {len(wrong)} arrays "
            f"differ, the first is {wrong[0]} (checkpoint "
            f"{saved_shapes.get(wrong[0], 'lacks it')}, network "
            f"{like_shapes.get(wrong[0], 'lacks it')})"
        )
    return jax.tree.map(lambda a, b: a.astype(b.dtype), saved, dict(like))


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree.leaves_with_path(tree)
    return {
        "/".join(str(getattr(k, "key", k)) for k in path): tuple(leaf.shape)
        for path, leaf in leaves
    }


def restore_evaluated(folder: Path, like) -> Any:
    """As :func:`restore_variables`, with the averaged parameters where the run kept an average."""
    variables = restore_variables(folder, like)
    if read_meta(folder)["ema"]:
        training = _restore(folder, training=ocp.args.StandardRestore())["training"]
        variables = {**variables, "params": training["ema_params"]}
    return variables
