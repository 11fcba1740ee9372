"""The inference form gives the training form's scores from fewer operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.inference import fold
from wae_jax.inference.fold import for_inference
from wae_jax.models.frontends.folded import tile_kernel, untile_kernel

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
    "area resize": {"name": "downsample", "size": 20},
    "space-to-depth": {"name": "space-to-depth"},
}
ONE_CONV = ("polyphase linear", "polyphase linear, two levels", "paper linear", "not normalised")


def check(model, variables, images, platform="cpu"):
    expected = jax.jit(model.apply)(variables, images)
    folded, folded_variables = for_inference(model, variables, platform=platform)
    found = jax.jit(folded.apply)(folded_variables, images)
    scale = float(jnp.abs(expected.scores).max())
    for name in ("scores", "low_scores", "fused_scores"):
        if getattr(expected, name) is not None:
            error = float(jnp.abs(getattr(found, name) - getattr(expected, name)).max())
            assert error <= 1e-5 * scale, name
    assert not jax.tree.leaves(folded_variables["batch_stats"])
    assert not any("decoder" in name for name in folded_variables["params"].get("frontend", {}))
    return folded, folded_variables


@pytest.mark.parametrize(
    ("form", "platform"),
    [*((form, "cpu") for form in FORMS), *((form, "tpu") for form in (*ONE_CONV, "full"))],
)
def test_same_scores(form, platform, make):
    model, variables, images = make(FORMS[form])
    folded, folded_variables = check(model, variables, images, platform)
    if form in ONE_CONV:
        jaxpr = jax.make_jaxpr(
            lambda v, x: folded.apply(v, x, method=lambda m, x: m.frontend.analyze(x, train=False))
        )(folded_variables, images.astype(jnp.float32))
        assert str(jaxpr).count("conv_general_dilated[") == 1
        plain = (folded.frontend.kernel, folded.frontend.kernel, 3, 6)
        shape = folded_variables["params"]["frontend"]["to_both"]["kernel"].shape
        assert (shape == plain) == (platform == "tpu")


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_same_scores_in_bgr(platform, make):
    bgr = {"model.input.channel_order": "BGR", "model.input.mean": (120.0, 100.0, 80.0)}
    check(*make(FORMS["polyphase linear"], **bgr), platform)


@pytest.mark.parametrize("form", ONE_CONV)
def test_one_conv_is_the_encoder_to_float64(form, make, monkeypatch):
    model, variables, _ = make(FORMS[form])
    encoder = model.frontend.encoder.clone(parent=None)
    params = jax.tree.map(
        lambda x: np.asarray(x, np.float64), variables["params"]["frontend"]["encoder"]
    )
    merged = {name: params[name] for name in params if name.startswith("conv")}
    merged["to_both"] = fold._merge_outputs(params, {})
    with monkeypatch.context() as patch:
        # It must not need a device that knows float64: no TPU does.
        patch.setattr(jax, "enable_x64", None)
        conv = fold._as_one_conv(encoder, merged)
    side = encoder.receptive_field
    image = np.random.default_rng(1).normal(size=(side, side, 3))
    with jax.enable_x64():
        sub = encoder.clone(dtype=jnp.float64).apply(
            {"params": params}, jnp.asarray(image[None]), method="filter"
        )
        expected = np.concatenate([sub.low, sub.high], -1)[0, 0, 0]
    found = np.einsum("hwc,hwco->o", image, conv["kernel"]) + conv["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_folded_encoder_is_as_precise_as_the_unfolded_in_bfloat16(platform, make):
    """Images are far from 0: their mean must not cancel in the conv's rounded sum."""
    model, variables, images = make(FORMS["polyphase linear"])
    rounded, _, _ = make(FORMS["polyphase linear"], **{"model.dtype": "bfloat16"})
    images = images / 8.0 + 200.3  # bright and of little contrast

    def sub_images(model, variables):
        def split(model, x):
            x = model.frontend.analyze(model.normalise(x), train=False)
            return model.frontend.prepare(x, train=False)

        sub = model.apply(variables, images, method=split)
        return np.concatenate([np.asarray(x, np.float64) for x in (sub.low, sub.high)], -1)

    def error(found):
        return np.sqrt(np.square(found - expected).mean() / np.square(expected).mean())

    expected = sub_images(model, variables)
    assert error(sub_images(*for_inference(model, variables, platform=platform))) < 1e-5
    unfolded = error(sub_images(rounded, variables))
    folded = error(sub_images(*for_inference(rounded, variables, platform=platform)))
    assert 1e-4 < folded <= unfolded < 0.05, (folded, unfolded)


@pytest.mark.parametrize("name", ["basic", "bottleneck"])
def test_same_scores_of_resnets(name, make, short_resnets):
    backbone = {"name": name, "width": 0.125, "stem": "small"}
    check(*make({}, **{f"model.backbone.{key}": value for key, value in backbone.items()}))


@pytest.mark.parametrize("name", ["vgg", "resnet18"])
def test_same_scores_where_features_are_halved(name, make):
    stem = {"model.backbone.name": name, "model.backbone.halve_after_stem": True}
    model, variables, images = make({"name": "identity"}, **stem, **{"model.backbone.width": 0.25})
    folded, _ = check(model, variables, images)
    assert folded.backbone.halve_after_stem


@pytest.mark.parametrize("tile", [2, 3])
@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("side", [3, 6, 7, 10, 13])
def test_tiled_kernels_hold_the_plain_one(side, stride, tile):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(side, side, 3, 6)), rng.normal(size=6)
    tiled = tile_kernel(kernel, bias, stride, tile)
    np.testing.assert_array_equal(untile_kernel(tiled["kernel"], side, stride, tile), kernel)
    assert np.count_nonzero(tiled["kernel"]) == tile**2 * kernel.size
    np.testing.assert_array_equal(tiled["bias"][-6:], bias)
