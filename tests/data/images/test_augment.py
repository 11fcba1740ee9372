"""Colour jitter and RandAugment, against Pillow."""

import itertools

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest

from tests.data.images.conftest import SIZE
from wae_jax.config import ColourJitterSettings, RandAugmentSettings
from wae_jax.data.images import augment, image_ops


def transformed(image, *matrix):
    return image.transform(
        image.size,
        PIL.Image.Transform.AFFINE,
        matrix,
        PIL.Image.Resampling.BILINEAR,
        fillcolor=image_ops.FILL,
    )


def turned_hue(image, turn):
    hue, saturation, value = image.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(int(turn * 255) % 256)
    return PIL.Image.merge("HSV", (PIL.Image.fromarray(turned), saturation, value)).convert("RGB")


def enhancer(name):
    return lambda image, factor: getattr(PIL.ImageEnhance, name)(image).enhance(factor)


# Ours, Pillow's, the values to try, and how far a level may be off: on average, and in 99 % of the
# pixels. Pillow rounds blends down and we to the nearest; its hue has another rounding of HSV; its
# affine transform has 8 bits of bilinear weights and OpenCV 5.
OPS = {
    "brightness": (image_ops.brightness, enhancer("Brightness"), (0.0, 0.3, 1.0, 1.9), 0.5, 1),
    "contrast": (image_ops.contrast, enhancer("Contrast"), (0.0, 0.3, 1.0, 1.9), 0.5, 1),
    "saturation": (image_ops.saturation, enhancer("Color"), (0.0, 0.3, 1.0, 1.9), 0.55, 1),
    "sharpness": (image_ops.sharpness, enhancer("Sharpness"), (0.0, 0.3, 1.0, 1.9), 0.5, 1),
    "hue": (image_ops.hue, turned_hue, (-0.5, -0.1, 0.0, 0.2), 1.0, 6),
    "posterize": (image_ops.posterize, PIL.ImageOps.posterize, (1, 4, 7, 8), 0, 0),
    "solarize": (image_ops.solarize, PIL.ImageOps.solarize, (0, 100, 255), 0, 0),
    "autocontrast": (
        lambda x, _: image_ops.autocontrast(x),
        lambda x, _: PIL.ImageOps.autocontrast(x),
        (0,),
        0,
        0,
    ),
    "equalize": (
        lambda x, _: image_ops.equalize(x),
        lambda x, _: PIL.ImageOps.equalize(x),
        (0,),
        0,
        0,
    ),
    "shear_x": (
        image_ops.shear_x,
        lambda x, m: transformed(x, 1, m, 0, 0, 1, 0),
        (-0.3, 0.2),
        0.8,
        5,
    ),
    "shear_y": (
        image_ops.shear_y,
        lambda x, m: transformed(x, 1, 0, 0, m, 1, 0),
        (-0.3, 0.2),
        0.8,
        5,
    ),
    "translate_x": (
        image_ops.translate_x,
        lambda x, m: transformed(x, 1, 0, m * SIZE, 0, 1, 0),
        (-0.45, 0.101),
        0.8,
        5,
    ),
    "translate_y": (
        image_ops.translate_y,
        lambda x, m: transformed(x, 1, 0, 0, 0, 1, m * SIZE),
        (-0.45, 0.101),
        0.8,
        5,
    ),
    "rotate": (
        image_ops.rotate,
        lambda x, m: x.rotate(m, PIL.Image.Resampling.BILINEAR, fillcolor=image_ops.FILL),
        (-30, 0, 17),
        0.8,
        5,
    ),
}


