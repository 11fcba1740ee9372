"""Tables and pictures of made-up runs, against figures computed by hand."""

import numpy as np
import pytest

from wae_jax.bench.timing import Timings
from wae_jax.errors import UserError
from wae_jax.study import report
from wae_jax.study.measure import Times
from wae_jax.study.plot import plot_rows

ONE, BATCH = ("jax", 1), ("jax", 32)
RIGHT = {"full": 80, "lowres-112": 60, "lowres-160": 72, "wae": 74, "wae+distill": 76}
MS = {"full": 4.0, "lowres-112": 1.0, "lowres-160": 2.0, "wae": 1.5, "wae+distill": 1.5}


def times_of(ms, warning=""):
    """Times with these at batch 1, and a tenth of them per image at batch 32."""
    cells = {
        cell: Timings({name: np.full(4, factor * x) for name, x in ms.items()}, (2,))
        for cell, factor in ((ONE, 1.0), (BATCH, 3.2))
    }
    return Times({"load": {"jax": {"warning": warning}}}, {name: name for name in ms}, cells)


def chosen_of(run_of, right):
    images = np.arange(100)
    return {name: [run_of(name, right=images < count)] for name, count in right.items()}


@pytest.fixture
def chosen(run_of):
    return chosen_of(run_of, RIGHT)


def test_points_above_the_curve_at_equal_time(chosen):
    rows = {row.variant: row for row in report.make_rows(chosen, times_of(MS))}
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


def test_networks_that_are_taught_have_their_own_curve(run_of):
    right = RIGHT | {"lowres-112+distill": 70}
    ms = MS | {"lowres-112+distill": 1.0}
    rows = {row.variant: row for row in report.make_rows(chosen_of(run_of, right), times_of(ms))}
    # From 70 % at 1 ms to full's 80 % at 4 ms.
    expected = 0.76 - (0.70 + 0.10 * 0.5 / 3)
    assert rows["wae+distill"].above_curve[ONE].value == pytest.approx(expected)
    assert rows["wae"].above_curve[ONE].value == pytest.approx(0.08)


def test_a_slower_network_that_is_no_better_is_not_on_the_curve(run_of):
    right = RIGHT | {"lowres-160": 58, "full": 60}
    rows = {row.variant: row for row in report.make_rows(chosen_of(run_of, right), times_of(MS))}
    assert rows["wae"].above_curve[ONE].value == pytest.approx(0.74 - 0.60)
    points = {"a": (3.0, 0.7), "b": (1.0, 0.6), "c": (2.0, 0.6), "d": (1.0, 0.5), "e": (4.0, 0.65)}
    assert report.best_of(points) == ["b", "a"]


@pytest.mark.parametrize(
    "name, curve",
    [
        ("wae", ["full", "lowres", "lowres-96"]),
        ("wae+distill", ["lowres+distill", "full"]),
    ],
)
def test_what_is_on_the_curve(name, curve):
    variants = ["full", "lowres", "lowres-96", "lowres-fixres", "lowres+distill", "wae", name]
    assert report.curve_of(variants, name) == curve
    assert report.curve_of(["full+distill", "full"], "wae+distill") == ["full+distill"]


@pytest.mark.parametrize("low", ["lowres", "lowres-112"])
def test_gap_recovered(run_of, low):
    chosen = chosen_of(run_of, {"full": 90, low: 80, "lowres-160": 84, "wae": 88})
    rows = {row.variant: row for row in report.make_rows(chosen, None)}
    gaps = {name: row.gap_recovered.value for name, row in rows.items()}
    assert gaps == pytest.approx({"full": 1, low: 0, "lowres-160": 0.4, "wae": 0.8})
    assert [row.baseline for row in rows.values()] == [True, True, False, False]
    del chosen["full"]
    assert report.make_rows(chosen, None)[-1].gap_recovered is None


def test_seeds_are_averaged_and_their_spread_is_told(run_of):
    images = np.arange(100)
    chosen = {
        "full": [run_of("full", right=images < 90)],
        "wae": [run_of("wae", seed, right=images < 80 + 4 * seed) for seed in (0, 1)],
    }
    record = report.record(report.make_rows(chosen, None)[1])
    assert record["top1"] == 0.82 and record["top1_per_seed"] == "0.8000 0.8400"
    assert record["top1_sd"] == pytest.approx(0.04 / 2**0.5, abs=1e-4)


