"""Evaluation of a whole split: every image once, the last batch padded and masked."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np

from wae_jax import data
from wae_jax.checkpoints import folders
from wae_jax.checkpoints.load import load_step
from wae_jax.config import DataSettings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation import metrics
from wae_jax.evaluation.classes import classes_of
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import Classifier, run
from wae_jax.runtime.console import progress_bar
from wae_jax.runtime.devices import Parallel

# Early fusion computes its scores without I_H for about so many images, spread over the split.
SAMPLE_WITHOUT_HIGH = 1000


def make_eval_step(
    model: Classifier, inference_model: Classifier | None = None, *, without_high: bool = True
) -> Callable:
    """``step(variables, batch) -> sums`` (see :func:`wae_jax.evaluation.metrics.image_sums`).

    With ``inference_model`` the scores are the inference form's, and ``variables`` the pair
    (trained form's, inference form's); the trained form then only splits and rebuilds the images.
    ``without_high``: also the sums of the scores without I_H, where there is one.
    """

    def eval_step(variables, batch):
        images = batch["image"]
        if inference_model is None:
            outputs = run(model, variables, images, reconstruct=True, without_high=without_high)
        else:
            trained, folded = variables
            split = run(model, trained, images, classify=False, reconstruct=True)
            outputs = run(inference_model, folded, images, without_high=without_high).replace(
                sub_images=split.sub_images,
                images=split.images,
                reconstruction=split.reconstruction,
            )
        return metrics.image_sums(outputs, batch, model.denormalise)

    return eval_step


class Evaluator:
    """Evaluates variables of one model on one split; compiled once.

    Args:
        model: in its training form.
        settings: of the data set.
        split: which part of it.
        parallel: where the step runs.
        classes: those that the model is, or was, trained on.
        inference_model: see :func:`make_eval_step`.

    Raises:
        UserError: no such data, or of other classes, or a batch that does not divide over the
            devices.
    """

    def __init__(
        self,
        model: Classifier,
        settings: DataSettings,
        split: str,
        parallel: Parallel,
        classes: data.Classes,
        inference_model: Classifier | None = None,
    ):
        self.parallel = parallel
        self.settings = settings
        parallel.check_batch_size("config.data.eval_batch_size", settings.eval_batch_size)
        source = data.open_split(settings, split, classes)
        self.records = data.DecodedRecords(source, data.Reading.of(settings))
        self.transform = data.make_transform(
            settings.augmentation, settings.image_size, train=False
        )
        compiled = [
            parallel.compile_eval_step(
                make_eval_step(model, inference_model, without_high=without_high)
            )
            for without_high in (False, True)
        ]
        self.step, self.step_without_high = compiled
        # Early fusion has to run its backbone again without I_H, which costs as much as the rest.
        self.sample = SAMPLE_WITHOUT_HIGH if model.fusion == "early" else None

    def __call__(self, variables) -> dict[str, float | int | None]:
        """The figures of :data:`wae_jax.evaluation.metrics.METRIC_NAMES`."""
        loader = data.make_eval_loader(
            self.records,
            self.transform,
            batch_size=self.settings.eval_batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=self.settings.workers,
            bad_records=self.settings.bad_records,
        )
        totals: dict[str, Any] = {}
        pending = None
        sampled = _spread(len(loader), self.sample, self.settings.eval_batch_size)
        with progress_bar("evaluating", len(loader), unit="batch") as bar:
            for index, batch in enumerate(loader):
                step = self.step_without_high if index in sampled else self.step
                sums = step(variables, self.parallel.put_eval_batch(batch))
                # Read one batch late, so that the device always has the next one queued.
                _accumulate(totals, pending)
                pending = sums
                bar.update()
        _accumulate(totals, pending)
        if not totals["count"]:
            raise UserError(
                f"every record of {self.records.source} is bad: there is nothing to evaluate"
            )
        return metrics.summarise(totals)


def _spread(batches: int, images: int | None, batch_size: int) -> Collection[int]:
    """Indices of batches with at least ``images`` images, evenly spread; all where it is None."""
    count = batches if images is None else min(batches, -(-images // batch_size))
    return {index * batches // count for index in range(count)}


def _accumulate(totals: dict[str, Any], sums) -> None:
    for name, value in (sums or {}).items():
        totals[name] = totals.get(name, 0.0) + np.asarray(value, np.float64)


def evaluate_inference_form(
    model: Classifier,
    variables,
    settings: DataSettings,
    split: str,
    parallel: Parallel,
    classes: data.Classes,
) -> dict:
    """The figures of a trained model, its scores computed as they will be in use."""
    platform = parallel.devices[0].platform
    inference_model, folded = for_inference(model, variables, platform=platform)
    evaluator = Evaluator(model, settings, split, parallel, classes, inference_model)
    return evaluator((variables, folded))


def evaluate_checkpoint(
    path: str, *, split: str = "", data_dir: str = "", data_name: str = "", bad_records: str = ""
) -> dict:
    """Evaluates a checkpoint, in its inference form; the figures with its stage and step.

    Args:
        path: a training workdir or one of its checkpoint steps.
        split: another split of the data set, or empty for the run's evaluation split.
        data_dir: where the data set is, or empty for the run's own.
        data_name: another data set with the same classes, or empty for the run's own.
        bad_records: "error" or "skip", or empty for what the run's config says.

    Raises:
        UserError: no usable checkpoint, or no such data.
    """
    folder = folders.find(path)
    model, variables, meta = load_step(folder)
    settings = settings_from_config(meta["config"])
    d = dataclasses.replace(
        settings.data,
        data_dir=data_dir or settings.data.data_dir,
        name=data_name or settings.data.name,
        bad_records=bad_records or settings.data.bad_records,
    )
    parallel = Parallel(dataclasses.replace(settings.parallel, mode="jit", devices=1))
    figures = evaluate_inference_form(
        model,
        variables,
        d,
        split or d.eval_split,
        parallel,
        classes_of(meta, f"the checkpoint {folder}"),
    )
    return {**figures, "stage": meta["stage"], "step": meta["step"], "checkpoint": str(folder)}
