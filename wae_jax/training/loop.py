"""The training loop: all stages of one run, continued from where it stopped."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from wae_jax import data
from wae_jax.checkpoints import store
from wae_jax.checkpoints.state import TrainState
from wae_jax.config import as_dict
from wae_jax.errors import UserError
from wae_jax.evaluation.metrics import METRIC_NAMES
from wae_jax.runtime.console import duration, say
from wae_jax.training import average
from wae_jax.training.optim import make_optimizer, make_schedule
from wae_jax.training.progress import Meter
from wae_jax.training.run import Run, open_run
from wae_jax.training.stages import Stage, trainable_labels
from wae_jax.training.steps import make_train_step


def train(config: Mapping[str, Any], workdir: str) -> dict[str, Any]:
    """Trains as ``config`` says, all stages; continues a run that was stopped in ``workdir``.

    Args:
        config: a ConfigDict as :func:`wae_jax.config.default_config` makes it.
        workdir: the run's folder, for checkpoints, metrics and the config.

    Returns:
        The figures that ``train.py`` prints last: those of the final evaluation, ``stage``,
        ``step``, ``train_seconds`` and ``workdir``.

    Raises:
        UserError: anything in the config, the data or the workdir that the user can mend.
    """
    run, state = open_run(config, workdir)
    try:
        figures = None
        for stage in run.plan:
            if int(state.step) < stage.last_step:
                state = _train_stage(run, state, stage)
                figures = _evaluate(run, state, stage)
        if figures is None:
            say(f"{workdir} is complete; evaluating it")
            figures = _evaluate(run, state, run.plan[-1])
    finally:
        run.metrics_log.close()
    return {
        **figures,
        "stage": run.plan[-1].name,
        "step": int(state.step),
        "train_seconds": round(run.seconds, 2),
        "workdir": str(workdir),
    }


def _train_stage(run: Run, state: TrainState, stage: Stage) -> TrainState:
    """Runs one stage from where ``state`` is in it to its end; saves on the way and at the end."""
    settings = run.settings
    schedule = make_schedule(stage)
    first = int(state.step)
    seed = _stage_seed(settings.seed, stage)
    step_fn, state = _compile_step(run, state, stage, seed)
    loader = _open_loader(run, stage, first, seed)
    say(f"[{stage.name}] {stage.steps} steps of {stage.settings.batch_size} images; compiling")
    eval_every = round(settings.eval_every_epochs * stage.steps_per_epoch)
    meter, pending = Meter(stage), None
    run_state = run.parallel.put_state(state)
    batches, began = iter(loader), time.perf_counter()
    try:
        for step in range(first + 1, stage.last_step + 1):
            waiting = time.perf_counter()
            batch = next(batches)
            meter.waited += time.perf_counter() - waiting
            run_state, metrics = step_fn(run_state, run.parallel.put_train_batch(batch))
            # Metrics are read one step late, so that the device never waits for this program.
            _read(run, meter, pending, step - 1)
            pending = metrics
            last = step == stage.last_step
            if step % settings.log_every == 0 or last:
                _read(run, meter, pending, step)
                pending = None
                rate = float(schedule(step - 1 - stage.first_step))
                run.metrics_log.write(meter.report(step, rate))
            if step % settings.checkpoint_every == 0 or last:
                state = run.parallel.get_state(run_state)
                now = time.perf_counter()
                run.seconds, began = run.seconds + now - began, now
                _save(run, state, stage, loader.state())
            if eval_every and step % eval_every == 0 and not last:
                _evaluate(run, run.parallel.get_state(run_state), stage)
    finally:
        loader.close()
    return state


def _stage_seed(seed: int, stage: Stage) -> int:
    return int(np.random.SeedSequence([seed, stage.index]).generate_state(1)[0])


def _compile_step(
    run: Run, state: TrainState, stage: Stage, seed: int
) -> tuple[Callable, TrainState]:
    """The stage's step, and the state with a new optimiser and average where the stage begins."""
    labels = trainable_labels(state.params, stage.settings.trains)
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
        teacher=teacher and teacher.model,
        distill=run.settings.distill,
    )
    constants = teacher and teacher.variables
    return run.parallel.compile_train_step(step, constants=constants), state


def _open_loader(run: Run, stage: Stage, first: int, seed: int) -> data.TrainLoader:
    """The stage's batches from global step ``first`` on."""
    settings = run.settings.data
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
        data.check_resume(run.data_state, loader)
    return loader


def _read(run: Run, meter: Meter, metrics, step: int) -> None:
    """Adds a step's metrics to the meter; stops a run whose loss is no number any more."""
    if metrics is None:
        return
    values = {
        name: float(np.mean(run.parallel.local_value(value))) for name, value in metrics.items()
    }
    if not np.isfinite(values["loss"]):
        raise UserError(
            f"the loss is {values['loss']} at step {step} of stage {meter.stage.name}; "
            "lower its learning rate, or clip gradients with "
            f"--config.stages.{meter.stage.name}.clip_norm=1"
        )
    meter.add(values)


def _save(run: Run, state: TrainState, stage: Stage, data_state: dict[str, Any]) -> None:
    info = run.records.source.info
    store.save(
        run.workdir,
        state,
        {
            "config": as_dict(run.settings),
            "stage": stage.name,
            "data": data_state,
            "train_seconds": run.seconds,
            "ema": state.ema is not None,
            "teacher": run.teacher and run.teacher.identity,
            "origin": None,
            "num_classes": info.num_classes,
            "class_names": list(info.class_names or ()),
        },
        keep=run.settings.keep_checkpoints,
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
