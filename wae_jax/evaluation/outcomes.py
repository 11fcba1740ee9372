"""What a network says of every single image of a split, for statistics over the images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax import data
from wae_jax.config import DataSettings
from wae_jax.evaluation.metrics import rank_of_label
from wae_jax.runtime.console import progress_bar


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Classes of a split's images, in the split's order.

    Attributes:
        labels: int32 (N,); -1 for a record that was skipped because it is bad.
        predicted: int32 (N,); -1 where no class has a higher score than all others.
    """

    labels: np.ndarray
    predicted: np.ndarray

    @property
    def top1(self) -> float:
        """Fraction of the images that are not bad."""
        seen = self.labels >= 0
        return float((self.labels == self.predicted)[seen].mean())


def evaluate_each(
    scores: Callable[[Any, jax.Array], jax.Array],
    variables: Any,
    settings: DataSettings,
    split: str,
    classes: data.Classes,
) -> Outcomes:
    """Classifies every image of a split once, on one device.

    Args:
        scores: ``(variables, uint8 RGB (B, S, S, 3)) -> (B, num_classes)``.
        variables: for it.
        settings, split, classes: as for :func:`classify_each`.

    Raises:
        UserError: no such data, or of other classes.
    """
    predict = jax.jit(lambda variables, images: only_best(scores(variables, images)))
    return classify_each(lambda images: predict(variables, images), settings, split, classes)


def classify_each(
    predict: Callable[[np.ndarray], Any],
    settings: DataSettings,
    split: str,
    classes: data.Classes,
) -> Outcomes:
    """Classifies every image of a split once.

    Args:
        predict: uint8 RGB (B, S, S, 3) -> int32 (B,), see :func:`only_best`.
        settings: of the data set.
        split: which part of it.
        classes: those that the network was trained on.

    Raises:
        UserError: no such data, or of other classes.
    """
    source = data.open_split(settings, split, classes)
    loader = data.make_eval_loader(
        data.DecodedRecords(source, data.Reading.of(settings)),
        data.make_transform(settings.augmentation, settings.image_size, train=False),
        batch_size=settings.eval_batch_size,
        workers=settings.workers,
        bad_records=settings.bad_records,
    )
    labels, predicted = [], []
    with progress_bar("evaluating", len(loader), unit="batch") as bar:
        for batch in loader:
            labels.append(np.where(batch["mask"] > 0, batch["label"], -1))
            predicted.append(np.asarray(predict(batch["image"])))
            bar.update()
    count = len(source)  # padding is at the end
    return Outcomes(
        np.concatenate(labels)[:count].astype(np.int32), np.concatenate(predicted)[:count]
    )


def only_best(scores: jax.Array) -> jax.Array:
    """The class with the highest score, int32 (B,); -1 for a tie or NaN, which count as wrong."""
    best = jnp.argmax(scores, axis=-1).astype(jnp.int32)
    return jnp.where(rank_of_label(scores, best) < 1, best, -1)
