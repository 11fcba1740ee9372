"""Evaluation of a whole split: every image once, the last batch padded and masked."""

import dataclasses

import jax
import numpy as np

from wae_jax import checkpoints, data, metrics
from wae_jax.model import Classifier, build_model, variable_shapes
from wae_jax.parallel import Parallel
from wae_jax.settings import DataSettings, settings_from_config
from wae_jax.steps import make_eval_step


class Evaluator:
    """Evaluates variables of one model on one split; compiled once."""

    def __init__(self, model: Classifier, settings: DataSettings, split: str, parallel: Parallel):
        self.parallel = parallel
        self.settings = settings
        parallel.check_batch_size("config.data.eval_batch_size", settings.eval_batch_size)
        self.source = data.open_source(settings.name, split, data_dir=settings.data_dir,
                                       cache_dir=settings.cache_dir)
        self.transform = data.make_transform(settings.augmentation, settings.image_size,
                                             train=False)
        self.step = parallel.compile_eval_step(make_eval_step(model))

    def __call__(self, variables) -> dict[str, float | int | None]:
        """The figures of :data:`wae_jax.metrics.METRIC_NAMES`."""
        loader = data.make_eval_loader(
            self.source, self.transform, batch_size=self.settings.eval_batch_size,
            process_index=jax.process_index(), process_count=jax.process_count(),
            workers=self.settings.workers)
        totals, pending = {}, None
        for batch in loader:
            sums = self.step(variables, self.parallel.put_eval_batch(batch))
            # Read one batch late, so that the device always has the next one queued.
            _accumulate(totals, pending)
            pending = sums
        _accumulate(totals, pending)
        return metrics.summarise(totals)


def _accumulate(totals: dict[str, float], sums) -> None:
    for name, value in (sums or {}).items():
        totals[name] = totals.get(name, 0.0) + float(np.asarray(value, np.float64))


def load(path: str):
    """A trained classifier: ``(model, variables)``.

    path: a training workdir or one of its checkpoint steps. The model is rebuilt from the config
    kept in the checkpoint; ``model.apply(variables, images)`` takes RGB 0..255 (B, H, W, 3) and
    returns :class:`wae_jax.model.Outputs`.

    Raises:
        UserError: no usable checkpoint there, or a user's own backbone that cannot be imported.
    """
    return load_step(checkpoints.find(path))[:2]


def load_step(folder):
    """``(model, variables, meta)`` of a verified step directory."""
    meta = checkpoints.read_meta(folder)
    settings = settings_from_config(meta["config"])
    model = build_model(settings.model, num_classes=meta["num_classes"],
                        image_size=settings.data.image_size)
    shapes = variable_shapes(model, settings.data.image_size)
    return model, checkpoints.restore_evaluated(folder, shapes), meta


def evaluate_checkpoint(path: str, *, split: str = "", data_dir: str = "") -> dict:
    """Evaluates a checkpoint as its run did; the figures with its stage and step.

    split: another split of the same data set, or empty for the run's evaluation split.

    Raises:
        UserError: no usable checkpoint, or no such data.
    """
    folder = checkpoints.find(path)
    model, variables, meta = load_step(folder)
    settings = settings_from_config(meta["config"])
    d = dataclasses.replace(settings.data, data_dir=data_dir or settings.data.data_dir)
    parallel = Parallel(dataclasses.replace(settings.parallel, mode="jit", devices=1))
    evaluator = Evaluator(model, d, split or d.eval_split, parallel)
    return {**evaluator(variables), "stage": meta["stage"], "step": int(folder.name),
            "checkpoint": str(folder)}
