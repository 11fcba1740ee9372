"""Trains several variants of one config with the same budget, and keeps a record of each run."""

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wae_jax.bench.environment import environment, pick_device
from wae_jax.bench.measure import inference_macs
from wae_jax.bench.networks import Network, build_network
from wae_jax.checkpoints import folders, formats, store
from wae_jax.compress import pipeline
from wae_jax.compress.network import check_compressible
from wae_jax.compress.pipeline import train
from wae_jax.config import Settings, as_dict, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.evaluation.outcomes import Outcomes, evaluate_each
from wae_jax.export.int8 import export_int8
from wae_jax.export.runtimes import check_extra
from wae_jax.models.classifier import build_model
from wae_jax.pretrained.checkpoint import adopt_pretrained
from wae_jax.runtime.console import say
from wae_jax.schema.trees import changed, differences
from wae_jax.study import left, runs
from wae_jax.study.load import Watch
from wae_jax.study.runs import Run
from wae_jax.study.variants import DISTILLED, check_order, is_distilled, is_int8, made_of
from wae_jax.training.workdir import check_same_config, check_workdir, own_checkpoint


def check_variants(variants: Mapping[str, Settings], teacher: str = "") -> None:
    """Finds out what does not fit before anything is computed.

    Args:
        variants: Settings by name, as for :func:`run_study`.
        teacher: As for :func:`run_study`.

    Raises:
        UserError: A network that cannot be built for its images, or not made smaller, one that
            comes before what it is made of, a first variant that would teach itself, or a teacher
            that teaches nobody.
    """
    check_order(variants)
    taught = [name for name in variants if is_distilled(name)]
    if not teacher and next(iter(variants)) in taught:
        raise UserError(
            f"the first variant is the teacher, so it cannot be {taught[0]}; name full first, or "
            "a trained one with --teacher"
        )
    if teacher and not taught:
        raise UserError(f"--teacher={teacher} teaches nobody: no variant ends in {DISTILLED}")
    if teacher:
        folders.find(teacher)
    for name, settings in variants.items():
        try:
            model = build_model(settings.model, num_classes=2, image_size=settings.data.image_size)
            if settings.compress.method:
                check_compressible(model)
            if is_int8(name):
                check_extra("onnx")
                check_extra("onnxruntime")
        except UserError as error:
            raise UserError(f"variant {name}: {error}") from error


def run_study(
    variants: Mapping[str, Settings], seeds: Sequence[int], workdir: str, *, teacher: str = ""
) -> list[Run]:
    """Trains every variant with every seed, and evaluates its inference form image by image.

    Each run has its own folder ``WORKDIR/VARIANT-SEED``, and once it is finished its record
    ``WORKDIR/VARIANT-SEED.json``. Runs with a record are left alone, and stopped ones go on.

    Args:
        variants: Settings by name; seed and teacher are the study's.
        seeds: Different ones.
        workdir: The folder of all runs; those of other variants and seeds may be there too.
        teacher: A checkpoint that teaches all variants "NAME+distill"; empty: the first variant
            of the same seed does.

    Returns:
        The records, seed by seed in the variants' order.

    Raises:
        UserError: As :func:`check_variants` and :func:`wae_jax.training.loop.train`; and a run in
            the folder that has another config, or a record that cannot be read.
    """
    check_variants(variants, teacher)
    asked = list(_asked(variants, seeds, workdir, teacher))
    records = {}
    for name, seed, settings in asked:
        record = _check_run(workdir, name, seed, settings)
        if record is not None:
            records[name, seed] = record
    first = next(iter(variants.values()))
    for number, (name, seed, settings) in enumerate(asked, 1):
        if (name, seed) in records:
            continue
        pending = [
            (variant, _trained(its), runs.folder_of(workdir, variant, other))
            for variant, other, its in asked
            if (variant, other) not in records
        ]
        shown = left.shown(pending, runs.read_all(workdir))
        say(f"== {name}, seed {seed} (run {number} of {len(asked)}); {shown}")
        before = records.get((made_of(name, next(iter(variants))) or "", seed))
        records[name, seed] = _finish(workdir, name, seed, settings, first, before)
    return [records[name, seed] for name, seed, _ in asked]


def _asked(
    variants: Mapping[str, Settings], seeds: Sequence[int], workdir: str, teacher: str
) -> Iterator[tuple[str, int, Settings]]:
    """Variant, seed and settings of every run, in the order in which they are trained."""
    first = next(iter(variants))
    for seed in seeds:
        for name, settings in variants.items():
            changes: dict[str, Any] = {"seed": seed}
            if is_distilled(name):
                changes["distill.teacher"] = teacher or runs.folder_of(workdir, first, seed)
            before = made_of(name, first)
            if before is not None:
                changes["compress.checkpoint"] = runs.folder_of(workdir, before, seed)
            yield name, seed, changed(settings, changes)


