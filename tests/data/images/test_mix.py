"""Mixup and cutmix of a batch's pairs."""

import numpy as np
import pytest
import scipy.stats

from tests.data.images.conftest import other_of
from wae_jax.data import order
from wae_jax.data.images import augment


def mixed(mix, images, labels, seed=0):
    numbers = order.uniforms(seed, 0, np.arange(len(images)), mix.draws)
    return mix(images.copy(), labels, numbers)


def smooth_images(count, size=32):
    """uint8 (count, size, size, 3): image i is flat at 20 + i."""
    return np.broadcast_to(
        20 + np.arange(count, dtype=np.uint8)[:, None, None, None], (count, size, size, 3)
    ).copy()


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
