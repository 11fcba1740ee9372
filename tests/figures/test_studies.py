"""Figures in the sentences on front ends are those of the files in results/."""

import json

import numpy as np

from configs import grocery, quickstart, vgg16
from tests.figures.conftest import number
from wae_jax.methods import METHODS

TRAINING_IMAGES = 50_000  # of CIFAR-10


def passes(config):
    """Over the training set, in all stages that run."""
    return round(sum(config.stages[name].epochs for name in config.run_stages), 6)


PASSES = passes(quickstart.get_config("wae-early"))


def minutes(row):
    return PASSES * TRAINING_IMAGES / number(row, "train_images_per_s") / 60


def test_methods_get_as_many_passes(page):
    assert {passes(quickstart.get_config(method)) for method in METHODS} == {PASSES}
    assert f"All pass {PASSES:g} times" in " ".join(quickstart.__doc__.split())
    assert {passes(grocery.get_config(method)) for method in METHODS} == {2.0}
    assert "All pass twice" in " ".join(grocery.__doc__.split())
    rivals = "wae", "full", "lowres", "wavelet-cdf97", "decomposition"
    assert len({passes(vgg16.get_config(method)) for method in rivals}) == 1
    assert "get as many passes over the training set" in page("docs/paper.md")


def test_points_above_low_resolution(rows, page):
    found = rows("cifar10")
    row = found["wae-early"]
    full, low, wae = (
        f"{100 * number(found[name], 'top1'):.2f}" for name in ("full", "lowres", "wae-early")
    )
    seeds = len(row["top1_per_seed"].split())
    assert (
        f"`full` has {full} %, `lowres` {low} and `wae-early` {wae} "
        f"({['one seed', 'two seeds', 'three seeds'][seeds - 1]})."
    ) in page("README.md")

    def points(column):
        return f"{100 * number(row, column):.1f}"

    one, many = "above_curve", "above_curve_batch_32"
    assert (
        f"At equal time `wae-early` is {points(one)} points above plain low resolution at batch 1 "
        f"(95 % interval {points(f'{one}_low')} to {points(f'{one}_high')}) and {points(many)} at "
        f"batch 32 ({points(f'{many}_low')} to {points(f'{many}_high')})."
    ) in page("README.md")


def test_quickstart(rows, page):
    found = rows("quickstart")
    for document in ("README.md", "docs/results.md"):
        assert f"{PASSES:g} passes over" in page(document), document
    total = sum(map(minutes, found.values()))
    assert f"trains for {total:.0f} minutes on 2 cores" in page("README.md")
    text = page("docs/results.md")
    full, low, wae = (
        f"{100 * number(found[name], 'top1'):.2f}" for name in ("full", "lowres", "wae-early")
    )
    assert f"{full}, {low} and {wae} %)" in text
    assert (
        f"Full resolution trained for {minutes(found['full']):.0f} of its minutes, low resolution "
        f"for {minutes(found['lowres']):.0f} ("
    ) in text


