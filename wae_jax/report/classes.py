"""Which classes a network gets wrong most often, and for which others it takes them."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from wae_jax import data
from wae_jax.config import DataSettings
from wae_jax.data.bad import BadRecordError
from wae_jax.errors import UserError
from wae_jax.evaluation.outcomes import Outcomes
from wae_jax.report.thumbnails import thumbnail

HARDEST = 6  # classes that are shown
PAIRS = 6  # of classes that are confused
EXAMPLES = 4  # images of each


@dataclasses.dataclass(frozen=True)
class Example:
    """An image that was taken for something else: for an ``src``, and its predicted class."""

    src: str
    predicted: str


@dataclasses.dataclass(frozen=True)
class HardClass:
    """A class and the share of its images that are right, with some that are not."""

    name: str
    accuracy: float
    count: int
    examples: list[Example]


@dataclasses.dataclass(frozen=True)
class Confusion:
    """How many of a class's images were taken for another class, with some of them."""

    name: str
    predicted: str
    times: int
    count: int
    examples: list[Example]


@dataclasses.dataclass(frozen=True)
class Classes:
    """Of a whole split.

    Attributes:
        top1: Fraction; count: Of how many images.
        classes: How many classes the split has images of.
        hardest: Those with the lowest accuracy, lowest first.
        confusions: Pairs with the most images, most first.
    """

    top1: float
    count: int
    classes: int
    hardest: list[HardClass]
    confusions: list[Confusion]


def find_classes(
    outcomes: Outcomes, names: Sequence[str], example: Callable[[int], Example]
) -> Classes:
    """The hardest classes and the most confused pairs.

    Args:
        outcomes: Of every image of a split; bad records are left out.
        names: Of the classes.
        example: Image number -> what is shown of it; called for images that are wrong.
    """
    labels, predicted = outcomes.labels, outcomes.predicted
    seen = labels >= 0
    wrong = seen & (labels != predicted)
    counts = np.bincount(labels[seen], minlength=len(names))
    errors = np.bincount(labels[wrong], minlength=len(names))
    present = np.flatnonzero(counts)
    accuracy = 1 - errors[present] / counts[present]
    order = present[np.lexsort((present, -counts[present], accuracy))]

    def examples(which: np.ndarray) -> list[Example]:
        return [example(int(number)) for number in np.flatnonzero(which)[:EXAMPLES]]

    hardest = [
        HardClass(
            names[label],
            float(1 - errors[label] / counts[label]),
            int(counts[label]),
            examples(wrong & (labels == label)),
        )
        for label in order[:HARDEST]
        if errors[label]
    ]
    # Ties and NaN have no predicted class.
    pairs, times = np.unique(
        np.stack([labels, predicted])[:, wrong & (predicted >= 0)], axis=1, return_counts=True
    )
    confusions = [
        Confusion(
            names[label],
            names[other],
            int(times[pair]),
            int(counts[label]),
            examples((labels == label) & (predicted == other)),
        )
        for pair in np.argsort(-times, kind="stable")[:PAIRS]
        for label, other in [pairs[:, pair]]
    ]
    return Classes(
        float(1 - wrong.sum() / max(1, seen.sum())),
        int(seen.sum()),
        len(present),
        hardest,
        confusions,
    )


def examples_of(
    settings: DataSettings, classes: data.Classes, outcomes: Outcomes, names: Sequence[str]
) -> Callable[[int], Example]:
    """Shows images of the evaluation split as the network sees them.

    Args:
        settings: Of the data set.
        classes: That the network knows.
        outcomes: Of that split.
        names: Of the classes.

    Raises:
        UserError: No such data, or not those that were evaluated; also when an image is read.
    """
    source = data.open_split(settings, settings.eval_split, classes)
    if len(source) != len(outcomes.labels):
        raise UserError(
            f"{settings.eval_split} of {settings.name} has {len(source)} images, and "
            f"{len(outcomes.labels)} were evaluated"
        )
    transform = data.make_transform(settings.augmentation, settings.image_size, train=False)
    reading = data.Reading.of(settings)

    def example(number: int) -> Example:
        try:
            ((encoded, label),) = source.read([number])
            image = data.EncodedImage(encoded, reading)
            seen = transform([image], np.zeros((1, transform.draws)))[0]
        except BadRecordError as error:
            raise UserError(f"{source.where(number)} cannot be read: {error}") from error
        if label != outcomes.labels[number]:
            raise UserError(f"{source.where(number)} is not the image that was evaluated")
        predicted = int(outcomes.predicted[number])
        return Example(thumbnail(seen), names[predicted] if predicted >= 0 else "none")

    return example
