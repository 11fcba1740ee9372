"""How long the runs that are left of a study will take, from what its other runs took."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wae_jax.checkpoints import folders, store
from wae_jax.config import Settings
from wae_jax.runtime.console import duration
from wae_jax.study import runs
from wae_jax.study.runs import Run
from wae_jax.training.stages import plan_stages


def stages_of(settings: Settings, num_examples: int, folder: str) -> list[dict[str, Any]]:
    """A run's stages as its record keeps them; ``images_per_s`` is None where none is known.

    Args:
        settings: Of the run.
        num_examples: Of its training set.
        folder: Its workdir, with its log.
    """
    rates = runs.rates(folder)
    return [
        {
            "name": stage.name,
            "steps": stage.steps,
            "batch_size": stage.settings.batch_size,
            "images_per_s": rates.get(stage.name),
        }
        for stage in plan_stages(settings.running_stages, num_examples)
    ]


def newest_step(folder: str) -> Path | None:
    """The newest step directory of a run, sound or not."""
    return next(iter(folders.steps(Path(folder) / folders.FOLDER)), None)


def seconds_left(settings: Settings, folder: str, like: Run | None) -> float | None:
    """How long a run will take from where it stands; None where nothing tells.

    Args:
        settings: Of the run.
        folder: Its workdir, which need not exist.
        like: A finished run of the same variant, if any. What it spent outside its steps
            (compiling, evaluating) is added. Without one, the run's own log must have all stages
            that are left.
    """
    newest = newest_step(folder)
    done = int(newest.name) if newest else 0
    around = 0.0
    if like is not None:
        stages = like.stages
        steps = _step_seconds(stages, 0)
        if steps is not None and not like.resumed_from_step:
            around = max(0.0, like.hours * 3600 - steps)
    elif newest is not None:
        stages = stages_of(settings, store.read_meta(newest)["data"]["num_examples"], folder)
    else:
        return None
    seconds = _step_seconds(stages, done)
    return None if seconds is None else seconds + around


def _step_seconds(stages: Sequence[dict[str, Any]], done: int) -> float | None:
    """Of the steps after ``done``; None where a stage's rate is not known."""
    seconds, end = 0.0, 0
    for stage in stages:
        end += stage["steps"]
        steps = min(stage["steps"], end - done)
        if steps > 0 and stage["images_per_s"] is None:
            return None
        if steps > 0:
            seconds += steps * stage["batch_size"] / stage["images_per_s"]
    return seconds


def shown(pending: Sequence[tuple[str, Settings, str]], finished: Sequence[Run]) -> str:
    """What is left, in words.

    Args:
        pending: Variant, settings and workdir of every run that is left.
        finished: The records in the study's folder.
    """
    like = {run.variant: run for run in finished}
    known, unknown = [], []
    for variant, settings, folder in pending:
        seconds = seconds_left(settings, folder, like.get(variant))
        if seconds is None:
            unknown.append(variant)
        else:
            known.append(seconds)
    if not known:
        return "time left: unknown, no such run was measured yet"
    names = ", ".join(dict.fromkeys(unknown))
    return f"time left: about {duration(sum(known))}" + (
        f", and an unknown time for {names}, not measured yet" if unknown else ""
    )
