"""Augmented batches: the same wherever they are computed, and what their options refuse."""

import numpy as np
import pytest

from tests.data.images.conftest import other_of
from wae_jax import data
from wae_jax.config import RandAugmentSettings
from wae_jax.data import order
from wae_jax.data.images import augment, transforms
from wae_jax.data.pipeline.loader import make_train_loader
from wae_jax.errors import UserError

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
