"""The average of parameters and batch statistics that evaluation uses (config.ema_decay).

It is Adam's debiased average: after t steps of a stage, step i counts decay**(t - i) in a weighted
mean over these t steps, so nothing of the values before them is in it, and a short stage's average
is a mean of all it has. (A warmed-up decay forgets the start as well, but its horizon is then a
share of the steps so far, not what the config says.) Kept as the mean itself, not as a sum to be
divided, so that what a checkpoint holds can be evaluated as it is.

Each stage begins anew: its optimiser does, too, and a part that begins to train must not drag its
initial weights along. Of what a stage freezes, the "average" is the value itself, bit for bit: that
is what the rest is trained with.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from wae_jax.training import frozen


def restart(ema: dict[str, Any] | None) -> dict[str, Any] | None:
    """The average (or None) at the start of a stage: the next step replaces it."""
    return ema and {**ema, "count": jnp.zeros((), jnp.int32)}


def advance(
    ema: dict[str, Any] | None, params, batch_stats, labels: Mapping[str, Any], decay: float
) -> dict[str, Any] | None:
    """The average with one more step in it.

    Args:
        ema: as :class:`wae_jax.checkpoints.state.TrainState` has it; None stays None.
        params: parameters after the step.
        batch_stats: batch statistics after the step.
        labels: what trains, as :func:`wae_jax.training.stages.trainable_labels` says.
        decay: weight of a step against that of the next one, between 0 and 1.
    """
    if ema is None:
        return None
    count = ema["count"] + 1
    share = (1.0 - decay) / -jnp.expm1(count * math.log(decay))
    share = jnp.where(count == 1, 1.0, share)  # not but for rounding
    old = {"params": ema["params"], "batch_stats": ema["batch_stats"]}
    new = {"params": params, "batch_stats": batch_stats}
    mean = jax.tree.map(lambda o, n: (1.0 - share) * o + share * n, old, new)
    return {
        "params": frozen.keep_parameters(labels, params, mean["params"]),
        "batch_stats": frozen.keep_statistics(labels, batch_stats, mean["batch_stats"]),
        "count": count,
    }
