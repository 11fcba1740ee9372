"""Taylor's criterion and choice, against plain NumPy."""

import itertools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.compress.conftest import check_same_scores, slow_if_deep
from wae_jax.compress.budget import Costs
from wae_jax.compress.network import TRUNK, groups
from wae_jax.compress.taylor import ranked, select, taylor, taylor_criteria
from wae_jax.errors import UserError
from wae_jax.models.classifier import scores_of

PLAIN = {
    "model.backbone.plan": "5 7",
    "model.backbone.batch_norm": False,
    "model.head.kind": "pool",
}


def conv(x, kernel):
    """3x3, zeros around, tap by tap."""
    height, width = x.shape[1:3]
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        x[:, i : i + height, j : j + width] @ kernel[i, j]
        for i, j in itertools.product(range(3), repeat=2)
    )


def reference(network, batch):
    """|mean of activation x gradient| of each image, (B, C) by conv, by hand."""
    model, arrays = network.model, {k: v.astype(np.float64) for k, v in network.arrays.items()}
    x = (batch["image"] - np.asarray(model.mean)) / np.asarray(model.std)
    k1, k2 = (arrays[f"{TRUNK}conv1_{i}/kernel"] for i in (1, 2))
    a1 = np.maximum(conv(x, k1) + arrays[f"{TRUNK}conv1_1/bias"], 0)
    a2 = np.maximum(conv(a1, k2) + arrays[f"{TRUNK}conv1_2/bias"], 0)
    w = arrays["params/head_low/scores/kernel"]
    scores = a2.mean((1, 2)) @ w + arrays["params/head_low/scores/bias"]
    odds = np.exp(scores - scores.max(1, keepdims=True))
    d_scores = odds / odds.sum(1, keepdims=True) - np.eye(10)[batch["label"]]
    d2 = np.broadcast_to((d_scores @ w.T)[:, None, None] / (16 * 16), a2.shape)
    back = k2[::-1, ::-1].transpose(0, 1, 3, 2)  # the transposed conv
    d1 = conv(d2 * (a2 > 0), back)
    return {
        "conv1_1": np.abs((a1 * d1).mean((1, 2))),
        "conv1_2": np.abs((a2 * d2).mean((1, 2))),
    }


def test_criteria_are_those_by_hand(make, photos):
    network = make("vgg", PLAIN)
    found = taylor_criteria(network, photos)
    by_hand = [reference(network, batch) for batch in photos]
    for name, values in found.items():
        expected = np.concatenate([part[name] for part in by_hand]).mean(0)
        np.testing.assert_allclose(values, expected, rtol=2e-4, atol=1e-7)
    for name, values in ranked(network, photos).items():
        np.testing.assert_allclose(values, found[name] / np.sqrt((found[name] ** 2).sum()))


def test_the_least_filters_of_all_layers_go(make):
    costs = Costs(make("vgg", PLAIN))
    criteria = {
        "conv1_1": np.array([5, 1, 9, 8, 3.0]),
        "conv1_2": np.array([2, 7, 6, 4, 10, 11, 12.0]),
    }
    floors = {"conv1_1": 1, "conv1_2": 5}
    # In this order: 1, then 0 of conv1_2, 4, 3 of conv1_2; then that conv is at its floor.
    goal = costs.of({"conv1_1": 3, "conv1_2": 5})
    kept = select(criteria, costs, goal, floors)
    assert {name: index.tolist() for name, index in kept.items()} == {
        "conv1_1": [0, 2, 3],
        "conv1_2": [1, 2, 4, 5, 6],
    }
    kept = select(criteria, costs, goal - 1, floors)
    assert kept["conv1_1"].tolist() == [2, 3] and len(kept["conv1_2"]) == 5


def test_what_filters_cost_can_count(make, photos):
    network = make("vgg", PLAIN)
    plain, costly = ranked(network, photos), ranked(network, photos, cost_weight=0.25)
    a_filter = {
        # conv1_1: 3 channels in, and what conv1_2 reads of it; conv1_2: 5 in, and 10 scores.
        "conv1_1": 16 * 16 * 9 * (3 + 7),
        "conv1_2": 16 * 16 * 9 * 5 + 10,
    }
    for name, values in costly.items():
        share = a_filter[name] / max(a_filter.values())
        np.testing.assert_allclose(values, plain[name] - 0.25 * share, atol=1e-12)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["basic", "bottleneck"])
def test_a_streams_criterion_is_that_of_all_its_writers_norms_at_once(name, make, photos):
    """Scale and bias of the norms, times a common factor, have the same gradient."""
    network = make(name)
    found = taylor_criteria(network, photos[:1], streams=True)
    every = groups(network.model, streams=True)

    def loss(params, image, label):
        scores = scores_of(network.model, {**network.variables, "params": params}, image[None])
        return -jax.nn.log_softmax(scores)[0, label]

    gradient = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0, 0)))
    params = network.variables["params"]
    batch = photos[0]
    slopes = flatten_dict(gradient(params, batch["image"], batch["label"]), sep="/")
    for group in ("stage1", "stage2", "stage4"):
        total = 0.0
        for conv in every[group].writers:
            norm = f"backbone/{conv.replace('conv', 'norm')}"
            for key in ("scale", "bias"):
                total = total + network.arrays[f"params/{norm}/{key}"] * slopes[f"{norm}/{key}"]
        _, height, width, _ = network.layers[every[group].writers[-1]].writes
        expected = np.abs(np.asarray(total) / (height * width)).mean(0)
        np.testing.assert_allclose(found[group], expected, rtol=2e-3, atol=1e-3 * expected.max())


@pytest.mark.nightly
def test_streams_lose_channels_within_the_budget(make, photos):
    network = make("bottleneck")
    smaller = taylor(network, photos, 0.5, rounds=2, streams=True)
    assert 0.4 < smaller.macs.total / network.macs.total <= 0.5
    assert any(
        name.startswith("stage") and "/" not in name for name, _ in smaller.model.backbone.widths
    )
    # Far less than blocks alone could do.
    with pytest.raises(UserError, match="taylor cannot"):
        taylor(network, photos, 0.1, rounds=2)


@pytest.mark.parametrize(
    "name, macs",
    [
        ("wae", 0.85),
        pytest.param("wae-early", 0.7, marks=pytest.mark.slow),
        slow_if_deep("basic", 0.7),
    ],
)
def test_budget_in_rounds(name, macs, make, photos):
    network = make(name)
    seen = []

    def between(smaller):
        seen.append(smaller.macs.total / network.macs.total)
        return smaller

    smaller = taylor(network, photos, macs, rounds=3, between=between)
    seen.append(smaller.macs.total / network.macs.total)
    assert len(seen) == 3
    for number, found in enumerate(seen, start=1):
        goal = 1 - (1 - macs) * number / 3
        assert goal - 0.08 < found <= goal
    assert smaller.settings.backbone.widths.count("=") == len(smaller.model.backbone.widths) > 0
    check_same_scores(network, taylor(network, photos, 1.0), photos[0]["image"])


def test_a_budget_below_the_floor_is_refused(make, photos):
    with pytest.raises(UserError, match=r"taylor cannot bring this network below 0\.\d+ of its"):
        taylor(make("vgg", PLAIN), photos, 0.01)
