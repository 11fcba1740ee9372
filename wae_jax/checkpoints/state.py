"""What training changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class TrainState:
    """step: global step, int32 scalar, counted over all stages.

    opt_state belongs to the current stage and is made anew at each stage's start.
    ema_params: running average of the parameters, or None.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema_params: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """As ``model.apply`` takes them while training."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def eval_variables(self) -> dict[str, Any]:
        """As evaluation takes them: averaged parameters where there are any."""
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "batch_stats": self.batch_stats}


def new_state(variables, *, ema: bool) -> TrainState:
    """A state at step 0, without an optimiser state yet."""
    # A copy: the step donates its state, and a buffer cannot be donated twice.
    ema_params = jax.tree.map(jnp.copy, variables["params"]) if ema else None
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=None,
        ema_params=ema_params,
    )
