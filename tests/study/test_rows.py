"""Figures of made-up runs, against those computed by hand."""

import numpy as np
import pytest

from tests.study.made_up import BATCH, MS, ONE, RIGHT, chosen_of, times_of
from wae_jax.study.rows import best_of, curve_of, make_rows


def test_points_above_the_curve_at_equal_time(chosen):
    rows = {row.variant: row for row in make_rows(chosen, times_of(MS))}
    # At 1.5 ms the curve is half way between 60 and 72 %.
    above = rows["wae"].above_curve[ONE]
    assert above.value == pytest.approx(0.74 - 0.66)
    # It has 12 images that one of the curve's two networks lacks, and 2 that both lack.
    each = np.zeros(100)
    each[60:72], each[72:74] = 0.5, 1.0
    error = each.std() / 10
    assert above.value == pytest.approx(each.mean())
    assert above.low == pytest.approx(0.08 - 1.96 * error, abs=0.3 * error)
    assert above.high == pytest.approx(0.08 + 1.96 * error, abs=0.3 * error)
    assert rows["wae"].above_curve[BATCH].value == pytest.approx(0.08)
    for name in ("full", "lowres-112", "lowres-160"):
        assert rows[name].above_curve == {ONE: None, BATCH: None}
    # No other variant had a teacher: nothing but full to hold it against is no curve.
    assert rows["wae+distill"].above_curve[ONE] is None


def test_networks_that_are_taught_have_their_own_curve():
    right = RIGHT | {"lowres-112+distill": 70}
    ms = MS | {"lowres-112+distill": 1.0}
    rows = {row.variant: row for row in make_rows(chosen_of(right), times_of(ms))}
    # From 70 % at 1 ms to full's 80 % at 4 ms.
    expected = 0.76 - (0.70 + 0.10 * 0.5 / 3)
    assert rows["wae+distill"].above_curve[ONE].value == pytest.approx(expected)
    assert rows["wae"].above_curve[ONE].value == pytest.approx(0.08)


def test_a_slower_network_that_is_no_better_is_not_on_the_curve():
    right = RIGHT | {"lowres-160": 58, "full": 60}
    rows = {row.variant: row for row in make_rows(chosen_of(right), times_of(MS))}
    assert rows["wae"].above_curve[ONE].value == pytest.approx(0.74 - 0.60)
    points = {"a": (3.0, 0.7), "b": (1.0, 0.6), "c": (2.0, 0.6), "d": (1.0, 0.5), "e": (4.0, 0.65)}
    assert best_of(points) == ["b", "a"]


@pytest.mark.parametrize(
    "name, curve",
    [
        ("wae", ["full", "lowres", "lowres-96"]),
        ("wae+distill", ["lowres+distill", "full"]),
    ],
)
def test_what_is_on_the_curve(name, curve):
    variants = ["full", "lowres", "lowres-96", "lowres-fixres", "lowres+distill", "wae", name]
    assert curve_of(variants, name) == curve
    assert curve_of(["full+distill", "full"], "wae+distill") == ["full+distill"]


@pytest.mark.parametrize("low", ["lowres", "lowres-112"])
def test_gap_recovered(low):
    chosen = chosen_of({"full": 90, low: 80, "lowres-160": 84, "wae": 88})
    rows = {row.variant: row for row in make_rows(chosen, None)}
    gaps = {name: row.gap_recovered.value for name, row in rows.items()}
    assert gaps == pytest.approx({"full": 1, low: 0, "lowres-160": 0.4, "wae": 0.8})
    assert [row.baseline for row in rows.values()] == [True, True, False, False]
    del chosen["full"]
    assert make_rows(chosen, None)[-1].gap_recovered is None


def test_a_variant_is_held_against_runs_with_its_own_seeds(run_of):
    images = np.arange(100)
    counts = {"full": {0: 90, 1: 80}, "lowres": {0: 70, 1: 40}, "wae": {0: 80}, "stem": {7: 70}}
    chosen = {
        name: [run_of(name, seed, right=images < count) for seed, count in each.items()]
        for name, each in counts.items()
    }
    ms = {"full": 4.0, "lowres": 1.0, "wae": 2.5, "stem": 2.5}
    rows = {row.variant: row for row in make_rows(chosen, times_of(ms))}
    assert [row.top1.value for row in rows.values()] == pytest.approx([0.85, 0.55, 0.8, 0.7])
    # With seed 0: half of the gap, and on the line from 70 to 90 %.
    assert rows["wae"].gap_recovered.value == pytest.approx(0.5)
    assert rows["wae"].above_curve[ONE].value == pytest.approx(0)
    # No other run has its seed: against the means of all.
    assert rows["stem"].gap_recovered.value == pytest.approx(0.5)
    assert rows["stem"].above_curve[ONE].value == pytest.approx(0)
    assert rows["full"].gap_recovered.value == 1 and rows["lowres"].gap_recovered.value == 0
