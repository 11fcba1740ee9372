"""Removed filters are gone from every array, and costs are what the smaller network costs."""

import jax
import numpy as np
import pytest

from tests.compress.conftest import FULL, NETWORKS, check_same_scores, nightly, scores, slow_if_deep
from wae_jax.compress.budget import Costs
from wae_jax.compress.network import TRUNK, Network, groups, keep_filters, readers
from wae_jax.config import settings_from_config
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import build_model, scores_of, variable_shapes

STREAMS = {
    "basic": ["stage1", "stage2", "stage3", "stage4"],
    "bottleneck": ["stem", "stage1", "stage2", "stage3", "stage4"],
}
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)


def silence(network, removed):
    """The network in which these filters, by conv, give zero after the ReLU."""
    arrays = dict(network.arrays)
    for conv, numbers in removed.items():
        norm = f"{TRUNK}{conv.replace('conv', 'norm')}/"
        names = [norm + "scale", norm + "bias"]
        if names[0] not in arrays:
            names = [f"{TRUNK}{conv}/kernel", f"{TRUNK}{conv}/bias"]
        for name in names:
            arrays[name] = arrays[name].copy()
            arrays[name][..., numbers] = 0.0
    return network.with_arrays(arrays)


@pytest.mark.parametrize("name", [slow_if_deep(name) for name in NETWORKS])
def test_filters_without_effect_can_go(name, make):
    network = make(name)
    rng = np.random.default_rng(1)
    kept, removed = {}, {}
    for conv in readers(network.model):
        count = network.layers[conv].writes[3]
        order = rng.permutation(count)
        removed[conv], kept[conv] = (
            np.sort(order[: count // 3 + 1]),
            np.sort(order[count // 3 + 1 :]),
        )
    assert removed
    network = silence(network, removed)
    smaller = keep_filters(network, kept)
    shapes = variable_shapes(smaller.model, 16)
    assert jax.tree.map(np.shape, smaller.variables) == jax.tree.map(lambda x: x.shape, shapes)
    check_same_scores(network, smaller, IMAGES)
    costs = Costs(network)
    assert costs.of({conv: len(index) for conv, index in kept.items()}) == smaller.macs.total
    assert smaller.macs.total < network.macs.total and smaller.parameters < network.parameters


@pytest.mark.parametrize("name", [slow_if_deep("basic"), nightly("bottleneck")])
def test_channels_of_residual_streams_go_from_all_that_write_to_them(name, make):
    network = make(name)
    every = groups(network.model, streams=True)
    assert set(every) - set(readers(network.model)) == set(STREAMS[name])
    rng = np.random.default_rng(1)
    kept, silent = {}, {}
    for group in STREAMS[name]:
        count = network.layers[every[group].writers[0]].writes[3]
        order = rng.permutation(count)
        kept[group] = np.sort(order[2 + len(kept) :])
        silent |= dict.fromkeys(every[group].writers, order[: 2 + len(kept) - 1])
    network = silence(network, silent)
    smaller = keep_filters(network, kept)
    check_same_scores(network, smaller, IMAGES)
    found = Costs(network, streams=True).of({n: len(index) for n, index in kept.items()})
    assert found == smaller.macs.total < network.macs.total
    assert all(f"{n}={len(index)}" in smaller.settings.backbone.widths for n, index in kept.items())


def test_streams_of_equal_width_keep_their_shortcut(make):
    """Whether there is a conv on it does not depend on the numbers of channels."""
    network = make("bottleneck", {"model.backbone.widths": "stem=8 stage1=8"})
    assert f"{TRUNK}stage1_block1/shortcut_conv/kernel" in network.arrays


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_costs_of_narrower_streams_are_those_by_hand(name, tiny_config):
    """At 224 pixels with 1000 classes, all streams at three quarters of their width."""
    filters = {"resnet18": 1, "resnet50": 4}[name]
    blocks = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}[name]
    streams = [48 * filters * 2**s for s in range(4)]
    widths = " ".join(f"stage{s}={n}" for s, n in enumerate(streams, start=1))
    stem = 48
    if name == "resnet50":
        widths = f"stem={stem} {widths}"
    macs, parameters, before = 112 * 112 * 49 * 3 * stem, 49 * 3 * stem + stem, stem
    for s, (count, stream) in enumerate(zip(blocks, streams, strict=True)):
        inner, side = 64 * 2**s, 56 // 2**s
        for b in range(count):
            first = side * 2 if s and not b else side  # the bottleneck's 3x3 has the stride
            if name == "resnet50":
                convs = [(first, before, inner), (side, 9 * inner, inner), (side, inner, stream)]
            else:
                convs = [(side, 9 * before, inner), (side, 9 * inner, stream)]
            if b == 0 and (s or name == "resnet50"):
                convs.append((side, before, stream))
            macs += sum(pixels**2 * a * c for pixels, a, c in convs)
            parameters += sum(a * c + c for _, a, c in convs)
            before = stream
    macs, parameters = macs + 1000 * before, parameters + 1000 * (before + 1)
    config = tiny_config(
        FULL
        | {"model.backbone.name": name, "model.backbone.widths": widths, "model.head.kind": "pool"}
    )
    settings = settings_from_config(config).model
    model = build_model(settings, num_classes=1000, image_size=224)
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variable_shapes(model, 224))
    network = Network(settings, variables, 1000, 224)
    assert (network.macs.total, network.parameters) == (macs, parameters)


@pytest.mark.parametrize("name", ["vgg", "wae", slow_if_deep("bottleneck")])
def test_products_fold_like_any_conv(name, make):
    """Tucker-2, CP and the SVD of a 1x1 conv, in both forms."""
    ranks = {
        "bottleneck": "stage1_block1/conv1=4 stage2_block1/conv2=5,6 stage4_block2/conv2=7 "
        "stage2_block1/shortcut_conv=9 stage3_block1/conv3=3"
    }.get(name, "conv1_2=5,6 conv2_1=7")
    network = make(name, {"model.backbone.ranks": ranks})
    trunk = network.variables["params"]["backbone"]
    factors = jax.tree.leaves(trunk, is_leaf=lambda x: isinstance(x, dict) and "expand" in x)
    assert sum(isinstance(x, dict) for x in factors) == len(ranks.split())
    expected = scores(network, IMAGES)
    for platform in ("cpu", "cuda"):
        model, variables = for_inference(
            network.model, network.variables, IMAGES.shape, platform=platform
        )
        assert not jax.tree.leaves(variables["batch_stats"])
        found = np.asarray(jax.jit(lambda v, m=model: scores_of(m, v, IMAGES))(variables))
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
