import dataclasses

import pytest

from wae_jax.data import Classes, check_same_classes, open_source
from wae_jax.errors import UserError

NAMED = Classes(3, ("ant", "bee", "owl"), "train of folder")


@pytest.mark.parametrize("names", [("ant", "bee", "owl"), None])
def test_the_same_classes(names):
    check_same_classes(Classes(3, names, "validation of folder"), NAMED)
    check_same_classes(NAMED, Classes(3, names, "validation of folder"))


@pytest.mark.parametrize(
    "count, names, message",
    [
        (2, ("ant", "bee"), "val of x has 2 classes, and train of folder has 3"),
        (4, None, "val of x has 4 classes, and train of folder has 3"),
        (
            3,
            ("ant", "owl", "bee"),
            "labels of val of x and of train of folder mean different things: class 1 is 'owl' "
            "in the one and 'bee' in the other",
        ),
    ],
)
def test_a_difference_is_one_line(count, names, message):
    with pytest.raises(UserError) as error:
        check_same_classes(Classes(count, names, "val of x"), NAMED)
    assert str(error.value) == message


def test_every_source_is_held_to_the_classes(tiny_dir):
    """TFDS data sets too: `tiny` has numbers alone, CIFAR-10 has names."""
    train = open_source("cifar10", "train")
    assert open_source("cifar10", "test", classes=train.info.classes).info.classes.count == 10
    renamed = dataclasses.replace(train.info, class_names=(*train.info.class_names[:9], "lorry"))
    with pytest.raises(UserError, match=r"test of cifar10 .* class 9 is 'truck' .* 'lorry'"):
        open_source("cifar10", "test", classes=renamed.classes)
    with pytest.raises(UserError, match="test of tiny has 5 classes, and train of cifar10 has 10"):
        open_source("tiny", "test", data_dir=tiny_dir, classes=train.info.classes)
    five = Classes(5, tuple("abcde"), "the checkpoint")
    assert len(open_source("tiny", "test", data_dir=tiny_dir, classes=five)) == 11
