"""The training loop: all stages of one run, continued from where it stopped."""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from wae_jax import data
from wae_jax.checkpoints.state import TrainState
from wae_jax.config import CompressSettings, Settings, as_dict, settings_from_config
from wae_jax.errors import LostProcessError, UserError
from wae_jax.evaluation.metrics import METRIC_NAMES
from wae_jax.runtime import signals
from wae_jax.runtime.console import duration, progress_bar, say
from wae_jax.runtime.devices import start
from wae_jax.training import average
from wae_jax.training.not_finite import (
    NotANumberError,
    check_loss,
    check_state,
    count_skipped,
)
from wae_jax.training.optim import make_optimizer, make_schedule
from wae_jax.training.processes import all_arrived, check_same_settings
from wae_jax.training.progress import Meter, Totals
from wae_jax.training.run import Run, open_run
from wae_jax.training.saving import Wishes
from wae_jax.training.stages import Stage, stage_labels
from wae_jax.training.steps import make_train_step
from wae_jax.training.workdir import hold

_LOST = re.compile("gloo|nccl|connection|coordination|heartbeat|barrier|unavailable", re.I)


def train(
    config: Mapping[str, Any], workdir: str, *, continue_with_changes: bool = False
) -> dict[str, Any]:
    """Trains as ``config`` says, all stages; continues a run that was stopped in ``workdir``.

    Args:
        config: a ConfigDict as :func:`wae_jax.config.default_config` makes it.
        workdir: the run's folder, for checkpoints, metrics and the config.
        continue_with_changes: whether keys of stages that are not finished may differ from those
            of the run in the workdir, which go into its ``changes.jsonl``.

    Returns:
        The figures that ``train.py`` prints last: those of the final evaluation, ``stage``,
        ``step``, ``train_seconds`` and ``workdir``.

    Raises:
        UserError: anything in the config, the data or the workdir that the user can mend.
    """
    settings = settings_from_config(config)
    assert settings.compress == CompressSettings(), "for wae_jax.compress.pipeline"
    try:
        return _start(settings, Path(workdir), continue_with_changes)
    except (RuntimeError, ValueError) as error:  # jax's and Orbax's, told apart by their words
        if jax.process_count() == 1 or not _LOST.search(str(error)):
            raise
        raise LostProcessError(
            "another process of this run has ended, or cannot be reached "
            f"({str(error).splitlines()[0][:200]}); start all of them again, and they go on from "
            "the last checkpoint"
        ) from error


def _start(settings: Settings, workdir: Path, changes: bool) -> dict[str, Any]:
    """Starts or continues the run, again after each time that it rolled back."""
    start(settings.parallel)
    check_same_settings(settings)
    with hold(workdir, main=jax.process_index() == 0) as held:
        rollbacks = 0
        while True:
            run, state = open_run(settings, workdir, held, changes=changes, rollbacks=rollbacks)
            try:
                return _train(run, state)
            except NotANumberError as error:
                rollbacks, limit = run.rollbacks + 1, settings.nan_limit
                if settings.on_nan != "rollback" or rollbacks > limit:
                    raise
                say(
                    f"{error.what}: back to the last checkpoint, and on with another data order "
                    f"({rollbacks} of at most {limit} times)"
                )
                del run, state  # before the next ones need their memory
                all_arrived("rollback")  # process 0 has named the checkpoint that all go back to


def _train(run: Run, state: TrainState) -> dict[str, Any]:
    try:
        figures = None
        for stage in run.plan:
            if int(state.step) < stage.last_step:
                state = _train_stage(run, state, stage)
            elif int(state.step) > stage.last_step or int(state.step) in run.metrics_log.evaluated:
                continue
            # Also where a run was stopped between its last step and this.
            figures = _evaluate(run, state, stage)
        if figures is None:
            say(f"{run.workdir} is complete; evaluating it")
            figures = _evaluate(run, state, run.plan[-1])
    except UserError:
        run.held.check()  # where the workdir is gone, that is the reason
        raise
    finally:
        run.writer.close()
        run.metrics_log.close()
    return {
        **figures,
        "stage": run.plan[-1].name,
        "step": int(state.step),
        "train_seconds": round(run.seconds, 2),
        "workdir": str(run.workdir),
    }


def _train_stage(run: Run, state: TrainState, stage: Stage) -> TrainState:
    """Runs one stage from where ``state`` is in it to its end; saves on the way and at the end."""
    settings = run.settings
    schedule = make_schedule(stage)
    first = int(state.step)
    seed = _stage_seed(settings.seed, stage)
    step_fn, state = _compile_step(run, state, stage, seed)
    loader = _open_loader(run, stage, first)
    say(f"[{stage.name}] {stage.steps} steps of {stage.settings.batch_size} images; compiling")
    evaluates = _evaluation_steps(run, stage)
    if first in evaluates and first not in run.metrics_log.evaluated:
        _evaluate(run, state, stage)  # the run was stopped before it
    meter, wishes = Meter(stage), Wishes(settings.checkpoint_minutes)
    totals = Totals(run.pending if first > stage.first_step else None)
    run_state = run.parallel.put_state(state)
    batches, seconds = iter(loader), run.seconds
    bar = progress_bar(
        f"[{stage.name}]", stage.steps, unit="step", done=first - stage.first_step, own=True
    )
    try:
        for step in range(first + 1, stage.last_step + 1):
            waiting = time.perf_counter()
            batch = next(batches)
            meter.waited += time.perf_counter() - waiting
            run_state, metrics = step_fn(run_state, run.parallel.put_train_batch(batch))
            signals.defer()
            run.writer.check()
            totals.add(step, metrics)
            bar.update()
            last = step == stage.last_step
            saves = wishes.look(step) or step % settings.checkpoint_every == 0
            # Evaluation takes its time: what it is about is saved before.
            saves = saves or last or step in evaluates
            if saves or step % settings.log_every == 0:
                check_loss(run, stage, totals)
            if last or step % settings.log_every == 0:
                _log(run, meter, totals, step, float(schedule(step - 1 - stage.first_step)), bar)
            if saves:
                jax.block_until_ready(run_state)
                run.seconds = seconds + meter.seconds
                with meter.paused():
                    state = run.parallel.get_state(run_state)
                    check_state(stage, state)
                    _save(run, state, stage, loader.state(), totals)
                    wishes.saved()
                    if last or wishes.stop or wishes.save or step in evaluates:
                        run.writer.wait()
                        wishes.at_once()
                    if wishes.save:
                        say(f"saved step {step}, as SIGUSR1 asked")
                    if step in evaluates:
                        _evaluate(run, state, stage)
    finally:
        bar.close()
        loader.close()
    return state