def test_what_the_tables_of_cifar10_say(rows, page):
    text, found = page("docs/results.md"), rows("cifar10")

    def points(one, other):
        return f"{100 * (number(found[one], 'top1') - number(found[other], 'top1')):.1f}"

    def seeds(name):
        return [100 * float(top1) for top1 in found[name]["top1_per_seed"].split()]

    assert {len(seeds(name)) for name in found} == {3}
    alone = {n: row for n, row in found.items() if not n.endswith("+distill")}
    best = sorted(alone, key=lambda name: number(alone[name], "top1"))
    assert best[-2:] == ["wae-early", "full"]
    two = [n for n in best if n not in ("full", "lowres", "stem") and not n.endswith("-early")]
    assert two[-2:] == ["wavelet-cdf97", "wae-fast"]
    more = [
        100 * (number(found["wae-early"], column) / number(found["lowres"], column) - 1)
        for column in ("ms_batch_1", "ms_batch_32")
    ]
    each = np.subtract(seeds("wae-early"), seeds("wavelet-cdf97"))
    assert (
        f"`wae-early` takes {more[0]:.0f} % longer than low resolution at batch 1, and "
        f"{more[1]:.0f} % at batch 32 (JAX). Learning the split is worth "
        f"{points('wae-early', 'haar-early')} points over Haar bands, and `wae-early` is "
        f"{points('wae-early', 'wavelet-cdf97')} points above the better wavelet with two branches "
        f"({min(each):.1f} to {max(each):.1f} with each seed)."
    ) in text
    share = number(found["wae-fast"], "macs") / number(found["wae"], "macs")
    behind = points("wae-fast", "wavelet-cdf97")
    assert float(behind) < np.ptp(seeds("wae-fast"))
    assert f"`wae-fast` is first, with {100 * share:.0f} % of `wae`'s MACs" in text
    assert f"CDF 9/7 wavelets are {behind} points behind it" in text
    assert (
        f"is {points('wae-fast', 'wae')} points behind `wae-fast`, and its seeds are "
        f"{np.ptp(seeds('wae')):.1f} points apart: the first was its best."
    ) in text
    assert seeds("wae")[0] == max(seeds("wae"))
    # Above the curve: the whole interval.
    above = {name for name in two if number(found[name], "above_curve_low") > 0}
    assert above == {"wae-fast", "wavelet-cdf97"}
    assert all(number(found[name], "above_curve") < 0.01 for name in above)
    below = {name for name in two if number(found[name], "above_curve_batch_32_low") <= 0}
    assert below == {"wae", "decomposition"}
    assert abs(float(points("stem", two[-1]))) < 0.5
    stem, early = (
        f"{100 * number(found[name], 'above_curve_onnxruntime_batch_1'):.1f}"
        for name in ("stem", "wae-early")
    )
    assert abs(float(stem) - float(early)) < 0.3
    assert f"as far above the curve as `wae-early` ({stem} and {early} points at batch 1)" in text
    onnx, jax = (
        number(found["cdf97-early"], column) / number(found["haar-early"], column)
        for column in ("ms_onnxruntime_batch_1", "ms_batch_1")
    )
    assert f"takes {onnx:.1f} times as long there as `haar-early`" in text
    assert f"at batch 1, in JAX {jax:.2f} times." in text
    taught = [name.removesuffix("+distill") for name in found if name.endswith("+distill")]
    gains = {name: float(points(f"{name}+distill", name)) for name in taught}
    assert set(taught) == set(alone) - {"full"} and len(taught) == 12
    assert (
        f"All twelve gain, in the mean of three seeds, by {min(gains.values()):.1f} to "
        f"{max(gains.values()):.1f} points; `wae-early` gains {gains['wae-early']:.1f}, and stays "
        "first."
    ) in text
    assert max(taught, key=lambda name: number(found[f"{name}+distill"], "top1")) == "wae-early"
    better = points("decomposition+distill", "wae+distill"), points("decomposition", "wae")
    assert f"is {better[0]} points better than `wae` here, and {better[1]} without a" in text
    assert min(map(float, better)) > 0


def test_what_is_said_of_sub_images(root, page):
    """Of the records: the table has no such columns."""

    def figures(variant, key):
        paths = [*(root / "results" / "cifar10").glob(f"{variant}-[0-9].json")]
        assert len(paths) == 3
        return [json.loads(path.read_text())["figures"][key] for path in paths]

    text = page("docs/results.md")
    correlation, psnr = (min(figures("wae-early", key)) for key in ("low_correlation", "psnr"))
    assert correlation >= 0.95 and psnr >= 28
    assert (
        f"it correlates by {correlation:.4f}, and the decoder brings the whole image back at "
        f"{psnr:.1f} dB (the least of"
    ) in text
    others = {
        key: [value for variant in ("wae", "wae-fast") for value in figures(variant, key)]
        for key in ("low_correlation", "psnr")
    }
    ends = [f"{f(others['low_correlation']):.2f}" for f in (min, max)]
    decibels = [f"{f(others['psnr']):.0f}" for f in (min, max)]
    assert f"it does not: {' to '.join(ends)}, at {' to '.join(decibels)} dB." in text


def test_what_the_table_of_photos_says(rows, page):
    found = rows("grocery_resnet50")
    longer = number(found["wae"], "ms_batch_1") / number(found["lowres"], "ms_batch_1") - 1
    top1 = 100 * number(found["wae"], "top1")
    assert (
        f"has {top1:.1f} % alone and takes {100 * longer:.0f} % longer than low resolution "
        "(JAX, batch 1)"
    ) in page("docs/results.md")
    seeds = {
        name: [100 * float(top1) for top1 in found[name]["top1_per_seed"].split()]
        for name in ("lowres+distill", "wae-early+distill", "wae-fast")
    }
    first, second = np.subtract(seeds["wae-early+distill"], seeds["lowres+distill"])
    text = page("docs/results.md")
    assert f"`wae-early+distill` is {-first:.1f} points behind `lowres+distill` with the" in text
    assert f"first seed, and {second:.1f} before it with the second" in text
    assert "Seeds differ by up to three points" in text
    assert 2.5 < np.ptp(seeds["wae-fast"]) < 3.5
