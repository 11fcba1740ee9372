"""Formats of checkpoints: their number, and how older ones become the newest.

A new config key needs nothing here: checkpoints without it get its default. Where the default is
not what older code did, or a key or a part changes its name or meaning, add one to ``FORMAT`` and a
function to ``UPGRADES``, and keep a checkpoint of the old format with the tests.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from wae_jax.checkpoints.state import ema_of_format_0
from wae_jax.config import Settings, as_dict, fill, settings_from_config
from wae_jax.errors import UserError

FORMAT = 1

# What ``meta`` holds in the newest format.
_TYPES: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "step": (int, NoneType),  # None before format 1: see store.read_meta
    "config": dict,
    "stage": str,
    "data": (dict, NoneType),  # position and identity of the training data
    "train_seconds": (int, float),
    "ema": bool,  # there is an average of parameters and batch statistics
    "teacher": (dict, NoneType),  # identity of the network that taught this one
    "origin": (str, NoneType),  # of imported weights, in words
    "num_classes": int,
    "class_names": list,
}


def _from_0(meta: dict[str, Any]) -> dict[str, Any]:
    """Version 0.1.0: no number; keys that did not apply were left out."""
    return {"step": None, "teacher": None, "origin": None, **meta}


# UPGRADES[i]: ``meta`` of format i -> of format i + 1.
UPGRADES: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_from_0,)


def number_of(saved: Any, where: Path) -> int:
    """The format of a ``meta`` as it was saved; 0.1.0 wrote no number.

    Raises:
        UserError: it has none that this version can read.
    """
    if not isinstance(saved, dict):
        raise UserError(f"{where} does not describe a run: it is no JSON object")
    number = saved.get("format", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise UserError(f"{where} does not describe a run: its format is {number!r}")
    if number > FORMAT:
        raise UserError(
            f"{where} is of format {number}, and this version of wae_jax reads formats up to "
            f"{FORMAT}: install a newer wae_jax"
        )
    return number


def upgrade(meta: Any, where: Path) -> dict[str, Any]:
    """A ``meta`` of any format in the newest one, its config with all keys.

    Args:
        meta: as it was saved.
        where: its checkpoint, for messages.

    Raises:
        UserError: it is of a newer format, or of no form that a checkpoint has.
    """
    number = number_of(meta, where)
    for step in UPGRADES[number:]:
        meta = step(meta)
    meta = {**meta, "format": FORMAT}
    for key, types in _TYPES.items():
        if key not in meta:
            raise UserError(f"{where} does not describe a run: it lacks {key}")
        if not isinstance(meta[key], types):
            raise UserError(
                f"{where} does not describe a run: its {key} is of type {type(meta[key]).__name__}"
            )
    return {**meta, "config": as_dict(_settings(meta["config"], where))}


def settings_of_run(held: Any, where: Path) -> Settings:
    """The settings of the run whose config, with a ``format`` number, a workdir keeps.

    Args:
        held: what the config's file holds.
        where: that file, for messages.

    Raises:
        UserError: it is of a newer format, or no config.
    """
    number = number_of(held, where)
    meta = {"config": {key: value for key, value in held.items() if key != "format"}}
    for step in UPGRADES[number:]:
        meta = step(meta)
    return _settings(meta["config"], where)


def _settings(config: dict[str, Any], where: Path) -> Settings:
    try:
        return settings_from_config(fill(config))
    except UserError as error:
        raise UserError(f"the config in {where} cannot be used: {error}") from error


def upgrade_training(training: Mapping[str, Any], batch_stats, number: int) -> dict[str, Any]:
    """The arrays of the item ``training``, saved in format ``number``, as the newest has them.

    Args:
        training: ``step``, the average where one is kept (``ema``; in format 0 ``ema_params``),
            and ``opt_state``, which is left out where only evaluation is wanted.
        batch_stats: the batch statistics of the same step.
        number: the format that they were saved in.
    """
    training = dict(training)
    if number == 0 and "ema_params" in training:
        training["ema"] = ema_of_format_0(training.pop("ema_params"), batch_stats)
    return training