def _check_run(workdir: str, name: str, seed: int, settings: Settings) -> Run | None:
    """The record of a run where it is finished.

    Raises:
        UserError: The folder has the run with another config.
    """
    folder, path = Path(runs.folder_of(workdir, name, seed)), runs.path_of(workdir, name, seed)
    if path.exists():
        record = runs.read(path)
        check_same_config(record.settings(workdir), settings, folder)
        return record
    newest = own_checkpoint(folder)
    if newest is not None and settings.compress.method:
        check_workdir(folder, pipeline.fine_tuning(settings, str(folder)))
    elif newest is not None:
        check_workdir(folder, adopt_pretrained(settings, store.read_meta(newest))[0])
    return None


def _trained(settings: Settings) -> Settings:
    """The settings of what is trained in a run itself."""
    return pipeline.last_stage(settings) if settings.compress.method else settings


def _finish(
    workdir: str, name: str, seed: int, settings: Settings, first: Settings, before: Run | None
) -> Run:
    """Trains a run to its end, or writes its int8 file; evaluates it, and keeps its record.

    before: the run that it is made of, if any.
    """
    folder = runs.folder_of(workdir, name, seed)
    newest = left.newest_step(folder)
    watch, began = Watch(), time.time()
    if before is not None and is_int8(name):
        step = folders.find(runs.folder_of(workdir, before.variant, seed))
        figures, stages = before.figures, []
        outcomes = _quantised(step, Path(folder))
    else:
        figures = train(settings, folder)
        step = folders.find(folder)
        outcomes = _outcomes(name, step)
        num_examples = store.read_meta(step)["data"]["num_examples"]
        stages = left.stages_of(_trained(settings), num_examples, folder)
    load, meta = watch.stop(), store.read_meta(step)
    images_seen = sum(stage["steps"] * stage["batch_size"] for stage in stages)
    hours = (time.time() - began) / 3600
    smaller = bool(settings.compress.method)
    run = Run(
        variant=name,
        seed=seed,
        finished=datetime.datetime.now(datetime.UTC).isoformat(),
        top1=outcomes.top1,
        macs=inference_macs(trained_network(name, step)),
        figures={key: value for key, value in figures.items() if key != "compression"},
        stages=stages,
        images_seen=images_seen,
        hours=hours,
        resumed_from_step=int(newest.name) if newest else 0,
        teacher=meta["teacher"] and {"path": settings.distill.teacher, **meta["teacher"]},
        load=load.record(f"the training of {name}, seed {seed}"),
        machine=environment(pick_device("")),
        differs={key: new for key, (_, new) in differences(first, settings).items()},
        config={"format": formats.FORMAT, **as_dict(settings)},
        labels=runs.as_text(outcomes.labels),
        predicted=runs.as_text(outcomes.predicted),
        model=meta["config"]["model"] if smaller else None,
        compression=figures.get("compression", []),
        totals=_totals(images_seen, hours, meta["data"]["num_examples"], before),
    )
    runs.write(workdir, run)
    say(f"{run.name}: top-1 {100 * run.top1:.2f} % in its inference form")
    return run


def _outcomes(name: str, step: Path) -> Outcomes:
    network = trained_network(name, step)
    held, meta = network.settings.data, store.read_meta(step)
    classes = classes_of(meta, f"the checkpoint {step}")
    return evaluate_each(network.scores, network.variables, held, held.eval_split, classes)


def _quantised(step: Path, folder: Path) -> Outcomes:
    """Writes the int8 file of a step directory, and says what it makes of the whole split."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / pipeline.INT8_FILE
    say("\n".join(export_int8(str(step), file, batch=None).lines()))
    return pipeline.classify(step, file)


def _totals(
    images_seen: int, hours: float, num_examples: int, before: Run | None
) -> dict[str, float]:
    own = {"epochs": images_seen / num_examples, "images_seen": images_seen, "hours": hours}
    if before is None:
        return own
    return {key: value + (before.total(key) or 0) for key, value in own.items()}


def trained_network(name: str, step: Path) -> Network:
    """The network of a verified step directory, in its inference form."""
    settings = settings_from_config(store.read_meta(step)["config"])
    return build_network(
        name,
        settings,
        settings.model.dtype,
        platform=pick_device("").platform,
        checkpoint=str(step),
        evaluate=False,
    )
