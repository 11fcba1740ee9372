"""The correlation of I_L with the half-resolution image."""

import numpy as np
import pytest

from wae_jax.evaluation import low_image

rng = np.random.default_rng(11)


def photos(count=6, size=12):
    """Random images with a slope, another in each, and unequal channels."""
    slope = np.linspace(0, 2, size)[None, :, None, None] * rng.normal(size=(count, 1, 1, 3))
    noise = rng.normal(size=(count, size, size, 3)) * (0.5, 1.0, 2.0)
    return (slope + noise).astype(np.float32)


def halved(images):
    count, height, width, _ = images.shape
    return images.reshape(count, height // 2, 2, width // 2, 2, 3).mean((2, 4))


def found(images, low, parts=1):
    """The figure, its sums gathered over so many batches."""
    totals = {}
    for rows in np.array_split(np.arange(len(images)), parts):
        for name, values in low_image.moments(images[rows], low[rows]).items():
            totals[name] = totals.get(name, 0.0) + np.asarray(values, np.float64).sum(0)
    return low_image.correlation(
        totals["low_mean"] / len(images), totals["low_product"] / len(images)
    )


def by_least_squares(images, low):
    wanted = halved(images.astype(np.float64)).reshape(-1, 3)
    known = np.column_stack([low.reshape(len(wanted), -1), np.ones(len(wanted))])
    rest = wanted - known @ np.linalg.lstsq(known, wanted, rcond=None)[0]
    return np.sqrt(1 - np.square(rest).sum() / np.square(wanted - wanted.mean(0)).sum())


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_it_is_that_of_least_squares_over_all_pixels(channels, parts):
    images = photos()
    mix = rng.normal(size=(3, channels))
    low = (halved(images) @ mix + rng.normal(size=(6, 6, 6, channels))).astype(np.float32)
    expected = by_least_squares(images, low)
    assert 0.3 < expected < 0.95
    assert found(images, low, parts) == pytest.approx(expected, rel=1e-5)


def test_false_colours_contrast_and_brightness_cost_nothing():
    images = photos()
    low = halved(images) @ np.array([[0, -3, 0.1], [2, 0, 0], [0, 1, 5]]) + np.array([40, -9, 0.5])
    assert found(images, low.astype(np.float32)) == pytest.approx(1, abs=1e-4)


def test_a_checkerboard_costs():
    images = photos()
    board = np.where(np.indices((6, 6)).sum(0) % 2, 1.0, -1.0)[None, :, :, None]
    low = (halved(images) * board).astype(np.float32)
    assert found(images, low) < 0.3


def test_channels_that_tell_nothing_more_change_nothing():
    """A constant one, of which only rounding is left, and one that is the sum of others."""
    images = photos()
    low = (halved(images) + rng.normal(size=(6, 6, 6, 3))).astype(np.float32)
    more = [low, np.full_like(low[..., :1], 7.3), low.sum(-1, keepdims=True)]
    expected = by_least_squares(images, low)
    assert found(images, np.concatenate(more, -1)) == pytest.approx(expected, rel=1e-4)
    assert found(images, np.full_like(low, 7.3)) == 0


@pytest.mark.parametrize("case", ["one colour", "not a number"])
def test_there_is_none_without_variance(case):
    images, low = photos(), halved(photos())
    if case == "one colour":
        images = np.full_like(images, 100.3)
    else:
        low[2, 0, 0, 0] = np.nan
    assert found(images, low) is None


@pytest.mark.parametrize("size, low_size", [(12, 6), (12, 3), (13, 7), (13, 4), (12, 12)])
def test_the_half_resolution_image(size, low_size):
    """By the mean of each block, of what there is of it at an odd border."""
    images = photos(2, size)
    expected = images
    while expected.shape[1] > low_size:
        odd = expected.shape[1] % 2
        expected = halved(np.pad(expected, ((0, 0), (0, odd), (0, odd), (0, 0)), mode="edge"))
    result = low_image.half_resolution(images, np.zeros((2, low_size, low_size, 3)))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="no halving"):
        low_image.half_resolution(photos(2, 12), np.zeros((2, 5, 5, 3)))
