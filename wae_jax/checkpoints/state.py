"""What training changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

# So many steps in an average that nothing of its start is left, whatever the decay.
COMPLETE = 2**30
# Among ``params`` while a network learns a teacher's features of another size; no part of it.
TEACHER_MAP = "teacher_map"


class TrainState(flax.struct.PyTreeNode):
    """The state between two steps.

    Attributes:
        step: global step, int32 scalar, counted over all stages.
        params: the network's parameters; under :data:`TEACHER_MAP` those of a map onto its
            teacher's features, where there is one.
        batch_stats: the statistics of its batch norms.
        opt_state: belongs to the current stage and is made anew at each stage's start.
        ema: running averages of ``params`` and ``batch_stats`` under these names, and ``count``,
            the steps of the current stage that are in them (int32 scalar); or None. See
            :mod:`wae_jax.training.average`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: dict[str, Any] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The network's, as ``model.apply`` takes them while training."""
        return {"params": network_part(self.params), "batch_stats": self.batch_stats}

    @property
    def eval_variables(self) -> dict[str, Any]:
        """As evaluation takes them: averages where there are any."""
        return self.variables if self.ema is None else averaged(self.ema)


def new_state(variables, *, ema: bool) -> TrainState:
    """A state at step 0, without an optimiser state yet."""
    step = jnp.zeros((), jnp.int32)
    # A copy: the step donates its state, and a buffer cannot be donated twice.
    average = {**jax.tree.map(jnp.copy, variables), "count": jnp.zeros_like(step)} if ema else None
    return TrainState(
        step=step,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=None,
        ema=average,
    )


def network_part(params: dict[str, Any]) -> dict[str, Any]:
    """A state's ``params`` without what is no part of the network."""
    return {name: part for name, part in params.items() if name != TEACHER_MAP}


def averaged(ema: dict[str, Any]) -> dict[str, Any]:
    """The network's variables in a state's ``ema``."""
    return {"params": network_part(ema["params"]), "batch_stats": ema["batch_stats"]}


def ema_of_format_0(ema_params, batch_stats) -> dict[str, Any]:
    """``ema`` of a checkpoint that kept an average of the parameters alone.

    That average is complete: it was not debiased, so it goes on with the plain decay. It was
    evaluated with the statistics of the last step.
    """
    count = jnp.asarray(COMPLETE, jnp.int32)
    return {
        "params": ema_params,
        "batch_stats": jax.tree.map(jnp.copy, batch_stats),
        "count": count,
    }
