"""Colour jitter, RandAugment, mixup and cutmix: against Pillow, and the same wherever computed."""

import itertools

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import scipy.stats

from wae_jax import data
from wae_jax.config import ColourJitterSettings, RandAugmentSettings, settings_from_config
from wae_jax.data import order
from wae_jax.data.images import augment, image_ops, transforms
from wae_jax.data.pipeline.loader import make_train_loader
from wae_jax.errors import UserError

SIZE = 224


@pytest.fixture(scope="module")
def photos():
    """uint8 (4, 224, 224, 3): real photos."""
    source = data.open_source("foolbox_photos", "validation")
    images = data.DecodedRecords(source).read(np.arange(4))[0]
    return data.make_transform("imagenet", SIZE, train=False)(images, np.empty((4, 0)))


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


def mixed(mix, images, labels, seed=0):
    numbers = order.uniforms(seed, 0, np.arange(len(images)), mix.draws)
    return mix(images.copy(), labels, numbers)


def smooth_images(count, size=32):
    """uint8 (count, size, size, 3): image i is flat at 20 + i."""
    return np.broadcast_to(
        20 + np.arange(count, dtype=np.uint8)[:, None, None, None], (count, size, size, 3)
    ).copy()


def other_of(count):
    """Each position's partner: 1, 0, 3, 2, ..."""
    return np.arange(count) ^ 1


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_blends_by_the_labels_weight(alpha, photos):
    images, labels = np.concatenate([photos] * 4), np.arange(16, dtype=np.int32)
    out = mixed(augment.Mix(alpha, 0.0), images, labels)
    weight = out["label_weight"].astype(float)
    assert {name: out[name].dtype for name in out} == {
        "image": np.uint8,
        "label": np.int32,
        "other_label": np.int32,
        "label_weight": np.float32,
    }
    expected = (
        weight[:, None, None, None] * images[out["label"]]
        + (1 - weight[:, None, None, None]) * images[out["other_label"]]
    )
    assert np.abs(out["image"] - expected).max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(out["other_label"], out["label"] ^ 1)
    assert set(out["label"]) == set(range(16))
    assert (weight >= 0.5).all()
    np.testing.assert_array_equal(weight[::2], weight[1::2])


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_cutmix_exchanges_a_box_and_counts_its_pixels(alpha):
    count, labels = 64, np.arange(64, dtype=np.int32)
    images = smooth_images(count)
    out = mixed(augment.Mix(0.0, alpha), images, labels)
    own = (out["image"] == images).all(-1)
    np.testing.assert_array_equal(out["image"][~own], images[other_of(count)][~own])
    share = own.mean(axis=(1, 2))
    np.testing.assert_allclose(np.maximum(share, 1 - share), out["label_weight"], rtol=1e-6)
    np.testing.assert_array_equal(out["label"], np.where(share >= 0.5, labels, labels ^ 1))
    np.testing.assert_array_equal(out["other_label"], out["label"] ^ 1)
    for kept in own:  # what came from the other image is one rectangle
        rows, columns = np.flatnonzero((~kept).any(1)), np.flatnonzero((~kept).any(0))
        assert (~kept).sum() == len(rows) * len(columns)
    assert len(set(share)) > 16


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixups_share_follows_beta(alpha):
    images, labels = smooth_images(4000, size=1), np.zeros(4000, np.int32)
    weights = mixed(augment.Mix(alpha, 0.0), images, labels)["label_weight"][::2]
    larger = scipy.stats.beta(alpha, alpha)
    found = scipy.stats.kstest(weights, lambda x: larger.cdf(x) - larger.cdf(1 - x))
    assert found.pvalue > 0.01


def test_with_both_on_each_pair_gets_either():
    count = 400
    images = smooth_images(count)
    images[1::2] += 100  # far enough apart that a blend has levels of its own
    out = mixed(augment.Mix(0.8, 1.0), images, np.zeros(count, np.int32))
    from_either = (out["image"] == images) | (out["image"] == images[other_of(count)])
    cut = from_either.all(axis=(1, 2, 3))
    assert 0.4 < cut.mean() < 0.6


@pytest.fixture(scope="module")
def settings(tiny_config):
    """Function: the data settings of the tiny config with changes."""

    def settings(**changes):
        config = tiny_config({f"data.{key}": value for key, value in changes.items()})
        return settings_from_config(config).data

    return settings


ALL = {
    "augmentation": "small",
    "crop_padding": 4,
    "image_size": 32,
    "colour_jitter.brightness": 0.4,
    "colour_jitter.hue": 0.1,
    "rand_augment.ops": 2,
    "mixup": 0.5,
    "cutmix": 1.0,
}


