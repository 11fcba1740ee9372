"""What lies in a workdir: as much as there is, of a run that is finished or not."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

from wae_jax.checkpoints import folders, formats, store
from wae_jax.compress.pipeline import Step, read_steps
from wae_jax.config import Settings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.runtime.files import read_json
from wae_jax.study import runs
from wae_jax.training.progress import METRICS_FILE
from wae_jax.training.workdir import CONFIG_FILE, own_checkpoint


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """Of one run; parts that are not there are None or empty.

    Attributes:
        name: Of the run, for readers.
        settings: Those that it is trained with.
        log: The lines of its metrics log, steps ascending; of training and of evaluation.
        step: Its newest good checkpoint. meta: What describes that.
        record: Of a study's finished run, if the checkpoint is still that run's last.
        compression: The steps that made it smaller, if any.
        notes: Sentences about what is missing.
    """

    name: str
    settings: Settings
    log: list[dict[str, Any]]
    step: Path | None
    meta: dict[str, Any] | None
    record: runs.Run | None
    compression: list[Step]
    notes: list[str]


def is_run(folder: Path) -> bool:
    """Whether a folder is the workdir of one run, begun or imported."""
    return (folder / CONFIG_FILE).is_file() or (folder / folders.FOLDER).is_dir()


def runs_in(folder: Path) -> list[Path]:
    """The workdirs in a study's folder, of finished runs and of others, in order of their names."""
    if not folder.is_dir():
        return []
    named = (p for p in folder.iterdir() if re.fullmatch(r".+-\d+", p.name))
    return sorted(path for path in named if is_run(path))


def read_run(folder: Path, name: str) -> RunFiles:
    """What there is of a run.

    Raises:
        UserError: A config, a checkpoint or a record that cannot be read.
    """
    notes = []
    step = own_checkpoint(folder)
    meta = store.read_meta(step) if step else None
    if step is None:
        notes.append(
            "There is no checkpoint yet: sub-images, costs and classes are shown once there is one."
        )
    record_path = Path(f"{folder.absolute()}.json")
    record = runs.read(record_path) if record_path.is_file() else None
    if record and (step is None or record.figures.get("step") != int(step.name)):
        notes.append("The run's record is of another checkpoint, and was left out.")
        record = None
    steps = read_steps(folder)
    return RunFiles(name, _settings(folder, meta), _log(folder), step, meta, record, steps, notes)


def _settings(folder: Path, meta: dict[str, Any] | None) -> Settings:
    if meta is not None:
        return settings_from_config(meta["config"])
    path = folder / CONFIG_FILE
    try:
        return formats.settings_of_run(read_json(path), path)
    except FileNotFoundError as error:
        raise UserError(f"{folder} has neither a usable checkpoint nor {CONFIG_FILE}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _log(folder: Path) -> list[dict[str, Any]]:
    path = folder / METRICS_FILE
    try:
        text = path.read_text() if path.exists() else ""
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return sorted(filter(None, map(_line, text.splitlines())), key=lambda line: line["step"])


def _line(text: str) -> dict[str, Any] | None:
    """None for one that a kill cut short."""
    try:
        line = json.loads(text)
        ok = isinstance(line["step"], int) and isinstance(line["stage"], str)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return line if ok else None


def is_number(value: Any) -> bool:
    """Whether a figure of a log can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
