"""An auto-encoder starts as plain low resolution, and its decoder as the inverse."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import seeded

from wae_jax import data
from wae_jax.config import default_config, settings_from_config
from wae_jax.errors import UserError
from wae_jax.methods import set_method
from wae_jax.models.classifier import build_model, run, variable_shapes
from wae_jax.models.frontends.start import haar_details
from wae_jax.pretrained import Imported
from wae_jax.pretrained.transfer import start_as_low_resolution, start_from

ENCODERS = [
    {"encoder": encoder, "activation": activation, "depth": depth, **more}
    for (encoder, more), activation, depth in itertools.product(
        [
            ("polyphase", {"channels": 24}),
            ("paper", {"padding": "zero"}),
            ("paper", {"padding": "reflect"}),
        ],
        ["none", "relu"],
        [1, 3],
    )
]
DECODERS = [
    {"decoder": decoder, "decoder_activation": activation, "decoder_channels": 24}
    for decoder, activation in itertools.product(["polyphase", "paper"], ["none", "relu"])
]
HEAD = {"head.kind": "pool", "head.dropout": 0.0}
RESNET = HEAD | {"backbone.name": "resnet18", "backbone.width": 0.125}
VGG = HEAD | {"backbone.name": "vgg", "backbone.plan": "8 M 16"}
SIZE = 32


def _fresh(path, x):
    """Initial values that depend on the parameter alone; compiles nothing."""
    kind = path[-1].key
    if kind != "kernel":
        return np.full(x.shape, kind in ("scale", "var"), np.float32)
    return seeded.weights(jax.tree_util.keystr(path), x.shape, outputs_last=True)


def started(size=SIZE, classes=10, pretrained=None, **changes):
    """(model, its variables as at the first step of training)."""
    config = default_config()
    config.update_from_flattened_dict({f"model.{key}": value for key, value in changes.items()})
    settings = settings_from_config(config)
    model = build_model(settings.model, num_classes=classes, image_size=size)
    variables = jax.tree.map_with_path(_fresh, variable_shapes(model, size))
    variables = start_as_low_resolution(model, variables)
    if pretrained is not None:
        variables, _ = start_from(pretrained, variables, model, light="fresh")
    return settings.model, model, variables


def network(size=SIZE, seed=1, **changes):
    """A full-resolution network of 7 other classes with weights as after training."""
    settings, _, variables = started(size, 7, **changes, **{"frontend.name": "identity"})
    rng = np.random.default_rng(seed)

    def trained(path, x):
        noise = 0.1 * rng.standard_normal(x.shape, np.float32)
        return np.abs(x + noise) if path[-1].key == "var" else x + noise

    variables = jax.tree.map_with_path(trained, variables)
    return Imported("test network", settings, variables, num_classes=7, image_size=size)


def frontend(changes):
    return {f"frontend.{key}": value for key, value in changes.items()}


def largest_difference(images, *networks) -> float:
    """Of two networks' scores, relative to the largest score."""
    ours, theirs = (jax.jit(run, static_argnums=0)(*each, images).scores for each in networks)
    return float(jnp.abs(ours - theirs).max() / jnp.abs(theirs).max())


@pytest.mark.parametrize("block", [2, 4])
def test_details_are_orthonormal_and_have_no_mean(block):
    details = haar_details(block).reshape(-1, 3 * (block**2 - 1))
    np.testing.assert_allclose(details.T @ details, np.eye(details.shape[1]), atol=1e-12)
    colours = details.reshape(block**2, 3, -1)
    np.testing.assert_allclose(colours.sum(0), 0, atol=1e-12)


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
@pytest.mark.parametrize("fusion", ["late", "early"])
def test_scores_are_those_of_low_resolution(encoder, fusion):
    pretrained = network(**VGG)
    wae = started(pretrained=pretrained, fusion=fusion, **VGG, **frontend(encoder))
    low = started(pretrained=pretrained, **VGG, **{"frontend.name": "downsample"})
    assert largest_difference(seeded.images(3, SIZE), wae[1:], low[1:]) < 1e-4


