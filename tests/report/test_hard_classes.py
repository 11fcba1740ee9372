"""Hardest classes and confused pairs, against a split counted by hand."""

import numpy as np
import pytest

from wae_jax import data
from wae_jax.config import DataSettings
from wae_jax.errors import UserError
from wae_jax.evaluation.outcomes import Outcomes
from wae_jax.report.classes import EXAMPLES, Example, examples_of, find_classes

NAMES = ["cat", "dog", "owl", "newt"]


def outcomes_of(*pairs: tuple[int, int, int]) -> Outcomes:
    """Label, predicted class, and how many such images."""
    rows = [(label, predicted) for label, predicted, count in pairs for _ in range(count)]
    labels, predicted = np.array(rows, np.int32).T
    return Outcomes(labels, predicted)


def numbered(number: int) -> Example:
    return Example(str(number), "")


def test_classes_with_the_lowest_accuracy_come_first():
    # Owls: half of 8; cats: a tie is wrong, 9 of 10; dogs: all; newts: none there.
    outcomes = outcomes_of((0, 0, 9), (0, -1, 1), (1, 1, 5), (2, 2, 4), (2, 0, 3), (2, 1, 1))
    found = find_classes(outcomes, NAMES, numbered)
    assert (found.count, found.classes) == (23, 3)
    assert found.top1 == pytest.approx(18 / 23)
    assert [(each.name, each.accuracy, each.count) for each in found.hardest] == [
        ("owl", 0.5, 8),
        ("cat", 0.9, 10),
    ]
    assert [each.src for each in found.hardest[0].examples] == ["19", "20", "21", "22"][:EXAMPLES]
    assert [each.src for each in found.hardest[1].examples] == ["9"]


def test_pairs_are_those_with_the_most_images():
    outcomes = outcomes_of((0, 1, 2), (1, 0, 6), (2, 3, 3), (3, 3, 4), (2, -1, 9), (-1, 0, 9))
    found = find_classes(outcomes, NAMES, numbered)
    assert found.count == 24  # bad records do not count
    assert [(c.name, c.predicted, c.times, c.count) for c in found.confusions] == [
        ("dog", "cat", 6, 6),
        ("owl", "newt", 3, 12),
        ("cat", "dog", 2, 2),
    ]
    assert [each.src for each in found.confusions[0].examples] == ["2", "3", "4", "5"]


def test_without_an_error_there_is_nothing_to_show():
    found = find_classes(outcomes_of((0, 0, 3), (3, 3, 2)), NAMES, numbered)
    assert (found.top1, found.hardest, found.confusions) == (1.0, [], [])


def test_other_images_than_those_that_were_evaluated_are_refused(cifar10):
    settings = DataSettings(
        name="cifar10", eval_split="test[:4]", image_size=32, augmentation="small"
    )
    source = data.open_source("cifar10", "test[:4]")
    labels = np.array([label for _, label in source.read(range(4))], np.int32)
    names = list(source.info.class_names)
    classes = source.info.classes
    example = examples_of(settings, classes, Outcomes(labels, (labels + 1) % 10), names)
    shown = example(3)
    assert shown.src.startswith("data:image/png;base64,")
    assert shown.predicted == names[(labels[3] + 1) % 10]
    other = Outcomes((labels + 1) % 10, labels)
    with pytest.raises(UserError, match="not the image that was evaluated"):
        examples_of(settings, classes, other, names)(0)
    with pytest.raises(UserError, match="has 4 images, and 3 were evaluated"):
        examples_of(settings, classes, Outcomes(labels[:3], labels[:3]), names)
