"""The strict mapping reports everything that is wrong, at once."""

import jax
import numpy as np
import pytest

from wae_jax.errors import UserError
from wae_jax.pretrained.mapping import (
    Entry,
    apply,
    kernel_from_flattened,
    kernel_from_oihw,
    mean_less_bias,
)

SHAPES = {
    "params": {
        "conv": {"kernel": jax.ShapeDtypeStruct((3, 3, 2, 4), np.float32)},
        "fc": {"bias": jax.ShapeDtypeStruct((5,), np.float32)},
    }
}
ENTRIES = [
    Entry("params/conv/kernel", ("c.weight",), kernel_from_oihw),
    Entry("params/fc/bias", ("f.bias",)),
]


def arrays(**changes):
    found = {
        "c.weight": np.arange(72, dtype=np.float32).reshape(4, 2, 3, 3),
        "f.bias": np.ones(5, np.float32),
    }
    found |= changes
    return {name: array for name, array in found.items() if array is not None}


def test_fills_the_network():
    filled = apply(arrays(), ENTRIES, SHAPES, what="x")
    assert filled["params"]["conv"]["kernel"][2, 1, 1, 3] == arrays()["c.weight"][3, 1, 2, 1]
    assert filled["params"]["fc"]["bias"].dtype == np.float32


BAD = {
    "missing": ({"f.bias": None}, ["missing: f.bias"]),
    "extra": ({"g.bias": np.ones(1)}, ["not of this network: g.bias"]),
    "renamed": ({"f.bias": None, "f.bais": np.ones(5)}, ["missing: f.bias", "f.bais"]),
    "wrong shape": ({"f.bias": np.ones(6)}, ["f.bias (6,) for params/fc/bias (5,)"]),
    "wrong number of axes": ({"c.weight": np.ones(6)}, ["c.weight (6,)"]),
    "nan": ({"f.bias": np.full(5, np.nan)}, ["NaN or infinite values: f.bias"]),
    "infinite": ({"f.bias": np.array([1, np.inf, 0, -np.inf, 2])}, ["f.bias"]),
    "integers": ({"f.bias": np.ones(5, np.int32)}, ["f.bias (int32)"]),
    "all at once": (
        {"c.weight": np.full((1, 2, 3, 3), np.nan), "f.bias": None, "g": np.ones(1)},
        ["missing: f.bias", "network: g", "values: c.weight", "c.weight (1, 2, 3, 3)"],
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_reports_what_is_wrong_by_name(kind):
    changes, words = BAD[kind]
    with pytest.raises(UserError) as error:
        apply(arrays(**changes), ENTRIES, SHAPES, what="file is not a thing")
    assert str(error.value).startswith("file is not a thing: ")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_long_lists_are_cut_and_counted():
    extra = {f"layer{i}": np.ones(1) for i in range(12)}
    with pytest.raises(UserError, match=r"layer0, layer1, layer2, layer3 and 8 more$"):
        apply(arrays(**extra), ENTRIES, SHAPES, what="x")


def test_ignores_only_what_it_was_told_to():
    extra = {"norm.counter": np.zeros((), np.int64)}
    apply(arrays(**extra), ENTRIES, SHAPES, what="x", ignored=r".*\.counter")
    with pytest.raises(UserError, match=r"norm\.counter"):
        apply(arrays(**extra), ENTRIES, SHAPES, what="x", ignored="counter")


@pytest.mark.parametrize(
    "entries", [ENTRIES[:1], [*ENTRIES, ENTRIES[1]], [*ENTRIES, Entry("params/gone", ("g",))]]
)
def test_a_table_that_does_not_fit_the_network_is_our_mistake(entries):
    with pytest.raises(ValueError, match="mapping"):
        apply(arrays(), entries, SHAPES, what="x")


def test_fc_layer_on_flattened_features_of_two_branches():
    """x @ kernel is the same whichever way features and kernel are flattened."""
    rng = np.random.default_rng(0)
    branches = [rng.normal(size=(2, 3, 4, c)) for c in (5, 2)]  # (B, h, w, C)
    theirs = rng.normal(size=(7, 3 * 4 * 7))
    first = np.concatenate([b.transpose(0, 3, 1, 2).reshape(2, -1) for b in branches], 1)
    ours = np.concatenate([b.reshape(2, -1) for b in branches], 1)
    kernel = kernel_from_flattened((5, 3, 4), (2, 3, 4))(theirs)
    np.testing.assert_allclose(ours @ kernel, first @ theirs.T)
    with pytest.raises(ValueError):
        kernel_from_flattened((5, 3, 4))(theirs)


def test_a_conv_bias_before_a_norm_goes_into_its_mean():
    rng = np.random.default_rng(0)
    x, mean, bias = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=4)
    np.testing.assert_allclose(x - mean_less_bias(mean, bias), x + bias - mean)
