"""A loss or weights that are no finite numbers: where a run stops, or counts what it left out."""

from wae_jax.checkpoints.state import TrainState
from wae_jax.errors import UserError
from wae_jax.runtime.console import say
from wae_jax.training.progress import Totals, all_finite
from wae_jax.training.run import Run
from wae_jax.training.stages import Stage
from wae_jax.training.workdir import CHANGES_FLAG


class NotANumberError(UserError):
    """A run cannot go on from where it is.

    Attributes:
        what: which loss or weights are no number, and when.
    """

    def __init__(self, what: str, advice: str):
        super().__init__(f"{what}; {advice}")
        self.what = what


def count_skipped(run: Run, stage: Stage, count: int, step: int) -> None:
    """Stops a run that has left out too many steps."""
    run.skipped += count
    what = f"{run.skipped} steps were left out, their loss was no finite number"
    if run.skipped > run.settings.nan_limit:
        raise NotANumberError(what, f"config.nan_limit allows {run.settings.nan_limit}")
    say(f"[{stage.name}] step {step}: {what}")


def check_loss(run: Run, stage: Stage, totals: Totals) -> None:
    """Stops a run whose loss is no number any more."""
    bad = totals.first_bad(run.parallel.local_value)
    if bad is not None:
        step, terms = bad
        where = f"at step {step} of stage {stage.name}"
        raise NotANumberError(
            f"the loss is no finite number ({', '.join(terms)}) {where}", _advice(stage)
        )


def check_state(stage: Stage, state: TrainState) -> None:
    """Stops a run before it saves what is no number, of which the last loss need not tell."""
    if not all_finite(state):
        where = f"at step {int(state.step)} of stage {stage.name}"
        raise NotANumberError(
            f"the network has weights that are no finite numbers {where}", _advice(stage)
        )


def _advice(stage: Stage) -> str:
    return (
        f"lower its learning rate, or clip gradients with "
        f"--config.stages.{stage.name}.clip_norm=1, and add {CHANGES_FLAG}"
    )
