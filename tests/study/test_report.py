"""The CSV, the table and the sentences of made-up runs."""

import numpy as np
import pytest

from tests.study.made_up import MS, times_of
from wae_jax.errors import UserError
from wae_jax.study import report
from wae_jax.study.rows import make_rows


def test_seeds_are_averaged_and_their_spread_is_told(run_of):
    images = np.arange(100)
    chosen = {
        "full": [run_of("full", right=images < 90)],
        "wae": [run_of("wae", seed, right=images < 80 + 4 * seed) for seed in (0, 1)],
    }
    record = report.record(make_rows(chosen, None)[1])
    assert record["top1"] == 0.82 and record["top1_per_seed"] == "0.8000 0.8400"
    assert record["top1_sd"] == pytest.approx(0.04 / 2**0.5, abs=1e-4)


def test_columns(chosen):
    records = [report.record(row) for row in make_rows(chosen, times_of(MS))]
    assert list(records[0]) == [
        "variant", "top1", "top1_per_seed", "top1_sd",
        "gap_recovered", "gap_recovered_low", "gap_recovered_high",
        "above_curve", "above_curve_low", "above_curve_high",
        "above_curve_batch_32", "above_curve_batch_32_low", "above_curve_batch_32_high",
        "macs", "mac_ratio", "ms_batch_1", "ms_batch_32",
        "speedup_batch_1", "speedup_batch_1_low", "speedup_batch_1_high",
        "speedup_batch_32", "speedup_batch_32_low", "speedup_batch_32_high",
        "train_images_per_s", "epochs", "images_seen", "hours", "teacher",
    ]  # fmt: skip
    wae = records[3]
    # An old record does not say how many epochs its images are.
    assert (wae["epochs"], wae["images_seen"], wae["teacher"]) == ("", 80, "")
    assert (wae["above_curve"], wae["ms_batch_1"], wae["ms_batch_32"]) == (0.08, 1.5, 0.15)
    assert wae["speedup_batch_1"] == pytest.approx(4 / 1.5, abs=1e-3)
    # Another runtime adds columns of its own.
    assert report.label(("onnxruntime", 1)) == "onnxruntime_batch_1"
    untimed = report.record(make_rows(chosen, None)[3])
    assert untimed["above_curve"] == "" and "ms_batch_1" not in untimed


def test_table_and_warnings(chosen, run_of):
    text = report.table(make_rows(chosen, times_of(MS)))
    (line,) = [line for line in text.splitlines() if line.startswith("| wae ")]
    assert "| 74.00 % |" in line and " 70 % |" in line and "+8.00 [" in line
    assert "1.500 (2.67x)" in line
    (line,) = [line for line in text.splitlines() if line.startswith("| full ")]
    assert "100 %" not in line and "[" not in line
    assert report.warnings(chosen, times_of(MS)) == []
    chosen["new"] = [run_of("new", right=[True] * 100, load={"warning": "busy"})]
    disturbed, untimed, training = report.warnings(chosen, times_of(MS, "others ran"))
    assert disturbed == "others ran" and "no times of new:" in untimed and "new-0" in training


def test_two_networks_are_compared_seed_by_seed(run_of):
    right = np.zeros(20, bool)
    right[:5] = True
    chosen = {
        "a": [run_of("a", 0, right=right), run_of("a", 1, right=~right)],
        "b": [run_of("b", 1, right=right), run_of("b", 2, right=right)],
        "c": [run_of("c", 3, right=right)],
    }
    (sentence,) = report.compare(chosen, "a", "b")
    assert sentence.startswith("a-1 and b-1: 15 images only the first has right, 5 only the second")
    assert "p = 0.041" in sentence  # 2 * sum of C(20, 0..5) / 2**20
    with pytest.raises(UserError, match="no seed in common"):
        report.compare(chosen, "a", "c")
