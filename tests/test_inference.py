"""The inference form gives the training form's scores from fewer operations."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.frontends.folded import tile_kernel, untile_kernel
from wae_jax.model import build_model, init_variables
from wae_jax.settings import settings_from_config

LINEAR = {"activation": "none"}
FORMS = {
    "polyphase relu": {},
    "polyphase linear": {**LINEAR, "depth": 2},
    "polyphase linear, two levels": {**LINEAR, "depth": 1, "levels": 2},
    "paper relu": {"encoder": "paper"},
    "paper linear": {**LINEAR, "encoder": "paper", "padding": "reflect"},
    "paper linear, zero padding": {**LINEAR, "encoder": "paper"},
    "not normalised": {**LINEAR, "normalise": False},
    "wavelet": {"name": "wavelet"}, "full": {"name": "identity"},
}
ONE_CONV = ("polyphase linear", "polyphase linear, two levels", "paper linear", "not normalised")


def make(tiny_config, frontend, **changes):
    """A model at an odd size with variables as after training, and images."""
    config = tiny_config({f"model.frontend.{k}": v for k, v in frontend.items()} | changes)
    settings = settings_from_config(json.loads(json.dumps(config.to_dict())))
    model = build_model(settings.model, num_classes=10, image_size=33)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (2, 33, 33, 3), np.uint8))

    def trained(path, x):
        noise = rng.normal(size=x.shape)
        return jnp.asarray(0.5 + np.abs(noise) if path[-1].key == "var" else x + 0.1 * noise,
                           jnp.float32)

    variables = jax.tree.map_with_path(trained, init_variables(model, images, seed=0))
    return model, variables, images


def check(model, variables, images):
    expected = model.apply(variables, images)
    folded, folded_variables = model.for_inference(variables)
    found = folded.apply(folded_variables, images)
    scale = float(jnp.abs(expected.scores).max())
    for name in ("scores", "low_scores", "fused_scores"):
        if getattr(expected, name) is not None:
            error = float(jnp.abs(getattr(found, name) - getattr(expected, name)).max())
            assert error <= 1e-5 * scale, name
    assert not jax.tree.leaves(folded_variables["batch_stats"])
    assert not any("decoder" in name for name in folded_variables["params"].get("frontend", {}))
    return folded, folded_variables


@pytest.mark.parametrize("form", FORMS)
def test_same_scores(form, tiny_config):
    model, variables, images = make(tiny_config, FORMS[form])
    folded, folded_variables = check(model, variables, images)
    if form in ONE_CONV:
        jaxpr = jax.make_jaxpr(lambda v, x: folded.apply(
            v, x, method=lambda m, x: m.frontend.analyze(x, train=False)))(
                folded_variables, images.astype(jnp.float32))
        assert str(jaxpr).count("conv_general_dilated[") == 1


def test_same_scores_in_bgr(tiny_config):
    check(*make(tiny_config, FORMS["polyphase linear"], **{"model.input.channel_order": "BGR"}))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_same_scores_of_resnets(name, tiny_config):
    check(*make(tiny_config, {}, **{"model.backbone.name": name, "model.backbone.width": 0.125,
                                    "model.backbone.stem": "small"}))


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("side", [3, 6, 7, 10, 13])
def test_tiled_kernels_hold_the_plain_one(side, stride):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(side, side, 3, 6)), rng.normal(size=6)
    tiled = tile_kernel(kernel, bias, stride)
    np.testing.assert_array_equal(untile_kernel(tiled["kernel"], side, stride), kernel)
    assert np.count_nonzero(tiled["kernel"]) == 4 * kernel.size
    np.testing.assert_array_equal(tiled["bias"][-6:], bias)
