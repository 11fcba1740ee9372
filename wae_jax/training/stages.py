"""The training stages (paper, section "Training") as data, and where each begins and ends."""

import dataclasses
import math
import re
from collections.abc import Sequence

import jax
from flax import traverse_util

from wae_jax.checkpoints.state import TEACHER_MAP, network_part
from wae_jax.config import StageSettings
from wae_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a run, in global steps.

    name: its key in config.stages; index: its place in the run; first_step and last_step: it
    covers steps first_step <= s < last_step; steps_per_epoch may be fractional.
    """

    name: str
    settings: StageSettings
    index: int
    first_step: int
    last_step: int
    steps_per_epoch: float

    @property
    def steps(self) -> int:
        return self.last_step - self.first_step


def plan_stages(
    stages: Sequence[tuple[str, StageSettings]], num_examples: int
) -> tuple[Stage, ...]:
    """Lays the stages one after the other.

    stages: names and settings, in order.

    A stage's length is ``epochs`` over ``num_examples``, or ``steps`` where that is above 0.

    Raises:
        UserError: a stage without steps, or without a loss.
    """
    plan, start = [], 0
    for index, (name, settings) in enumerate(stages):
        where = f"config.stages.{name}"
        if not (settings.classification or settings.transform):
            raise UserError(f"{where} has neither a classification nor a transform loss")
        steps_per_epoch = num_examples / settings.batch_size
        steps = settings.steps or math.ceil(settings.epochs * steps_per_epoch)
        if steps < 1:
            raise UserError(
                f"{where} has no steps: set {where}.epochs or leave the stage out of "
                "config.run_stages"
            )
        plan.append(Stage(name, settings, index, start, start + steps, steps_per_epoch))
        start += steps
    return tuple(plan)


def trainable_labels(params, pattern: str, *, statistics: bool = False):
    """A tree like ``params`` of "train" and "freeze".

    A parameter trains where ``pattern`` (a regular expression) matches its path from the start.

    Args:
        params: the network's.
        pattern: the stage's ``trains``.
        statistics: the stage's own; with it nothing need train.

    Raises:
        UserError: the pattern is no regular expression, or matches nothing.
    """
    try:
        matcher = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"a stage's 'trains' is not a regular expression: {pattern!r}: {error}"
        ) from error
    labels = {
        path: "train" if matcher.match("/".join(path)) else "freeze"
        for path in traverse_util.flatten_dict(params)
    }
    if "train" not in labels.values() and not statistics:
        parts = ", ".join(sorted({path[0] for path in labels}))
        raise UserError(
            f"a stage's 'trains' pattern {pattern!r} matches no parameter; the "
            f"network's parts are: {parts}"
        )
    return traverse_util.unflatten_dict(labels)


def stage_labels(params, stage: StageSettings):
    """What trains in a stage, a tree like a state's ``params`` of "train" and "freeze".

    The map onto a teacher's features is no part of the network: it trains wherever there is a
    teacher's loss, whatever the stage's ``trains``.

    Raises:
        UserError: see :func:`trainable_labels`.
    """
    labels = trainable_labels(network_part(params), stage.trains, statistics=stage.statistics)
    if TEACHER_MAP in params:
        label = "train" if stage.classification else "freeze"
        labels[TEACHER_MAP] = jax.tree.map(lambda _: label, params[TEACHER_MAP])
    return labels
