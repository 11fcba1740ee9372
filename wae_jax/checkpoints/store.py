"""Checkpoints: Orbax for the arrays, plus a manifest of hashes that is verified before use.

Layout: ``WORKDIR/checkpoints/STEP/`` holds the Orbax items ``variables`` (params, batch_stats),
``training`` (step, optimiser, parameter averages) and ``meta`` (config, stage, data position), and
``manifest.json``, written last. A step without a right manifest is never used.
"""

from pathlib import Path
from typing import Any

import flax.serialization
import jax
import orbax.checkpoint as ocp

from wae_jax.checkpoints import folders
from wae_jax.checkpoints.state import TrainState
from wae_jax.errors import UserError


def _training_part(state: TrainState) -> dict[str, Any]:
    part = {"step": state.step, "opt_state": flax.serialization.to_state_dict(state.opt_state)}
    if state.ema_params is not None:
        part["ema_params"] = state.ema_params
    return part


def save(workdir: Path, state: TrainState, meta: dict[str, Any], *, keep: int) -> Path:
    """Writes the state and ``meta`` (JSON-able), then removes all but the newest ``keep`` steps.

    state: replicated arrays; in a multi-process run every process must call this.
    """
    step = workdir.absolute() / folders.FOLDER / str(int(state.step))
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            folders.staged(step),
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(state.variables),
                training=ocp.args.StandardSave(_training_part(state)),
                meta=ocp.args.JsonSave(meta),
            ),
            force=True,
        )
    if jax.process_index() == 0:
        folders.publish(step)
        folders.prune(step, max(1, keep))
    return step


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
