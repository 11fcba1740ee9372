"""Figures in the sentences on compression are those of the files in results/."""

import re

import numpy as np
import pytest

from tests.figures.conftest import number

ONNXRUNTIME = "onnxruntime_batch_1", "onnxruntime_batch_32"
BOTH = "wae-early+thinet-0.5+distill"


def top1(row):
    """In percent, the mean of the seeds."""
    return 100 * np.mean([float(each) for each in row["top1_per_seed"].split()])


def ends(values):
    """``LEAST to MOST``."""
    return " to ".join(dict.fromkeys(f"{f(values):.1f}" for f in (min, max)))


def faster(*networks):
    """Their speed-ups in ONNX Runtime, both batch sizes."""
    return ends([number(row, f"speedup_{cell}") for row in networks for cell in ONNXRUNTIME])


def test_what_the_table_of_rivals_on_photos_says(rows, page):
    text, photos = page("docs/compress.md"), rows("grocery_rivals")

    def lost(name):
        return f"{top1(photos['full']) - top1(photos[name]):.1f}"

    half, both = "full+thinet-0.5", "full+thinet-0.5+int8"
    assert (
        f"`{half}` loses {lost(half)} points for {faster(photos[half])} times the speed, "
        f"`full+int8` none for {faster(photos['full+int8'])} times, both together none for "
        f"{faster(photos[both])} times, where `lowres` loses {lost('lowres')} for "
        f"{faster(photos['lowres'])}."
    ) in text
    assert float(lost("full+int8")) <= 0 and float(lost(both)) <= 0
    assert f"`full+tucker-2x` comes to be {lost('full+tucker-2x')[1:]} points" in text
    for name, words in (
        ("wae-early+distill+int8", "times as fast, {} points below `full`"),
        ("wae-fast+thinet-0.5+int8", "times, {} points below."),
    ):
        assert f"{faster(photos[name])} {words.format(lost(name))}" in text
    assert (
        f"run {faster(photos['full+taylor-2x'])} and {faster(photos['full+tucker-2x'])} times"
    ) in text
    assert f"and runs {faster(photos[half])} times as fast." in text
    least, most = faster(photos["wae-fast+thinet-0.5+int8"]).split(" to ")
    assert f"the same steps give {least} to {most} times (above)" in text
    assert f"with both it is {least}x to {most}x as fast" in page("README.md")


def on_front(name, cell, found):
    """Whether no network is more accurate in at most its time."""
    timed = [row for row in found.values() if row[f"ms_{cell}"]]
    return not any(
        number(row, f"ms_{cell}") <= number(found[name], f"ms_{cell}")
        and top1(row) > top1(found[name])
        for row in timed
    )


def test_what_the_table_of_rivals_on_cifar10_says(rows, page):
    text, found = page("docs/compress.md"), rows("cifar10_rivals")

    def points(name, than="full"):
        """With the seeds that it has."""
        ours, theirs = (found[each]["top1_per_seed"].split() for each in (name, than))
        return 100 * np.mean([float(a) - float(b) for a, b in zip(ours, theirs, strict=False)])

    assert (
        f"`full+taylor-4x` loses {-points('full+taylor-4x'):.1f} points for "
        f"{faster(found['full+taylor-4x'])} times the speed, `full+tucker-4x` gains "
        f"{points('full+tucker-4x'):.1f} for {faster(found['full+tucker-4x'])} times; "
        f"`wae-early+distill` loses {-points('wae-early+distill'):.1f} for "
        f"{faster(found['wae-early+distill'])} times, and `{BOTH}` {-points(BOTH):.1f} for "
        f"{faster(found[BOTH])} times (the first seed alone)."
    ) in text
    cells = "batch_1", "batch_32", *ONNXRUNTIME
    assert all(on_front(BOTH, cell, found) for cell in cells)
    name = "wae-early+distill"
    assert [on_front(name, cell, found) for cell in cells] == [True, True, False, True]
    assert (
        f"`full` loses {-points('full+int8'):.1f} points for {faster(found['full+int8'])} times "
        "the speed"
    ) in text
    assert all(
        number(found[f"{name}+int8"], f"ms_{cell}") > number(found[name], f"ms_{cell}")
        for name in ("lowres", "wae-fast", "wae-early+distill")
        for cell in ONNXRUNTIME
    )
    methods, fewer = ("taylor", "thinet", "tucker", "cp"), ("2x", "3.4x", "4x")
    every = *methods, "asymmetric"
    assert all(points(f"full+{method}-2x") > 0 for method in every)
    assert (
        "a quarter of them is {} times the speed for `taylor`, {} for `thinet`, {} for `tucker`, "
        "{} for `cp`, {} for `asymmetric`, and {} for `lowres`."
    ).format(
        *(faster(found[f"full+{method}-4x"]) for method in every), faster(found["lowres"])
    ) in text
    half = faster(*(found[f"full+{method}-2x"] for method in methods))
    assert (
        f"`asymmetric` runs at {faster(found['full+asymmetric-2x'])} times the speed of `full` in "
        f"ONNX Runtime, the other four at {half} times"
    ) in text
    alone = [f"full+{method}-{times}" for method in methods for times in fewer]
    gains = [points(f"{name}+distill", than=name) for name in alone]
    assert (sum(gain < -0.01 for gain in gains), f"{max(gains):.1f}") == (10, "0.1")
    assert f"two seeds ten are worse with it, by up to {-min(gains):.1f} points" in text
    assert sum(points(name) > 0 for name in alone) > len(alone) / 2


