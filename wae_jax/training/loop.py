"""The training loop: all stages of one run, continued from where it stopped."""

import dataclasses
import functools
import json
import logging
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax import data
from wae_jax.checkpoints import folders, formats, store
from wae_jax.checkpoints.state import TrainState, new_state
from wae_jax.config import Settings, as_dict, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.evaluator import Evaluator
from wae_jax.evaluation.metrics import METRIC_NAMES
from wae_jax.models.classifier import Classifier, build_model, init_variables, variable_shapes
from wae_jax.pretrained import Imported
from wae_jax.pretrained.checkpoint import adopt_pretrained
from wae_jax.pretrained.transfer import start_from
from wae_jax.runtime import files
from wae_jax.runtime.console import duration, say
from wae_jax.runtime.devices import Parallel, start
from wae_jax.schema.trees import differences
from wae_jax.training.distill import Teacher, check_same_teacher, load_teacher
from wae_jax.training.optim import make_optimizer, make_schedule
from wae_jax.training.progress import METRICS_FILE, Meter, MetricsLog
from wae_jax.training.stages import Stage, plan_stages, trainable_labels
from wae_jax.training.steps import make_train_step

CONFIG_FILE = "config.json"
# Keys that may change when a run continues: what is computed stays the same, but for rounding.
RUNTIME_KEYS = (
    "data.workers",
    "data.data_dir",
    "data.cache_dir",
    "data.bad_records",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "eval_every_epochs",
    "parallel.mode",
    "parallel.devices",
    "parallel.coordinator",
    "parallel.num_processes",
    "parallel.process_id",
)
log = logging.getLogger("wae_jax")


@dataclasses.dataclass
class Run:
    """What the stages of one run share."""

    config: dict[str, Any]
    settings: Settings
    workdir: Path
    parallel: Parallel
    model: Classifier  # as trained; knows the device axis under pmap
    records: data.DecodedRecords
    plan: tuple[Stage, ...]
    evaluator: Evaluator
    teacher: Teacher | None  # to distil from
    metrics_log: MetricsLog
    seconds: float  # training time so far, over all its starts
    data_state: dict[str, Any] | None  # the loader's state in the checkpoint that is continued


def train(config, workdir: str) -> dict[str, Any]:
    """Trains as ``config`` says, all stages; continues a run that was stopped in ``workdir``.

    config: a ConfigDict as :func:`wae_jax.config.default_config` makes it.
    Returns the figures that ``train.py`` prints last: those of the final evaluation, ``stage``,
    ``step``, ``train_seconds`` and ``workdir``.

    Raises:
        UserError: anything in the config, the data or the workdir that the user can mend.
    """
    settings = settings_from_config(config)
    start(settings.parallel)
    folder = Path(workdir)
    found = own_checkpoint(folder)
    held = store.read_meta(found) if found else None
    settings, pretrained = adopt_pretrained(settings, held)
    check_workdir(folder, settings)
    run, state = _prepare(as_dict(settings), settings, folder, found, pretrained)
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


def own_checkpoint(workdir: Path) -> Path | None:
    """The newest good checkpoint of the run in ``workdir``, from which it goes on."""
    try:
        return folders.newest_good(workdir / folders.FOLDER)
    except OSError as error:
        raise UserError(f"cannot use the workdir {workdir}: {error}") from error


def check_workdir(folder: Path, settings: Settings) -> None:
    """Raises UserError where ``folder`` cannot hold this run, or holds one with another config."""
    path = folder / CONFIG_FILE
    try:
        if not path.exists():
            if (folder / folders.FOLDER).exists():
                raise UserError(
                    f"the workdir {folder} has checkpoints but no {CONFIG_FILE}; "
                    "choose another --workdir"
                )
            folder.mkdir(parents=True, exist_ok=True)
            return
        held = files.read_json(path)
        log_file = folder / METRICS_FILE
        started = (folder / folders.FOLDER).exists() or (
            log_file.exists() and log_file.stat().st_size > 0
        )
        if not started:
            return  # nothing was computed with the config that is there
    except (OSError, ValueError) as error:
        raise UserError(f"cannot use the workdir {folder}: {error}") from error
    different = differences(formats.settings_of_run(held, path), settings)
    different = {key: pair for key, pair in different.items() if key not in RUNTIME_KEYS}
    if different:
        shown = ", ".join(
            f"{key} ({old!r} there, {new!r} now)"
            for key, (old, new) in list(sorted(different.items()))[:3]
        )
        raise UserError(
            f"the workdir {folder} holds a run with another config: {len(different)} "
            f"key(s) differ: {shown}; choose another --workdir, or the same config"
        )