@pytest.mark.parametrize("name", OPS)
def test_operations_do_what_pillows_do(name, photos):
    ours, pillows, values, mean, most = OPS[name]
    for photo, value in itertools.product((*photos[:2], photos[2] // 3 + 40), values):
        before = photo.copy()
        found = ours(photo, value)
        expected = np.asarray(pillows(PIL.Image.fromarray(photo), value))
        assert found.shape == photo.shape
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(photo, before)
        off = np.abs(found.astype(int) - expected)
        assert off.mean() <= mean
        assert np.percentile(off, 99) <= most


@pytest.mark.parametrize("name", [name for name in OPS if not name.startswith("translate")])
def test_flat_images_are_no_trouble(name):
    ours, pillows, values, *_ = OPS[name]
    flat = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    inside = np.s_[3:5, 3:5]
    for value in values:
        expected = np.asarray(pillows(PIL.Image.fromarray(flat), value))
        assert np.abs(ours(flat, value)[inside].astype(int) - expected[inside]).max() <= 6


def jitter(**strengths):
    none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    return augment.ColourJitter(ColourJitterSettings(**none | strengths))


def test_jitter_draws_factors_around_one_and_turns_around_zero(photos):
    numbers = np.array([0.0, 0.25, 0.75, 0.5, 0.0])  # the last: in this order
    photo = photos[0]
    expected = image_ops.saturation(image_ops.contrast(image_ops.brightness(photo, 0.6), 0.9), 1.1)
    found = jitter(brightness=0.4, contrast=0.2, saturation=0.2)(photo, numbers)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        jitter(hue=0.2)(photo, np.full(5, 0.75)), image_ops.hue(photo, 0.1)
    )
    assert not jitter(brightness=3.0)(photo, np.zeros(5)).any()  # never a negative factor


def test_jitter_comes_in_every_order(photos):
    op, small = jitter(brightness=0.9, contrast=0.9, saturation=0.9, hue=0.4), photos[0][:16, :16]
    found = {op(small, np.array([0.1, 0.2, 0.8, 0.9, n / 24 + 0.01])).tobytes() for n in range(24)}
    assert len(found) == 24


def test_rand_augment_has_the_papers_fourteen():
    assert list(augment.RAND_AUGMENT_OPS) == [
        "identity",
        "autocontrast",
        "equalize",
        "rotate",
        "solarize",
        "colour",
        "posterize",
        "contrast",
        "brightness",
        "sharpness",
        "shear_x",
        "shear_y",
        "translate_x",
        "translate_y",
    ]


# Torchvision's table at magnitude 30 of 30: what the operation gets, with either sign.
LARGEST = {
    "rotate": ("rotate", 30.0, -30.0),
    "solarize": ("solarize", 0.0, 0.0),
    "colour": ("saturation", 1.9, 0.1),
    "posterize": ("posterize", 4, 4),
    "contrast": ("contrast", 1.9, 0.1),
    "brightness": ("brightness", 1.9, 0.1),
    "sharpness": ("sharpness", 1.9, 0.1),
    "shear_x": ("shear_x", 0.3, -0.3),
    "shear_y": ("shear_y", 0.3, -0.3),
    "translate_x": ("translate_x", 150 / 331, -150 / 331),
    "translate_y": ("translate_y", 150 / 331, -150 / 331),
}


@pytest.mark.parametrize("name", LARGEST)
def test_rand_augments_largest_magnitude(name, photos, monkeypatch):
    op, up, down = LARGEST[name]
    seen = []
    monkeypatch.setattr(image_ops, op, lambda image, value: seen.append(value))
    for sign in (1, -1):
        augment.RAND_AUGMENT_OPS[name](photos[0], sign)
    assert seen == pytest.approx([up, down])


@pytest.mark.parametrize("name", augment.RAND_AUGMENT_OPS)
def test_rand_augment_at_magnitude_zero_changes_nothing(name, photos):
    if name not in ("autocontrast", "equalize"):  # they have no magnitude
        np.testing.assert_array_equal(augment.RAND_AUGMENT_OPS[name](photos[0], 0.0), photos[0])


def test_rand_augment_applies_what_was_drawn_in_order(photos):
    op = augment.RandAugment(RandAugmentSettings(ops=2, magnitude=15.0))
    names = list(augment.RAND_AUGMENT_OPS)
    numbers = [(names.index("rotate") + 0.5) / 14, 0.2, (names.index("colour") + 0.5) / 14, 0.7]
    assert op.draws == 4
    expected = image_ops.saturation(image_ops.rotate(photos[0], 15.0), 0.55)
    np.testing.assert_array_equal(op(photos[0], np.array(numbers)), expected)
