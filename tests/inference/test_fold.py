"""The inference form gives the training form's scores from fewer operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.config import settings_from_config
from wae_jax.inference.fold import for_inference, lay_out
from wae_jax.models.classifier import build_model, init_variables
from wae_jax.models.frontends.folded import tile_kernel, untile_kernel
from wae_jax.models.layers import BY_OUTPUT, WINOGRAD

LINEAR = {"activation": "none"}
FORMS = {
    "polyphase relu": {},
    "polyphase linear": {**LINEAR, "depth": 2},
    "polyphase linear, two levels": {**LINEAR, "depth": 1, "levels": 2},
    "paper relu": {"encoder": "paper"},
    "paper linear": {**LINEAR, "encoder": "paper", "padding": "reflect"},
    "paper linear, zero padding": {**LINEAR, "encoder": "paper"},
    "not normalised": {**LINEAR, "normalise": False},
    "wavelet": {"name": "wavelet"},
    "full": {"name": "identity"},
}
ONE_CONV = ("polyphase linear", "polyphase linear, two levels", "paper linear", "not normalised")


def make(tiny_config, frontend, **changes):
    """A model at an odd size with variables as after training, and images."""
    config = tiny_config({f"model.frontend.{k}": v for k, v in frontend.items()} | changes)
    settings = settings_from_config(config)
    model = build_model(settings.model, num_classes=10, image_size=33)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (2, 33, 33, 3), np.uint8))

    def trained(path, x):
        noise = rng.normal(size=x.shape)
        return jnp.asarray(
            0.5 + np.abs(noise) if path[-1].key == "var" else x + 0.1 * noise, jnp.float32
        )

    variables = jax.tree.map_with_path(trained, init_variables(model, images, seed=0))
    return model, variables, images


def check(model, variables, images):
    expected = model.apply(variables, images)
    folded, folded_variables = for_inference(model, variables)
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
        jaxpr = jax.make_jaxpr(
            lambda v, x: folded.apply(v, x, method=lambda m, x: m.frontend.analyze(x, train=False))
        )(folded_variables, images.astype(jnp.float32))
        assert str(jaxpr).count("conv_general_dilated[") == 1


def test_same_scores_in_bgr(tiny_config):
    check(*make(tiny_config, FORMS["polyphase linear"], **{"model.input.channel_order": "BGR"}))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_same_scores_of_resnets(name, tiny_config):
    check(
        *make(
            tiny_config,
            {},
            **{
                "model.backbone.name": name,
                "model.backbone.width": 0.125,
                "model.backbone.stem": "small",
            },
        )
    )


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("side", [3, 6, 7, 10, 13])
def test_tiled_kernels_hold_the_plain_one(side, stride):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(side, side, 3, 6)), rng.normal(size=6)
    tiled = tile_kernel(kernel, bias, stride)
    np.testing.assert_array_equal(untile_kernel(tiled["kernel"], side, stride), kernel)
    assert np.count_nonzero(tiled["kernel"]) == 4 * kernel.size
    np.testing.assert_array_equal(tiled["bias"][-6:], bias)


FC = {
    "model.head.kind": "fc",
    "model.head.hidden_low": (1024, 1024),
    "model.head.hidden_fused": (1024, 1024),
}


@pytest.mark.parametrize(
    ("changes", "batch", "expected"),
    [
        ({"model.backbone.name": "resnet50", "model.backbone.stem": "small"}, 1, {BY_OUTPUT}),
        ({"model.backbone.name": "resnet50", "model.backbone.stem": "small"}, 8, set(WINOGRAD)),
        ({"model.backbone.name": "resnet50", "model.backbone.stride_on": "1x1"}, 2, {BY_OUTPUT}),
        ({"model.backbone.plan": "32 M 256 256 M 1024 256", **FC}, 8, {BY_OUTPUT, *WINOGRAD}),
        ({}, 2, set()),
    ],
)
def test_weights_laid_out_for_calls_of_one_shape(changes, batch, expected, tiny_config):
    model, variables, images = make(tiny_config, {}, **changes)
    plain, plain_variables = for_inference(model, variables)
    fast, fast_variables = for_inference(model, variables, (batch, 33, 33, 3))
    names = {path[-1].key for path, _ in jax.tree.leaves_with_path(fast_variables)}
    assert names & {BY_OUTPUT, *WINOGRAD} == expected
    for calls in (images, jnp.concatenate([images] * 5)):  # also of another shape
        scores = plain.apply(plain_variables, calls).scores
        found = fast.apply(fast_variables, calls).scores
        assert jnp.abs(found - scores).max() <= 1e-5 * jnp.abs(scores).max()


def test_nothing_is_laid_out_elsewhere(tiny_config):
    model, variables, _ = make(tiny_config, {}, **FC)
    plain, plain_variables = for_inference(model, variables)
    assert lay_out(plain, plain_variables, (1, 33, 33, 3), "gpu") is plain_variables
    half = plain.clone(dtype=jnp.bfloat16)
    assert lay_out(half, plain_variables, (1, 33, 33, 3), "cpu") is plain_variables
