"""The folder of a run: which run it may hold."""

import json
from pathlib import Path
from typing import Any

from wae_jax.checkpoints import store
from wae_jax.errors import UserError
from wae_jax.training.progress import METRICS_FILE

CONFIG_FILE = "config.json"
# Keys that may change when a run continues: they do not touch what is computed.
RUNTIME_KEYS = (
    "data.workers",
    "data.data_dir",
    "data.cache_dir",
    "data.bad_records",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "eval_every_epochs",
    "parallel.coordinator",
    "parallel.process_id",
)


def check_workdir(folder: Path, config: dict[str, Any]) -> None:
    """Makes the folder where it is missing.

    Raises:
        UserError: it cannot hold this run, or holds one with another config.
    """
    path = folder / CONFIG_FILE
    try:
        if not path.exists():
            if (folder / store.FOLDER).exists():
                raise UserError(
                    f"the workdir {folder} has checkpoints but no {CONFIG_FILE}; "
                    "choose another --workdir"
                )
            folder.mkdir(parents=True, exist_ok=True)
            return
        held = json.loads(path.read_text())
        log_file = folder / METRICS_FILE
        started = (folder / store.FOLDER).exists() or (
            log_file.exists() and log_file.stat().st_size > 0
        )
        if not started:
            return  # nothing was computed with the config that is there
    except (OSError, ValueError) as error:
        raise UserError(f"cannot use the workdir {folder}: {error}") from error
    old, new = flatten(held), flatten(config)
    different = sorted(
        key
        for key in old.keys() | new.keys()
        if key not in RUNTIME_KEYS and old.get(key) != new.get(key)
    )
    if different:
        shown = ", ".join(
            f"{key} ({old.get(key)!r} there, {new.get(key)!r} now)" for key in different[:3]
        )
        raise UserError(
            f"the workdir {folder} holds a run with another config: {len(different)} "
            f"key(s) differ: {shown}; choose another --workdir, or the same config"
        )


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Keeps the config of the run that the folder now holds."""
    store.write_atomically(folder / CONFIG_FILE, json.dumps(config, indent=1) + "\n")


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