@pytest.mark.parametrize("name", ["wavelet", "space-to-depth"])
def test_scores_of_other_front_ends_with_early_fusion_are_those_of_low_resolution(name):
    pretrained = network(**RESNET)
    haar = {"frontend.name": name, "frontend.wavelet": "haar"}
    early = started(pretrained=pretrained, fusion="early", **RESNET, **haar)
    low = started(pretrained=pretrained, **RESNET, **{"frontend.name": "downsample"})
    assert largest_difference(seeded.images(3, SIZE), early[1:], low[1:]) < 1e-4
    kernel = early[2]["params"]["backbone"]["stem_conv"]["kernel"]
    assert kernel.shape[2] == 12 and not kernel[:, :, 3:].any() and kernel[:, :, :3].any()


@pytest.fixture(scope="module")
def photos():
    """20 photos (20, 64, 64, 3)."""
    source = data.open_source("foolbox_photos", "validation")
    transform = data.make_transform("imagenet", 64, train=False)
    loader = data.make_eval_loader(data.DecodedRecords(source), transform, batch_size=20)
    return next(iter(loader))["image"]


def psnr(model, variables, images) -> float:
    outputs = jax.jit(lambda v, x: run(model, v, x, classify=False, reconstruct=True))(
        variables, images
    )
    error = model.denormalise(outputs.images) - model.denormalise(outputs.reconstruction)
    return float(10 * np.log10(255**2 / np.square(error).mean((1, 2, 3))).mean())


@pytest.mark.parametrize("decoder", DECODERS, ids=str)
@pytest.mark.parametrize("encoder", ENCODERS[:4] + ENCODERS[4::3], ids=str)
def test_with_all_details_the_image_comes_back(encoder, decoder):
    options = encoder | decoder | {"high_channels": 9}
    _, model, variables = started(**VGG, **frontend(options))
    assert psnr(model, variables, seeded.images(2, SIZE)) > 100


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_three_channels_of_detail_keep_most_of_a_photo(activation, photos):
    options = {"encoder": "polyphase", "channels": 24, "activation": activation}
    decoder = {"decoder": "polyphase", "decoder_activation": activation}
    _, model, variables = started(64, **VGG, **frontend(options | decoder))
    assert psnr(model, variables, photos) > 40


def test_two_levels():
    options = {"levels": 2, "encoder": "polyphase", "channels": 96, "decoder": "polyphase"}
    options |= {"high_channels": 45, "decoder_channels": 90}
    pretrained = network(**VGG)
    _, model, variables = started(SIZE, 10, pretrained, **VGG, **frontend(options))
    low = started(
        SIZE, 10, pretrained, **VGG, **{"frontend.name": "downsample", "frontend.levels": 2}
    )
    images = seeded.images(2, SIZE)
    assert largest_difference(images, (model, variables), low[1:]) < 1e-4
    assert psnr(model, variables, images) > 100


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"channels": 5}, "model.frontend.channels is 5"),
        ({"encoder": "polyphase", "channels": 4}, "model.frontend.channels is 4"),
        ({"decoder_channels": 2}, "model.frontend.decoder_channels is 2"),
    ],
)
def test_too_few_channels_are_refused(options, key):
    with pytest.raises(UserError, match=key):
        started(**RESNET, **frontend(options))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["wae", "wae-fast", "wae-early"])
@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
def test_whole_networks_at_224_pixels(name, method):
    def flat(method):
        model = set_method(default_config(), method).model
        return {"fusion": model.fusion} | frontend(dict(model.frontend))

    trunk = {"backbone.name": name, "head.kind": "pool", "head.dropout": 0.0}
    pretrained = network(224, **trunk)
    wae = started(224, 10, pretrained, **trunk, **flat(method))
    low = started(224, 10, pretrained, **trunk, **flat("lowres"))
    source = data.open_source("foolbox_photos", "validation")
    transform = data.make_transform("imagenet", 224, train=False)
    loader = data.make_eval_loader(data.DecodedRecords(source), transform, batch_size=20)
    assert largest_difference(next(iter(loader))["image"], wae[1:], low[1:]) < 1e-3