def _prepare(
    config, settings: Settings, workdir: Path, found: Path | None, pretrained: Imported | None
) -> tuple[Run, TrainState]:
    """Opens the data, builds the network, and starts or continues its state."""
    parallel = Parallel(settings.parallel)
    d = settings.data
    source = data.open_source(d.name, d.train_split, data_dir=d.data_dir, cache_dir=d.cache_dir)
    origin = folders.find(settings.restore) if settings.restore and found is None else None
    plan = plan_stages(settings.running_stages, len(source))
    data.train_transform(d)  # errors now, not in hours
    mix = data.make_mix(d)
    for stage in plan:
        key, batch_size = f"config.stages.{stage.name}.batch_size", stage.settings.batch_size
        parallel.check_batch_size(key, batch_size)
        if mix and stage.settings.classification:
            mix.check_batch_size(key, batch_size, jax.process_count())
    shape = {"num_classes": source.info.num_classes, "image_size": d.image_size}
    evaluated = build_model(settings.model, **shape)
    if d.augmentation == "small" and source.info.image_shape not in (
        None,
        (d.image_size, d.image_size, 3),
    ):
        height, width = source.info.image_shape[:2]
        raise UserError(
            f"config.data.image_size is {d.image_size}, but the images of {d.name} are "
            f"{height} x {width}; set it to {height}, or take "
            "config.data.augmentation=imagenet, which resizes"
        )
    evaluator = Evaluator(evaluated, d, d.eval_split, parallel, source.info.classes)
    teacher = load_teacher(settings, source.info)
    shapes = variable_shapes(evaluated, d.image_size)
    for stage in plan:
        trainable_labels(shapes["params"], stage.settings.trains)  # errors now, too
    # Compiled without optimisation: it runs once, and optimising it takes longer than the rest.
    cheap = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    variables = jax.jit(
        functools.partial(init_variables, evaluated, seed=settings.seed), compiler_options=cheap
    )(jnp.zeros((1, d.image_size, d.image_size, 3), jnp.uint8))
    folders.clean(workdir)
    if origin is not None:
        _check_same_input(origin, settings)
        variables = store.restore_evaluated(origin, variables)
        say(f"starting from the weights of {origin}")
    elif pretrained is not None:
        variables, lines = start_from(pretrained, variables, evaluated, light=settings.init.light)
        say("\n".join(lines))
    state = new_state(variables, ema=settings.ema_decay > 0)
    seconds, data_state = 0.0, None
    if found is not None:
        state, meta = _continue(found, state, plan)
        check_same_teacher(meta["teacher"], teacher)
        seconds, data_state = meta["train_seconds"], meta["data"]
    if jax.process_index() == 0:
        held = {"format": formats.FORMAT, **config}
        files.write_atomically(workdir / CONFIG_FILE, json.dumps(held, indent=1) + "\n")
    metrics_log = MetricsLog(workdir, resume_step=int(state.step), write=jax.process_index() == 0)
    model = build_model(settings.model, axis_name=parallel.axis_name, **shape)
    run = Run(
        config,
        settings,
        workdir,
        parallel,
        model,
        data.DecodedRecords(source),
        plan,
        evaluator,
        teacher,
        metrics_log,
        seconds,
        data_state,
    )
    return run, state


def _check_same_input(folder: Path, settings: Settings) -> None:
    """Raises UserError where the weights of ``folder`` are for images in other units."""
    theirs = settings_from_config(store.read_meta(folder)["config"]).model.input
    if theirs != settings.model.input:
        raise UserError(
            f"the weights of {folder} were trained on images with config.model.input = "
            f"{dataclasses.asdict(theirs)}; set the same"
        )


def _continue(folder: Path, state: TrainState, plan) -> tuple[TrainState, dict[str, Any]]:
    """The state and the meta kept in ``folder``."""
    step = int(folder.name)
    stage = next((s for s in plan if s.first_step < step <= s.last_step), None)
    if stage is None:
        raise UserError(f"the checkpoint {folder} is beyond this run's {plan[-1].last_step} steps")
    labels = trainable_labels(state.params, stage.settings.trains)
    like = state.replace(opt_state=make_optimizer(stage, labels).init(state.params))
    say(f"continuing from {folder} (stage {stage.name}, step {step})")
    return store.restore_state(folder, like), store.read_meta(folder)


def _stage_seed(seed: int, stage: Stage) -> int:
    return int(np.random.SeedSequence([seed, stage.index]).generate_state(1)[0])


def _train_stage(run: Run, state: TrainState, stage: Stage) -> TrainState:
    """Runs one stage from where ``state`` is in it to its end; saves on the way and at the end."""
    settings = run.settings
    labels = trainable_labels(state.params, stage.settings.trains)
    optimizer = make_optimizer(stage, labels)
    schedule = make_schedule(stage)
    first = int(state.step)
    if first == stage.first_step:
        state = state.replace(opt_state=optimizer.init(state.params))
    trains_frontend = "train" in jax.tree.leaves(labels.get("frontend", {}))
    seed = _stage_seed(settings.seed, stage)
    teacher = run.teacher if stage.settings.classification else None
    step_fn = run.parallel.compile_train_step(
        make_train_step(
            run.model,
            stage.settings,
            settings.losses,
            optimizer,
            trains_frontend=trains_frontend,
            seed=seed,
            ema_decay=settings.ema_decay,
            teacher=teacher and teacher.model,
            distill=settings.distill,
        ),
        constants=teacher and teacher.variables,
    )
    d = settings.data
    loader = data.make_train_loader(
        run.records,
        data.train_transform(d),
        batch_size=stage.settings.batch_size,
        seed=seed,
        start_batch=first - stage.first_step,
        num_batches=stage.last_step - first,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=d.workers,
        bad_records=d.bad_records,
        mix=data.make_mix(d) if stage.settings.classification else None,
    )
    if first > stage.first_step:
        data.check_resume(run.data_state, loader)
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
            "config": run.config,
            "stage": stage.name,
            "data": data_state,
            "train_seconds": run.seconds,
            "ema": state.ema_params is not None,
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