def test_what_the_table_of_as_many_passes_says(rows, page):
    text, found, before = page("docs/compress.md"), rows("cifar10_longer"), rows("cifar10_rivals")
    full, taught = found["full"], found["wae-early+distill"]
    smaller = {name: row for name, row in found.items() if name.startswith("full+")}
    cells = "batch_1", "batch_32", *ONNXRUNTIME
    front = {name for name in found for cell in cells if on_front(name, cell, found)}
    assert front == {"full", "wae-early+distill", "lowres+distill"}
    assert all(
        top1(row) < top1(found["wae-early"])
        and all(number(row, f"ms_{c}") > number(found["wae-early"], f"ms_{c}") for c in cells)
        for row in smaller.values()
    )
    best = max(smaller.values(), key=top1)
    assert best is found["full+tucker-4x"]
    assert top1(found["wae-early"]) == pytest.approx(top1(best), abs=0.05)
    lost = top1(full) - top1(taught)
    assert f"is {lost:.1f} points below `full`, for {faster(taught)} times its speed" in text
    gained = {name: top1(row) - top1(before[name]) for name, row in found.items()}
    assert (
        f"`full` gains {gained['full']:.1f} points from the passes, `wae-early` "
        f"{gained['wae-early']:.1f} and `lowres` {gained['lowres']:.1f}."
    ) in text
    below = [
        ends([top1(full) - top1(row) for name, row in table.items() if name.startswith("full+")])
        for table in (
            {name: row for name, row in before.items() if "int8" not in name},
            smaller,
        )
    ]
    assert f"is {below[0]} points below this `full`; with 12 passes, as here, {below[1]}." in text
    assert {number(row, "epochs") for row in smaller.values()} == {12.0}
    assert (
        f"`full+tucker-4x` is {gained['full+tucker-4x']:.1f} points better than with 4.8 and 4.8, "
        f"`full+taylor-4x` {-gained['full+taylor-4x']:.1f} and `full+cp-4x` "
        f"{-gained['full+cp-4x']:.1f} worse."
    ) in text
    share, early = (number(table["wae-early"], "gap_recovered") for table in (found, before))
    points = number(found["wae-early"], "above_curve_onnxruntime_batch_1")
    assert (
        f"`wae-early` then recovers {100 * share:.0f} % of the gap ({100 * early:.0f} % before, "
        f"with the same two seeds), and is {100 * points:.1f} points above the low-resolution curve"
    ) in page("docs/results.md")
    here, above = (number(table["full"], "ms_onnxruntime_batch_1") for table in (found, before))
    assert f"takes {here:.3f} ms in ONNX Runtime here, {above:.3f} above" in text


def test_what_as_many_passes_give_wae(rows, page):
    """Set beside what the table of rivals has, with 4.8 passes twice."""
    longer, found = rows("cifar10_longer"), rows("cifar10_rivals")
    rivals = {
        name: row
        for name, row in found.items()
        if re.fullmatch(r"full\+\w+-[\d.]+x(\+distill)?", name)
    }
    taught, alone = longer["wae-early+distill"], longer["wae-early"]
    assert {number(row, "epochs") for row in (*rivals.values(), taught)} == {9.6}
    better = [name for name, row in rivals.items() if top1(row) > top1(taught)]
    assert better == ["full+taylor-2x"]
    assert faster(found["full+taylor-2x"]) == "1.0"
    small = [row for name, row in rivals.items() if "-2x" not in name]
    assert all(
        number(found["wae-early"], f"ms_{cell}") < 1.01 * number(row, f"ms_{cell}")  # as fast
        for row in small
        for cell in ("batch_1", "batch_32", *ONNXRUNTIME)
    )
    assert (
        "it is more accurate than what Taylor, ThiNet, Tucker and CP leave of `full` at 3.4 or 4 "
        "times fewer MACs, and as fast or faster."
    ) in page("README.md")
    ahead = {
        name: row
        for name, row in rivals.items()
        if "distill" not in name and top1(row) > top1(alone) + 0.05
    }
    half = {name for name in rivals if name.endswith("-2x")}
    assert {*ahead} == {*half, "full+tucker-3.4x", "full+cp-3.4x"} and len(half) == 5
    points = ends([top1(row) - top1(alone) for row in ahead.values()])
    said = f"by {points} points, at {faster(*ahead.values())} times the speed of `full`."
    assert said in page("docs/compress.md")