def test_a_variant_is_held_against_runs_with_its_own_seeds(run_of):
    images = np.arange(100)
    counts = {"full": {0: 90, 1: 80}, "lowres": {0: 70, 1: 40}, "wae": {0: 80}, "stem": {7: 70}}
    chosen = {
        name: [run_of(name, seed, right=images < count) for seed, count in each.items()]
        for name, each in counts.items()
    }
    ms = {"full": 4.0, "lowres": 1.0, "wae": 2.5, "stem": 2.5}
    rows = {row.variant: row for row in report.make_rows(chosen, times_of(ms))}
    assert [row.top1.value for row in rows.values()] == pytest.approx([0.85, 0.55, 0.8, 0.7])
    # With seed 0: half of the gap, and on the line from 70 to 90 %.
    assert rows["wae"].gap_recovered.value == pytest.approx(0.5)
    assert rows["wae"].above_curve[ONE].value == pytest.approx(0)
    # No other run has its seed: against the means of all.
    assert rows["stem"].gap_recovered.value == pytest.approx(0.5)
    assert rows["stem"].above_curve[ONE].value == pytest.approx(0)
    assert rows["full"].gap_recovered.value == 1 and rows["lowres"].gap_recovered.value == 0


def test_columns(chosen):
    records = [report.record(row) for row in report.make_rows(chosen, times_of(MS))]
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
    untimed = report.record(report.make_rows(chosen, None)[3])
    assert untimed["above_curve"] == "" and "ms_batch_1" not in untimed


def test_table_and_warnings(chosen, run_of):
    text = report.table(report.make_rows(chosen, times_of(MS)))
    (line,) = [line for line in text.splitlines() if line.startswith("| wae ")]
    assert "| 74.00 % |" in line and " 70 % |" in line and "+8.00 [" in line
    assert "1.500 (2.67x)" in line
    (line,) = [line for line in text.splitlines() if line.startswith("| full ")]
    assert "100 %" not in line and "[" not in line
    assert report.warnings(chosen, times_of(MS)) == []
    chosen["new"] = [run_of("new", right=[True] * 100, load={"warning": "busy"})]
    disturbed, untimed, training = report.warnings(chosen, times_of(MS, "others ran"))
    assert disturbed == "others ran" and "no times of new:" in untimed and "new-0" in training


def test_int8_is_in_the_panels_of_the_runtimes_that_have_it(run_of, monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: drawn.append(figure))
    right = {"full": 80, "full+taylor-2x": 78, "full+taylor-2x+int8": 77, "lowres": 60}
    names = list(right)
    cells = {
        (runtime, 1): Timings({name: np.full(4, 4.0 - n) for n, name in enumerate(names)}, (2,))
        for runtime in ("jax", "onnxruntime")
    }
    del cells["jax", 1].ms["full+taylor-2x+int8"]
    times = Times({"load": {}}, {name: name for name in right}, cells)
    rows = report.make_rows(chosen_of(run_of, right), times)
    assert rows[2].ms["jax", 1] is None and rows[2].speedup["jax", 1] is None
    assert rows[2].ms["onnxruntime", 1] == 2.0 and rows[2].above_curve["jax", 1] is None
    assert rows[2].above_curve["onnxruntime", 1] is not None
    plot_rows(rows, tmp_path / "study.png")
    shown = [{c.get_label() for c in axis.containers} for axis in drawn[0].axes]
    assert shown == [set(right) - {"full+taylor-2x+int8"}, set(right)]
    looks = {
        c.get_label(): (c.lines[0].get_marker(), c.lines[0].get_color())
        for c in drawn[0].axes[1].containers
    }
    assert len(set(looks.values())) == 4 and looks["full"][0] == looks["lowres"][0]
    assert looks["full"][1] == looks["full+taylor-2x"][1] != looks["lowres"][1]
    (legend,) = drawn[0].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[-4:] == names and "Pareto front" in texts


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


def test_the_picture_has_the_curves_and_all_points(chosen, monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: drawn.append(f) or save(f, *a, **k))
    ms = {name: x for name, x in MS.items() if name != "lowres-160"}
    plot_rows(report.make_rows(chosen, times_of(ms)), tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 10_000
    one, batch = drawn[0].axes
    (curve,) = [line for line in one.lines if line.get_label() == "low-resolution curve"]
    assert curve.get_xydata().tolist() == [[1.0, 60.0], [4.0, 80.0], [4.0, 80.0]]
    shown = {container.get_label() for container in one.containers}
    assert shown == set(ms)
    (front,) = [line for line in one.lines if line.get_label() == "Pareto front"]
    assert front.get_xydata().tolist() == [[1.0, 60.0], [1.5, 76.0], [4.0, 80.0]]
    assert (one.get_title(), batch.get_title()) == ("JAX, batch 1", "JAX, batch 32")
