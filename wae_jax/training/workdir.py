"""The folder of a run: which run it may hold, and from where that goes on."""

import json
from pathlib import Path

from wae_jax.checkpoints import folders, formats
from wae_jax.config import Settings, as_dict
from wae_jax.errors import UserError
from wae_jax.runtime import files
from wae_jax.schema.trees import differences
from wae_jax.training.progress import METRICS_FILE

CONFIG_FILE = "config.json"
# Keys that may change when a run continues: what is computed stays the same, but for rounding.
RUNTIME_KEYS = (
    "data.workers",
    "data.data_dir",
    "data.cache_dir",
    "data.bad_records",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "eval_every_epochs",
    "parallel.mode",
    "parallel.devices",
    "parallel.coordinator",
    "parallel.num_processes",
    "parallel.process_id",
)


def own_checkpoint(workdir: Path) -> Path | None:
    """The newest good checkpoint of the run in ``workdir``, from which it goes on."""
    try:
        return folders.newest_good(workdir / folders.FOLDER)
    except OSError as error:
        raise UserError(f"cannot use the workdir {workdir}: {error}") from error


def check_workdir(folder: Path, settings: Settings) -> None:
    """Makes the folder where it is missing.

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
            return
        held = files.read_json(path)
        log_file = folder / METRICS_FILE
        started = (folder / folders.FOLDER).exists() or (
            log_file.exists() and log_file.stat().st_size > 0
        )
        if not started:
            return  # nothing was computed with the config that is there
    except (OSError, ValueError) as error:
        raise UserError(f"cannot use the workdir {folder}: {error}") from error
    check_same_config(formats.settings_of_run(held, path), settings, folder)


def check_same_config(held: Settings, settings: Settings, folder: Path) -> None:
    """Raises UserError where the run in ``folder`` has a config in which it cannot go on."""
    different = differences(held, settings)
    different = {key: pair for key, pair in different.items() if key not in RUNTIME_KEYS}
    if different:
        shown = ", ".join(
            f"{key} ({old!r} there, {new!r} now)"
            for key, (old, new) in sorted(different.items())[:3]
        )
        raise UserError(
            f"the workdir {folder} holds a run with another config: {len(different)} "
            f"key(s) differ: {shown}; choose another --workdir, or the same config"
        )


def write_config(folder: Path, settings: Settings) -> None:
    """Keeps the config of the run that the folder now holds."""
    held = {"format": formats.FORMAT, **as_dict(settings)}
    files.write_atomically(folder / CONFIG_FILE, json.dumps(held, indent=1) + "\n")
