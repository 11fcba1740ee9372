"""Opens a run: reads and checks everything that training needs before the first step."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from wae_jax import data
from wae_jax.checkpoints import folders, store
from wae_jax.checkpoints.state import TrainState, new_state
from wae_jax.checkpoints.writer import Writer
from wae_jax.config import DataSettings, Settings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.evaluator import Evaluator
from wae_jax.models.backbones import build_backbone
from wae_jax.models.classifier import (
    Classifier,
    build_model,
    init_variables,
    rematerialised,
    variable_shapes,
)
from wae_jax.models.frontends import WAE
from wae_jax.pretrained import Imported
from wae_jax.pretrained.checkpoint import adopt_pretrained
from wae_jax.pretrained.transfer import start_as_low_resolution, start_from
from wae_jax.runtime.console import say
from wae_jax.runtime.devices import Parallel
from wae_jax.training.distill import (
    Teacher,
    check_same_teacher,
    load_teacher,
    with_teacher_map,
)
from wae_jax.training.optim import make_optimizer
from wae_jax.training.progress import MetricsLog
from wae_jax.training.stages import Stage, plan_stages, stage_labels
from wae_jax.training.workdir import (
    Hold,
    check_workdir,
    note_changes,
    own_checkpoint,
    write_config,
)


@dataclasses.dataclass
class Run:
    """What the stages of one run share."""

    settings: Settings
    workdir: Path
    parallel: Parallel
    model: Classifier  # as trained; knows the device axis under pmap
    records: data.DecodedRecords
    plan: tuple[Stage, ...]
    evaluator: Evaluator
    teacher: Teacher | None  # to distil from
    metrics_log: MetricsLog
    held: Hold  # of the workdir
    writer: Writer  # of its checkpoints
    seconds: float  # time in training steps so far, over all its starts
    data_state: dict[str, Any] | None  # the loader's state in the checkpoint that is continued
    pending: dict[str, Any] | None  # and its metrics that no line of the log has yet
    skipped: int = 0  # steps so far whose loss was no number
    rollbacks: int = 0  # how often the run went back for that, each time to another data order
    rolled_back: bool = False  # since the checkpoint that is continued


def open_run(
    settings: Settings, folder: Path, held: Hold, *, changes: bool = False, rollbacks: int = 0
) -> tuple[Run, TrainState]:
    """Checks everything, and starts or continues the state.

    Args:
        settings: the run's.
        folder: its workdir, which is there.
        held: the hold on that.
        changes: see :func:`wae_jax.training.workdir.check_workdir`.
        rollbacks: how often the run has gone back to a checkpoint, where this is to be the next.

    Returns:
        The run, and its state at the start or at the newest checkpoint in ``workdir``.

    Raises:
        UserError: anything in the config, the data or the workdir that the user can mend.
    """
    found = own_checkpoint(folder)
    meta = store.read_meta(found) if found else None
    settings, pretrained = adopt_pretrained(settings, meta)
    changed = check_workdir(folder, settings, meta, changes=changes)
    parallel = Parallel(settings.parallel)
    build_backbone(settings.model.backbone)  # a wrong name is told before data are looked for
    source = _open_source(settings.data)
    origin = folders.find(settings.restore) if settings.restore and found is None else None
    plan = _plan(settings, source, parallel)
    network = functools.partial(
        build_model,
        settings.model,
        num_classes=source.info.num_classes,
        image_size=settings.data.image_size,
    )
    evaluated = network()
    check_patterns(plan, evaluated, settings.data.image_size)
    if any(stage.settings.rematerialise for stage in plan):
        rematerialised(evaluated)  # an error now, not in a later stage
    evaluator = Evaluator(
        evaluated, settings.data, settings.data.eval_split, parallel, source.info.classes
    )
    teacher = load_teacher(settings, source.info)
    folders.clean(folder)
    state = _initial_state(settings, evaluated, origin, pretrained, teacher)
    if meta is not None:
        check_same_teacher(meta["teacher"], teacher)  # first: another's features may differ in size
        state = _continue(found, state, plan, meta)
    main = jax.process_index() == 0
    if main:
        if changed:
            note_changes(folder, int(state.step), changed)
        write_config(folder, settings)
    known = meta or {}  # older checkpoints lack some of it
    run = Run(
        settings,
        folder,
        parallel,
        network(axis_name=parallel.axis_name),
        data.DecodedRecords(source, data.Reading.of(settings.data)),
        plan,
        evaluator,
        teacher,
        MetricsLog(folder, resume_step=int(state.step), write=main),
        held,
        Writer(folder),
        seconds=meta["train_seconds"] if meta else 0.0,
        data_state=meta["data"] if meta else None,
        pending=known.get("pending"),
        skipped=known.get("skipped", 0),
        rollbacks=max(rollbacks, known.get("rollbacks", 0)),
        rolled_back=rollbacks > known.get("rollbacks", 0),
    )
    return run, state


def _open_source(settings: DataSettings) -> data.Source:
    source = data.open_split(settings, settings.train_split)
    size, shape = settings.image_size, source.info.image_shape
    if settings.augmentation == "small" and shape not in (None, (size, size, 3)):
        height, width = shape[:2]
        raise UserError(
            f"config.data.image_size is {size}, but the images of {settings.name} are "
            f"{height} x {width}; set it to {height}, or take "
            "config.data.augmentation=imagenet, which resizes"
        )
    data.train_transform(settings)  # errors now, not in hours
    return source


def _plan(settings: Settings, source: data.Source, parallel: Parallel) -> tuple[Stage, ...]:
    """The stages, their batch sizes checked."""
    plan = plan_stages(settings.running_stages, len(source))
    mix = data.make_mix(settings.data)
    for stage in plan:
        key, batch_size = f"config.stages.{stage.name}.batch_size", stage.settings.batch_size
        parallel.check_batch_size(key, batch_size, stage.settings.accumulate)
        if mix and stage.settings.classification:
            mix.check_batch_size(key, batch_size, jax.process_count())
    return plan


def check_patterns(plan: tuple[Stage, ...], model: Classifier, image_size: int) -> None:
    """Raises UserError where a stage would move nothing of the network."""
    shapes = variable_shapes(model, image_size)
    for stage in plan:
        labels = stage_labels(shapes["params"], stage.settings)
        if not shapes["batch_stats"] and "train" not in jax.tree.leaves(labels):
            raise UserError(
                f"config.stages.{stage.name} trains nothing, and the network has no batch "
                "statistics to move"
            )


def _initial_state(
    settings: Settings,
    model: Classifier,
    origin: Path | None,
    pretrained: Imported | None,
    teacher: Teacher | None,
) -> TrainState:
    """The state before the first step, from the weights that the config names, if any."""
    variables = _fresh_variables(model, settings)
    known: tuple[str, ...] = ()
    chosen = settings.init.frontend
    if isinstance(model.frontend, WAE) and (
        chosen == "wavelet" or (chosen == "auto" and pretrained)
    ):
        variables, known = start_as_low_resolution(model, variables), ("frontend", "head_fused")
        say("I_L starts as the smaller image, I_H as its wavelet details")
    if origin is not None:
        _check_same_input(origin, settings)
        variables = store.restore_evaluated(origin, variables)
        say(f"starting from the weights of {origin}")
    elif pretrained is not None:
        variables, lines = start_from(
            pretrained, variables, model, light=settings.init.light, known=known
        )
        say("\n".join(lines))
    variables = with_teacher_map(variables, model, teacher, settings)
    return new_state(variables, ema=settings.ema_decay > 0)


def _fresh_variables(model: Classifier, settings: Settings):
    # Compiled without optimisation: it runs once, and optimising it takes longer than the rest.
    cheap = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    size = settings.data.image_size
    return jax.jit(
        functools.partial(init_variables, model, seed=settings.seed), compiler_options=cheap
    )(jnp.zeros((1, size, size, 3), jnp.uint8))


def _check_same_input(folder: Path, settings: Settings) -> None:
    """Raises UserError where the weights of ``folder`` are for images in other units."""
    theirs = settings_from_config(store.read_meta(folder)["config"]).model.input
    if theirs != settings.model.input:
        raise UserError(
            f"the weights of {folder} were trained on images with config.model.input = "
            f"{dataclasses.asdict(theirs)}; set the same"
        )


def _continue(
    folder: Path, state: TrainState, plan: tuple[Stage, ...], meta: dict[str, Any]
) -> TrainState:
    """The state kept in ``folder``, in the form of ``state``; ``meta`` is that of the folder."""
    step = int(folder.name)
    stage = next((s for s in plan if s.first_step < step <= s.last_step), None)
    if stage is None or stage.name != meta["stage"]:
        end = next((s.last_step for s in plan if s.name == meta["stage"]), plan[-1].last_step)
        raise UserError(f"the checkpoint {folder} is beyond this run's {end} steps")
    labels = stage_labels(state.params, stage.settings)
    was = dataclasses.replace(
        stage, settings=settings_from_config(meta["config"]).stages[stage.name]
    )
    like = state.replace(opt_state=make_optimizer(was, labels).init(state.params))
    say(f"continuing from {folder} (stage {stage.name}, step {step})")
    restored = store.restore_state(folder, like)
    fresh = make_optimizer(stage, labels).init(state.params)
    return restored.replace(opt_state=_in_the_form_of(fresh, restored.opt_state, stage.name))


def _in_the_form_of(fresh, restored, stage: str):
    """An optimiser's state where changed keys (clip_norm, weight_decay) changed its chain.

    What was added or left out keeps nothing: the moments and counts are the same, in that order.
    """
    old, new = jax.tree.leaves(restored), jax.tree.leaves(fresh)
    if [x.shape for x in old] != [x.shape for x in new]:
        raise UserError(
            f"the changed keys of config.stages.{stage} need another optimiser state than the "
            "stage has: they cannot change within it"
        )
    return jax.tree.unflatten(jax.tree.structure(fresh), old)