def _evaluation_steps(run: Run, stage: Stage) -> range:
    """Steps within the stage, its end left out, after which the network is evaluated."""
    epochs = run.settings.eval_every_epochs
    if not epochs:
        return range(0)
    every = max(1, round(epochs * stage.steps_per_epoch))
    return range(stage.first_step + every, stage.last_step, every)


def _log(
    run: Run, meter: Meter, totals: Totals, step: int, learning_rate: float, bar: tqdm.tqdm
) -> None:
    """Writes and shows the means since the last time."""
    run.held.check()
    count, means = totals.count, totals.take(run.parallel.local_value)
    if means.get("skipped"):
        count_skipped(run, meter.stage, int(means["skipped"]), step)
    line, text = meter.report(step, count, means, learning_rate)
    run.metrics_log.write(line)
    bar.set_postfix_str(text)
    if bar.disable:
        say(f"[{meter.stage.name}] step {step}/{meter.stage.last_step} {text}")


def _stage_seed(seed: int, stage: Stage, rollbacks: int = 0) -> int:
    parts = [seed, stage.index] + [rollbacks] * (rollbacks > 0)
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _compile_step(
    run: Run, state: TrainState, stage: Stage, seed: int
) -> tuple[Callable, TrainState]:
    """The stage's step, and the state with a new optimiser and average where the stage begins."""
    labels = stage_labels(state.params, stage.settings)
    optimizer = make_optimizer(stage, labels)
    if int(state.step) == stage.first_step:
        state = state.replace(
            opt_state=optimizer.init(state.params), ema=average.restart(state.ema)
        )
    teacher = run.teacher if stage.settings.classification else None
    step = make_train_step(
        run.model,
        stage.settings,
        run.settings.losses,
        optimizer,
        labels,
        seed=seed,
        ema_decay=run.settings.ema_decay,
        teacher=teacher.model if teacher else None,
        distill=run.settings.distill,
        skip_bad=run.settings.on_nan == "skip",
    )
    constants = None
    if teacher:
        devices = run.parallel.devices
        share = stage.settings.batch_size // (len(devices) * stage.settings.accumulate)
        constants = teacher.laid_out(share, devices[0].platform)
    compiled = run.parallel.compile_train_step(
        step, constants=constants, state=state, rematerialise=stage.settings.rematerialise
    )
    return compiled, state


def _open_loader(run: Run, stage: Stage, first: int) -> data.TrainLoader:
    """The stage's batches from global step ``first`` on."""
    settings = run.settings.data
    seed = _stage_seed(run.settings.seed, stage, run.rollbacks)
    loader = data.make_train_loader(
        run.records,
        data.train_transform(settings),
        batch_size=stage.settings.batch_size,
        seed=seed,
        start_batch=first - stage.first_step,
        num_batches=stage.last_step - first,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=settings.workers,
        bad_records=settings.bad_records,
        mix=data.make_mix(settings) if stage.settings.classification else None,
    )
    if first > stage.first_step:
        known = run.data_state | ({"seed": seed} if run.rolled_back else {})
        data.check_resume(known, loader)
    return loader


def _save(
    run: Run, state: TrainState, stage: Stage, data_state: dict[str, Any], totals: Totals
) -> None:
    run.held.check()
    info = run.records.source.info
    run.writer.save(
        state,
        {
            "config": as_dict(run.settings),
            "stage": stage.name,
            "data": data_state,
            "train_seconds": run.seconds,
            "skipped": run.skipped,
            "rollbacks": run.rollbacks,
            "pending": totals.keep(run.parallel.local_value),
            "ema": state.ema is not None,
            "teacher": run.teacher and run.teacher.identity,
            "origin": None,
            "num_classes": info.num_classes,
            "class_names": list(info.class_names or ()),
        },
        keep=run.settings.keep_checkpoints,
        best=run.metrics_log.best if run.settings.keep_best else None,
    )


def _evaluate(run: Run, state: TrainState, stage: Stage) -> dict[str, Any]:
    began = time.perf_counter()
    figures = run.evaluator(jax.device_put(state.eval_variables, run.parallel.replicated))
    run.metrics_log.write({"stage": stage.name, "step": int(state.step), **figures})
    shown = ", ".join(
        f"{name} {figures[name]:.4g}" for name in METRIC_NAMES if figures[name] is not None
    )
    say(f"[{stage.name}] step {int(state.step)}: {shown} ({duration(time.perf_counter() - began)})")
    return figures
