import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.models import layers
from wae_jax.models.frontends import FRONTENDS, SubImages, build_frontend
from wae_jax.models.frontends.fixed import Downsample, SpaceToDepth
from wae_jax.models.frontends.wae import PaperEncoder, PolyphaseEncoder

rng = np.random.default_rng(5)
SIZES = [(8, 8), (9, 8), (7, 11)]


@pytest.fixture(scope="module")
def frontend_settings(tiny_config):
    defaults = settings_from_config(tiny_config())

    def make(**changes):
        return dataclasses.replace(defaults.model.frontend, **changes)

    return make


def random(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def round_trip(module, images, train=False):
    """Sub-images, what the branches read and, where there is one, the rebuilt image."""

    def run(module, x):
        sub = module.analyze(x, train=train)
        prepared = module.prepare(sub, train=train)
        rebuilt = module.synthesize(sub, x.shape[1:3]) if module.can_synthesize else None
        return sub, prepared, rebuilt

    init = nn.init(run, module)
    return jax.eval_shape(
        lambda x: nn.apply(run, module, mutable=["batch_stats"])(init(jax.random.key(0), x), x)[0],
        images,
    )


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("name", sorted(FRONTENDS))
def test_sub_images_round_sizes_up(name, levels, size, frontend_settings):
    module = build_frontend(frontend_settings(name=name, levels=levels))
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    sub, prepared, rebuilt = round_trip(module, images)
    factor = 1 if name == "identity" else 2**levels
    expected = tuple(-(-side // factor) for side in size)
    assert sub.low.shape[:3] == (2, *expected)
    assert sub.low.shape[3] == 3
    assert (sub.high is None) == (name in ("identity", "downsample"))
    if sub.high is not None:
        assert sub.high.shape[:3] == (2, *expected)
    assert jax.tree.map(jnp.shape, prepared) == jax.tree.map(jnp.shape, sub)
    assert (rebuilt is not None) == module.can_synthesize
    if rebuilt is not None:
        assert rebuilt.shape == images.shape


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("decoder", ["paper", "polyphase"])
@pytest.mark.parametrize(
    "encoder, padding", [("paper", "zero"), ("paper", "reflect"), ("polyphase", "reflect")]
)
def test_every_auto_encoder_has_the_same_shapes(
    encoder, padding, decoder, levels, size, frontend_settings
):
    module = build_frontend(
        frontend_settings(encoder=encoder, padding=padding, decoder=decoder, levels=levels)
    )
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    sub, _, rebuilt = round_trip(module, images)
    expected = (2, *(-(-side // 2**levels) for side in size), 3)
    assert sub.low.shape == sub.high.shape == expected
    assert rebuilt.shape == images.shape


@pytest.mark.parametrize(
    "option, value",
    [
        ("name", "wavelet-like"),
        ("encoder", "papers"),
        ("decoder", "none"),
    ],
)
def test_unknown_options_are_named(option, value, frontend_settings):
    with pytest.raises(UserError, match=rf"model\.frontend\.{option} is '?{value}"):
        build_frontend(frontend_settings(**{option: value}))


def downsample(images, levels=1):
    return np.asarray(
        nn.apply(lambda m, x: m.analyze(x, train=False), Downsample(levels))({}, images).low
    )


@pytest.mark.parametrize("levels", [1, 2])
def test_downsample_is_pillows_box_filter(levels):
    image = rng.integers(0, 256, (24, 40, 3)).astype(np.float32)
    factor = 2**levels
    planes = [
        PIL.Image.fromarray(plane, mode=None).resize(
            (40 // factor, 24 // factor), PIL.Image.Resampling.BOX
        )
        for plane in np.moveaxis(image, -1, 0)
    ]
    expected = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    np.testing.assert_allclose(downsample(image[None], levels)[0], expected, rtol=0, atol=1e-4)


def test_downsample_averages_an_odd_edge_alone():
    image = random(1, 5, 3, 3)
    found = downsample(image)
    np.testing.assert_allclose(found[0, 2, 0], image[0, 4, :2].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[0, 2, 1], image[0, 4, 2], rtol=1e-6)


@pytest.mark.parametrize("size", [5, 6, 11])
def test_downsample_to_a_size(size, frontend_settings):
    module = build_frontend(frontend_settings(name="downsample", size=size))
    sub = nn.apply(lambda m, x: m.analyze(x, train=False), module)({}, random(2, 12, 12, 3))
    assert sub.high is None and sub.low.shape == (2, size, size, 3)
    assert module.output_size(12, 12) == (size, size)
    assert module.output_size(12, 24) == (size, 2 * size)


@pytest.mark.parametrize("side", [7, 8])
def test_downsample_needs_a_larger_image(side):
    with pytest.raises(UserError, match=rf"frontend\.size is 8; .* smaller .* {side} pixels"):
        Downsample(size=8).output_size(side, 20)


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("levels", [1, 2])
def test_space_to_depth_splits_off_the_mean_and_loses_nothing(levels, size):
    image = random(2, *size, 3)

    def round_trip(module, x):
        sub = module.analyze(x, train=False)
        return sub, module.synthesize(sub, size)

    sub, rebuilt = nn.apply(round_trip, SpaceToDepth(levels))({}, image)
    np.testing.assert_array_equal(sub.low, downsample(image, levels))
    assert sub.high.shape[-1] == 3 * (4**levels - 1)
    np.testing.assert_allclose(rebuilt, image, rtol=0, atol=1e-5)
    if levels == 1:  # a 2 x 2 block: upper left, upper right, lower left less the mean
        for index, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
            expected = image[:, row, column] - sub.low[:, 0, 0]
            found = sub.high[:, 0, 0, 3 * index : 3 * index + 3]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("block", [2, 4])
def test_space_to_depth_and_back(block):
    x = random(2, 8, 16, 3)
    deep = layers.space_to_depth(x, block)
    assert deep.shape == (2, 8 // block, 16 // block, 3 * block**2)
    np.testing.assert_array_equal(layers.depth_to_space(deep, block), x)


def test_space_to_depth_orders_channels_by_row_column_colour():
    x = random(1, 4, 6, 3)
    deep = np.asarray(layers.space_to_depth(x, 2))
    for row in range(2):
        for column in range(2):
            np.testing.assert_array_equal(
                deep[..., 3 * (2 * row + column) :][..., :3], x[:, row::2, column::2]
            )


def apply_prepare(module, variables, sub, train):
    return nn.apply(lambda m, s: m.prepare(s, train=train), module, mutable=["batch_stats"])(
        variables, sub
    )


def test_sub_images_are_normalised_per_channel(frontend_settings):
    module = build_frontend(frontend_settings(normalise=True))
    scale = np.array([1, 10, 100], np.float32)
    sub = SubImages(low=scale * random(8, 6, 6, 3) + 5, high=0.1 * random(8, 6, 6, 3) - 0.3)
    variables = nn.init(lambda m, s: m.prepare(s, train=False), module)(jax.random.key(0), sub)
    assert "params" not in variables  # no scale, no shift
    prepared, updated = apply_prepare(module, variables, sub, True)
    for name in ("low", "high"):
        raw, image = (np.asarray(getattr(s, name), np.float64) for s in (sub, prepared))
        deviation = np.sqrt(raw.var((0, 1, 2)) + 1e-5)
        np.testing.assert_allclose(image, (raw - raw.mean((0, 1, 2))) / deviation, atol=2e-4)
        stats = updated["batch_stats"][f"norm_{name}"]
        np.testing.assert_allclose(stats["mean"], 0.1 * raw.mean((0, 1, 2)), rtol=1e-4)
        np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * raw.var((0, 1, 2)), rtol=1e-4)


def test_evaluation_uses_the_running_statistics(frontend_settings):
    module = build_frontend(frontend_settings(normalise=True))
    sub = SubImages(low=random(2, 4, 4, 3), high=random(2, 4, 4, 3))
    stats = {
        name: {"mean": jnp.array([1.0, 2, 3]), "var": jnp.array([4.0, 9, 16])}
        for name in ("norm_low", "norm_high")
    }
    prepared, updated = apply_prepare(module, {"batch_stats": stats}, sub, False)
    expected = (sub.low - np.array([1, 2, 3])) / np.sqrt(np.array([4, 9, 16]) + 1e-5)
    np.testing.assert_allclose(prepared.low, expected, rtol=1e-5, atol=1e-6)
    assert jax.tree.all(jax.tree.map(np.array_equal, dict(updated["batch_stats"]), stats))


def test_normalisation_can_be_off(frontend_settings):
    module = build_frontend(frontend_settings(normalise=False))
    sub = SubImages(low=random(2, 4, 4, 3), high=random(2, 4, 4, 3))
    prepared, updated = apply_prepare(module, {}, sub, True)
    assert prepared is sub
    assert not updated


LINEAR = {
    "polyphase": lambda levels: PolyphaseEncoder(
        channels=5, depth=2, activation="none", levels=levels
    ),
    "paper, reflected": lambda levels: PaperEncoder(
        channels=5, depth=2, activation="none", padding="reflect", levels=levels
    ),
}


def perturbed(variables):
    """With biases away from 0, so that they cannot hide."""
    return jax.tree.map(lambda p: p + 0.1 * jnp.ones_like(p), variables)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("encoder", LINEAR)
def test_a_trunk_without_activation_is_affine_and_one_strided_convolution(encoder, levels):
    module = LINEAR[encoder](levels)
    x, y = random(1, 40, 40, 3), random(1, 40, 40, 3)
    variables = perturbed(jax.jit(module.init)(jax.random.key(1), x))
    apply = jax.jit(lambda x: module.apply(variables, x))
    offset = apply(jnp.zeros_like(x))
    mixed, from_x, from_y = apply(2 * x - 3 * y), apply(x), apply(y)
    for name in ("low", "high"):
        constant = getattr(offset, name)
        # The constant part is the same everywhere, borders included: it is one bias.
        np.testing.assert_allclose(constant, constant[:, :1, :1] + 0 * constant, atol=1e-4)
        expected = 2 * getattr(from_x, name) - 3 * getattr(from_y, name) + 2 * constant
        np.testing.assert_allclose(getattr(mixed, name), expected, rtol=1e-3, atol=1e-3)
    # Shifting the image by one stride shifts the sub-images by one pixel, away from the borders.
    shifted = apply(jnp.roll(x, (2**levels, 2**levels), (1, 2)))
    for name in ("low", "high"):
        np.testing.assert_allclose(
            getattr(shifted, name)[:, 4:-4, 4:-4],
            getattr(from_x, name)[:, 3:-5, 3:-5],
            rtol=1e-4,
            atol=1e-4,
        )


@pytest.mark.parametrize("padding, affine", [("zero", False), ("reflect", True)])
def test_zero_padding_of_each_conv_leaves_one_bias_only_inside(padding, affine):
    """Why folding needs ``padding=reflect``: zeros after a bias are not the image's zeros."""
    module = PaperEncoder(channels=4, depth=2, activation="none", padding=padding)
    x = jnp.zeros((1, 16, 16, 3))
    variables = perturbed(jax.jit(module.init)(jax.random.key(1), x))
    low = np.asarray(module.apply(variables, x).low)
    assert np.allclose(low, low[:, 4:5, 4:5], atol=1e-4) == affine


def test_a_relu_trunk_is_not_affine():
    module = PolyphaseEncoder(channels=5, depth=2, activation="relu")
    x = random(1, 8, 8, 3)
    variables = jax.jit(module.init)(jax.random.key(1), x)
    total = module.apply(variables, x).low + module.apply(variables, -x).low
    assert np.abs(total - 2 * module.apply(variables, 0 * x).low).max() > 1e-2