@pytest.fixture(scope="module")
def batches(cifar_train, settings):
    """Function: training batches first..last-1 with everything on."""

    def batches(first, last, changes=None, **options):
        d = settings(**dict(ALL, **changes or {}))
        with make_train_loader(
            data.DecodedRecords(cifar_train),
            data.train_transform(d),
            batch_size=16,
            seed=3,
            start_batch=first,
            num_batches=last - first,
            mix=data.make_mix(d),
            **options,
        ) as loader:
            return list(loader)

    return batches


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_processes_make_the_batches_of_one(count, batches):
    parts = [batches(5, 8, process_index=i, process_count=count) for i in range(count)]
    joined = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(joined, batches(5, 8))


def test_a_resumed_stream_goes_on_alike(batches):
    whole = batches(0, 6)
    assert_same(batches(0, 3, workers=1) + batches(3, 6, threads=3), whole)
    assert not np.array_equal(whole[0]["image"], whole[1]["image"])


def test_each_epoch_augments_anew(settings, photos):
    transform = data.train_transform(settings(**ALL | {"augmentation": "imagenet"}))
    images = [
        transform(photos, order.uniforms(3, epoch, np.arange(4), transform.draws))
        for epoch in (0, 0, 1)
    ]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()


def test_options_leave_crops_and_records_as_they_were(batches, settings):
    """Comparing runs with an option on and off compares the option alone."""
    off = {
        key: 0 if key == "rand_augment.ops" else 0.0
        for key in ALL
        if key not in ("augmentation", "crop_padding", "image_size")
    }
    plain = batches(0, 2, off)
    assert plain[0].keys() == {"image", "label", "mask"}
    identity = augment.Augmented(
        data.train_transform(settings(**ALL | off)),
        (augment.RandAugment(RandAugmentSettings(ops=3, magnitude=0.0)),),
    )
    assert identity.draws == 3 + 6
    only_mixed = batches(0, 2, off | {"cutmix": 1.0})
    for before, after in zip(plain, only_mixed, strict=True):
        partners = before["image"][other_of(16)]
        same = (after["image"] == before["image"]) | (after["image"] == partners)
        assert same.all()
        own = after["label"] == before["label"]
        np.testing.assert_array_equal(
            after["label"], np.where(own, before["label"], before["label"][other_of(16)])
        )


def test_nothing_is_wrapped_where_nothing_is_on(settings):
    found = data.train_transform(settings(augmentation="imagenet", image_size=64))
    assert found == transforms.ImageNetTrain(64)
    milder = data.train_transform(settings(augmentation="imagenet", min_crop_area=0.35))
    assert milder.scale == (0.35, 1.0)
    assert data.make_mix(settings()) is None


@pytest.mark.parametrize("kind", ["small", "imagenet"])
def test_augmented_batches_keep_shape_and_place(kind, settings, cifar_train):
    """Each image comes from its own record, whichever crop is under it."""
    d = settings(**ALL | {"augmentation": kind, "rand_augment.ops": 0})
    transform = data.train_transform(d)
    images = data.DecodedRecords(cifar_train).read(np.arange(8))[0]
    numbers = order.uniforms(0, 0, np.arange(8), transform.draws)
    whole = transform(images, numbers)
    assert whole.shape == (8, 32, 32, 3)
    for i in range(8):
        np.testing.assert_array_equal(transform(images[i : i + 1], numbers[i : i + 1])[0], whole[i])
    crop = transform.crop(images, numbers[:, : transform.crop.draws])
    assert (whole != crop).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"colour_jitter.brightness": -0.1}, r"colour_jitter\.brightness is -0\.1; .* at least 0$"),
        ({"colour_jitter.contrast": float("inf")}, r"colour_jitter\.contrast is inf"),
        ({"colour_jitter.saturation": float("nan")}, r"colour_jitter\.saturation is nan"),
        ({"colour_jitter.hue": 0.6}, r"colour_jitter\.hue is 0\.6; .* between 0 and 0\.5$"),
        ({"rand_augment.ops": -1}, r"rand_augment\.ops is -1"),
        ({"rand_augment.magnitude": 31.0}, r"rand_augment\.magnitude is 31\.0; .* 0 and 30$"),
        ({"mixup": -1.0}, r"config\.data\.mixup is -1\.0"),
        ({"cutmix": float("inf")}, r"config\.data\.cutmix is inf"),
    ],
)
def test_options_out_of_range_are_refused(changes, message, settings):
    with pytest.raises(UserError, match=message):
        settings(**changes)


def test_pairs_may_not_span_processes(batches):
    with pytest.raises(UserError, match=r"batch size is 16; .* multiple of 32"):
        batches(0, 1, process_count=16)
    augment.Mix(1.0, 0.0).check_batch_size("key", 16, 8)
