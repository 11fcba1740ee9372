"""Removed filters are gone from every array, and costs are what the smaller network costs."""

import jax
import numpy as np
import pytest

from tests.compress.conftest import NETWORKS, check_same_scores, scores, slow_if_deep
from wae_jax.compress.budget import Costs
from wae_jax.compress.network import TRUNK, keep_filters, readers
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import scores_of, variable_shapes

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
