"""Statistics on the same images, against what can be computed by hand."""

import math

import numpy as np
import pytest

from wae_jax.study import paired


def test_the_curve_is_linear_between_its_points_and_level_beyond():
    times = [4.0, 1.0, 2.0]  # in any order
    assert paired.curve_weights(times, 3.0).tolist() == [0.5, 0.0, 0.5]
    assert paired.curve_weights(times, 1.25).tolist() == pytest.approx([0.0, 0.75, 0.25])
    assert paired.curve_weights(times, 2.0).tolist() == [0.0, 0.0, 1.0]
    assert paired.curve_weights(times, 0.5).tolist() == [0.0, 1.0, 0.0]
    assert paired.curve_weights(times, 9.0).tolist() == [1.0, 0.0, 0.0]


def test_intervals_are_those_of_paired_differences():
    # 400 images, of which 100 only the first network has right, 60 only the second.
    one, other = np.zeros(400), np.zeros(400)
    one[:200], other[100:260] = 1, 1
    found = paired.bootstrap(np.stack([one, other], axis=1), resamples=4000)
    assert found.values.tolist() == [0.5, 0.4]
    difference = found.combined(np.array([1.0, -1.0]))
    assert difference.value == pytest.approx(0.1)
    error = math.sqrt((160 / 400 - 0.1**2) / 400)  # of a mean of -1, 0 and 1
    assert difference.low == pytest.approx(0.1 - 1.96 * error, abs=0.15 * error)
    assert difference.high == pytest.approx(0.1 + 1.96 * error, abs=0.15 * error)
    alone = found.combined(np.array([1.0, 0.0]))
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)


def test_images_are_drawn_with_replacement_and_the_same_at_each_call():
    correct = np.eye(3)[:, :2]
    found = paired.bootstrap(correct, resamples=500)
    assert np.array_equal(found.resampled, paired.bootstrap(correct, resamples=500).resampled)
    # Of three images each can come up none to three times; both networks see the same draw.
    assert set(np.unique(np.rint(found.resampled * 3))) == {0, 1, 2, 3}
    assert found.resampled.sum(axis=1).max() <= 1 + 1e-9


def test_a_share_of_a_gap():
    right = np.zeros((1000, 3))  # full, low, method
    right[:900, 0], right[:700, 1], right[:850, 2] = 1, 1, 1
    found = paired.bootstrap(right)
    gap, part = np.array([1.0, -1.0, 0.0]), np.array([0.0, -1.0, 1.0])
    share = found.share(part, gap)
    assert share.value == pytest.approx(0.75)
    # Given the images in the gap, 150 of 200 are recovered.
    error = math.sqrt(0.75 * 0.25 / 200)
    assert share.low == pytest.approx(0.75 - 1.96 * error, abs=0.2 * error)
    assert share.high == pytest.approx(0.75 + 1.96 * error, abs=0.2 * error)
    assert found.share(part, -gap) is None


def test_nothing_is_known_of_a_share_of_a_gap_that_may_not_exist():
    right = np.zeros((20, 3))
    right[:11, 0], right[10:20, 1], right[:15, 2] = 1, 1, 1
    share = paired.bootstrap(right).share(np.array([0.0, -1.0, 1.0]), np.array([1.0, -1.0, 0.0]))
    assert share.value == pytest.approx(5)
    assert (share.low, share.high) == (-math.inf, math.inf)


def test_mcnemar_by_hand():
    one = np.array([1, 1, 1, 1, 1, 0, 1, 0], bool)
    other = np.array([0, 0, 0, 0, 0, 1, 1, 0], bool)
    # 5 to 1: twice the chance of at most one head in six tosses.
    assert paired.mcnemar(one, other) == (5, 1, pytest.approx(2 * (1 + 6) / 64))
    assert paired.mcnemar(other, one)[:2] == (1, 5)
    assert paired.mcnemar(one, one) == (0, 0, 1.0)
