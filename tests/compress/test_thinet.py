"""ThiNet's samples, choice and scaling, against plain NumPy; the published networks' sizes."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.compress.conftest import check_same_scores, scores, slow_if_deep
from tests.models.test_golden import FULL, counts, paper_model
from wae_jax.compress import thinet as module
from wae_jax.compress.network import HEADS, TRUNK, Network, readers
from wae_jax.compress.thinet import (
    choose_channels,
    contributions,
    least_squares,
    thinet,
    widths_by_budget,
    widths_of_preset,
    with_pool_head,
)
from wae_jax.config import default_config, settings_from_config
from wae_jax.errors import UserError
from wae_jax.models.backbones.sizes import as_text
from wae_jax.models.classifier import build_model, variable_shapes


def greedy(x, count):
    """The removed channels' sums, squared and added up over samples, for each candidate anew."""
    removed = []
    while x.shape[1] - len(removed) > count:
        left = [c for c in range(x.shape[1]) if c not in removed]
        errors = [np.square(x[:, [*removed, c]].sum(1)).sum() for c in left]
        removed.append(left[int(np.argmin(errors))])
    return np.array(sorted(set(range(x.shape[1])) - set(removed)))


@pytest.mark.parametrize("count", [1, 4, 11, 12])
def test_choice_and_scale_are_those_by_hand(count):
    rng = np.random.default_rng(count)
    x = rng.standard_normal((200, 12)) * rng.uniform(0.1, 2, 12) + rng.standard_normal((200, 1))
    kept = choose_channels(x.T @ x, count)
    np.testing.assert_array_equal(kept, greedy(x, count))
    expected = np.linalg.lstsq(x[:, kept], x.sum(1), rcond=None)[0]
    np.testing.assert_allclose(least_squares(x.T @ x, kept), expected, rtol=1e-8)


@pytest.mark.parametrize("name, reader", [("vgg", "conv2_1"), ("basic", "stage1_block1/conv2")])
def test_contributions_add_up_to_the_conv(name, reader, make, photos):
    network = make(name)
    layer = network.layers[reader]
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    (found,) = contributions(network, reader, photos[:1], 10, rng)
    (x,) = module.inputs(network, reader, photos[:1])
    y = jax.lax.conv_general_dilated(
        x, network.kernel(reader), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    image = np.repeat(np.arange(8), 10)
    output, row, column = (again.integers(0, side, 80) for side in (y.shape[3], *layer.writes[1:3]))
    assert found.shape == (80, layer.reads[3])
    expected = np.asarray(y)[image, row, column, output]
    np.testing.assert_allclose(found.sum(1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vgg", "vgg with norms"])
def test_contributions_to_the_heads_add_up(name, make, photos):
    network = make(name)
    kind = network.settings.head.kind
    (found,) = contributions(network, HEADS, photos[:1], 3, np.random.default_rng(5))
    output = np.random.default_rng(5).integers(0, 12 if kind == "fc" else 10, 24)
    (x,) = module.inputs(network, HEADS, photos[:1])
    layer = network.variables["params"]["head_low"]["fc1" if kind == "fc" else "scores"]
    y = (x.reshape(8, -1) if kind == "fc" else x.mean((1, 2))) @ layer["kernel"]
    np.testing.assert_allclose(found.sum(1), y[np.repeat(np.arange(8), 3), output], rtol=1e-4)


def test_channels_without_effect_go_without_a_trace(make, photos):
    network = make("vgg")
    arrays = dict(network.arrays)
    for name in ("kernel", "bias"):
        path = f"{TRUNK}conv1_1/{name}"
        arrays[path] = arrays[path].copy()
        arrays[path][..., [1, 4]] = 0.0
    network = network.with_arrays(arrays)
    smaller = thinet(network, photos, {"conv1_1": 4})
    kept = arrays[f"{TRUNK}conv1_1/kernel"][..., [0, 2, 3, 5]]
    np.testing.assert_array_equal(smaller.kernel("conv1_1"), kept)
    check_same_scores(network, smaller, photos[0]["image"])


@pytest.mark.parametrize(
    "name, macs", [("wae", 0.85), ("wae-early", 0.85), slow_if_deep("bottleneck", 0.6)]
)
def test_budget(name, macs, make, photos):
    network = make(name)
    widths = widths_by_budget(network, macs)
    smaller = thinet(network, photos, widths)
    assert macs - 0.1 < smaller.macs.total / network.macs.total <= macs
    assert {n: smaller.layers[n].writes[3] for n in widths} == widths
    assert set(widths) <= set(network.layers) - {"conv2_1"}
    assert np.isfinite(scores(smaller, photos[0]["image"])).all()
    everything = widths_by_budget(network, 1.0)
    check_same_scores(network, thinet(network, photos, everything), photos[0]["image"])


# Luo et al., VGG16 at 224 x 224: 10^6 parameters, 10^9 MACs; and ours, counted by hand.
PUBLISHED = {
    "thinet-0.5": (131.4, 4.79),
    "thinet-gap": (8.32, 4.67),
    "thinet-tiny": (1.32, 1.00),
}
GOLDEN = {
    "thinet-0.5": (131_452_552, 4_791_205_888),
    "thinet-gap": (8_322_696, 4_668_084_224),
    "thinet-tiny": (1_325_368, 1_004_578_816),
}


def vgg16():
    config = default_config()
    config.model.frontend.name = "identity"
    settings = settings_from_config(config).model
    model = build_model(settings, num_classes=1000, image_size=224)
    return Network(settings, variable_shapes(model, 224), 1000, 224)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_the_published_sizes(preset):
    network = vgg16()
    widths = as_text(widths_of_preset(network, preset))
    head = {"head.kind": "pool" if preset != "thinet-0.5" else "fc"}
    params, macs = counts(paper_model(**FULL | head | {"backbone.widths": widths}))
    assert (params, macs) == GOLDEN[preset]
    assert (params / 1e6, macs / 1e9) == pytest.approx(PUBLISHED[preset], rel=5e-3)


def test_half_of_a_resnet_is_half_of_its_inner_convs(make):
    network = make("bottleneck")
    half = widths_of_preset(network, "thinet-0.5")
    assert set(half) == set(readers(network.model)) and "stage1_block1/conv3" not in half
    assert all(2 * count == network.layers[name].writes[3] for name, count in half.items())


def test_a_new_head_fits(make):
    network = make("wae with fc heads")
    pooled = with_pool_head(network)
    shapes = variable_shapes(pooled.model, 16)
    assert jax.tree.map(np.shape, pooled.variables) == jax.tree.map(lambda x: x.shape, shapes)
    assert dataclasses.replace(pooled.settings.head, kind="fc") == network.settings.head


def test_a_preset_of_another_network_is_refused(make):
    with pytest.raises(UserError, match="thinet-gap is for the backbone vgg16"):
        widths_of_preset(make("vgg"), "thinet-gap")
