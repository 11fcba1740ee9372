"""Figures in the sentences of README and docs are those of the files in results/."""

import csv
import json
import re

import numpy as np
import pytest

from configs import grocery, quickstart, resnet50, vgg16
from tools import scale, tables
from wae_jax.config import settings_from_config
from wae_jax.methods import METHODS

TRAINING_IMAGES = 50_000  # of CIFAR-10


def passes(config):
    """Over the training set, in all stages that run."""
    return round(sum(config.stages[name].epochs for name in config.run_stages), 6)


PASSES = passes(quickstart.get_config("wae-early"))


@pytest.fixture
def rows(root):
    """Function: name of a file in results/ -> its rows, by variant or method."""
    return lambda name: tables.read_rows(root / "results" / f"{name}.csv")


@pytest.fixture
def page(root):
    """Function: path of a document -> its text on one line."""
    return lambda path: " ".join((root / path).read_text().split())


def number(row, column):
    return float(row[column])


def minutes(row):
    return PASSES * TRAINING_IMAGES / number(row, "train_images_per_s") / 60


def span(values):
    """``LEAST to MOST`` in percent."""
    return f"{100 * min(values):.0f} to {100 * max(values):.0f} %"


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


def test_what_the_tables_of_rivals_say(rows, page):
    text = page("docs/compress.md")

    def lost(found, name):
        return f"{100 * (number(found['full'], 'top1') - number(found[name], 'top1')):.1f}"

    def faster(found, name):
        ends = sorted(number(found[name], f"speedup_onnxruntime_batch_{n}") for n in (1, 32))
        return " to ".join(dict.fromkeys(f"{x:.1f}" for x in ends))

    photos, small = rows("grocery_rivals"), rows("cifar10_rivals")
    half, both = "full+thinet-0.5", "full+thinet-0.5+int8"
    assert (
        f"`{half}` loses {lost(photos, half)} points for {faster(photos, half)} times the speed, "
        f"`full+int8` none for {faster(photos, 'full+int8')} times, both together none for "
        f"{faster(photos, both)} times, where `lowres` loses {lost(photos, 'lowres')} for "
        f"{faster(photos, 'lowres')}."
    ) in text
    assert float(lost(photos, "full+int8")) <= 0 and float(lost(photos, both)) <= 0
    assert f"`full+tucker-2x` comes to be {lost(photos, 'full+tucker-2x')[1:]} points" in text
    for name, words in (
        ("wae-early+distill+int8", "times as fast, {} points below `full`"),
        ("wae-fast+thinet-0.5+int8", "times, {} points below."),
    ):
        assert f"{faster(photos, name)} {words.format(lost(photos, name))}" in text
    assert (
        f"run {faster(photos, 'full+taylor-2x')} and {faster(photos, 'full+tucker-2x')} times"
    ) in text
    assert f"and runs {faster(photos, half)} times as fast." in text
    ends = faster(photos, "wae-fast+thinet-0.5+int8")
    assert f"the same steps give {ends} times (above)" in text
    assert "with both it is {}x to {}x as fast".format(*ends.split(" to ")) in page("README.md")
    assert round(float(lost(small, "full+int8")), 1) == 0
    assert f"`full+int8`, none lost for {faster(small, 'full+int8')} times" in text
    assert float(lost(small, "full+tucker-4x")) < 0
    gained = lost(small, "full+tucker-4x").removeprefix("-")
    assert f"{gained} points gained for {faster(small, 'full+tucker-4x')} times" in text
    name = "wae-early+distill+int8"
    assert f"`{name}`, {lost(small, name)} points for {faster(small, name)} times" in text
    for cell in ("ms_onnxruntime_batch_1", "ms_onnxruntime_batch_32"):
        better = [
            each for each in small.values() if float(each["top1"]) > float(small[name]["top1"])
        ]
        assert all(number(each, cell) > number(small[name], cell) for each in better)  # the front
    methods = "taylor", "thinet", "tucker", "cp"
    assert all(float(lost(small, f"full+{method}-2x")) < 0 for method in methods)
    of = [faster(small, f"full+{method}-4x") for method in methods]
    assert (
        "is {} times the speed for `taylor`, {} for `thinet`, {} for `tucker`, {} for `cp`, and {} "
        "for `lowres`."
    ).format(*of, faster(small, "lowres")) in text
    ends = [
        number(small[f"full+{method}-2x"], f"speedup_onnxruntime_batch_{n}")
        for method in methods[1:]
        for n in (1, 32)
    ]
    assert f"all but `taylor` run at {min(ends):.1f} to {max(ends):.1f} times the speed" in text
    twins = [
        (name, f"{name}+distill")
        for method in methods
        for name in (f"full+{method}-{fewer}" for fewer in ("2x", "3.4x", "4x"))
    ]
    gains = [100 * (number(small[b], "top1") - number(small[a], "top1")) for a, b in twins]
    assert (sum(gain < 0 for gain in gains), sum(gain > 0 for gain in gains)) == (9, 3)
    words = "nine of the twelve are worse with it, by up to {:.1f} points, and three better, by up"
    assert f"{words.format(-min(gains))} to {max(gains):.1f}." in text
    full = number(small["full"], "top1")
    assert sum(number(small[name], "top1") > full for name, _ in twins) > len(twins) / 2


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


def test_what_the_tables_of_runtimes_say(rows, page):
    low, beside = {}, {}
    for network, runtimes in (
        ("vgg16", ("", "onnxruntime_", "openvino_")),
        ("resnet50", ("", "onnxruntime_", "openvino_", "torch_")),
    ):
        found = rows(f"{network}_runtimes")
        low[network] = {
            runtime: number(found["lowres"], f"{runtime}speedup_batch_1")
            / number(found["lowres"], "mac_ratio")
            for runtime in runtimes
        }
        beside[network] = span(
            [
                number(found["wae-fast"], column) / number(found["lowres"], column)
                for runtime in runtimes
                for column in (f"{runtime}speedup_batch_1", f"{runtime}speedup_batch_8")
            ]
        )
    least = min(low["resnet50"], key=low["resnet50"].get)
    assert least == "torch_"
    shares = span(low["resnet50"].values()).replace(" to", " (PyTorch) to")
    assert (
        f"`lowres` itself reaches {span(low['vgg16'].values())} of its MAC ratio for VGG16, and "
        f"{shares} for ResNet-50. `wae-fast` has {beside['vgg16']} of the speed-up of `lowres` for "
        f"VGG16, and {beside['resnet50']} for ResNet-50, over runtimes and batch sizes."
    ) in page("docs/results.md")


def test_what_the_tables_of_performance_say(rows, page):
    text = page("docs/performance.md")
    found = {name: rows(f"{name}_cpu") for name in ("vgg16", "resnet50")}

    def speedups(network, method):
        row = found[network][method]
        return [number(row, f"speedup_batch_{size}") for size in (1, 8)]

    lost = {
        network: [
            f"{100 * (1 - ours / theirs):.0f} %"
            for ours, theirs in zip(
                speedups(network, "wae-fast"), speedups(network, "lowres"), strict=True
            )
        ]
        for network in found
    }
    assert (
        f"`wae-fast` is within {' and '.join(lost['vgg16'])} of its speed-up for VGG16 (batch 1 "
        f"and 8) and within {' and '.join(lost['resnet50'])} for ResNet-50."
    ) in text

    def pair(network, method):
        return ", ".join(f"{value:.2f}x" for value in speedups(network, method))

    assert f"VGG16's `wae-fast` (batch 1 and 8: {pair('vgg16', 'wae-fast')})" in text
    assert f"`wae` ({pair('vgg16', 'wae')})" in text
    assert f"ResNet-50's `wae-fast` ({pair('resnet50', 'wae-fast')})" in text


def test_what_is_read(root, page):
    with open(root / "results" / "data_bench.csv") as file:
        found = {(row["pipeline"], row["cores"]): row for row in csv.DictReader(file)}
    one, two = (found["wae_jax, threads", cores] for cores in "12")
    workers = found["wae_jax, 2 workers", "2"]
    share = number(two, "peak_memory_mb") / number(workers, "peak_memory_mb")
    text = page("docs/data.md")
    assert share == pytest.approx(2 / 3, abs=0.02) and "memory is two thirds of that with" in text
    assert f"({number(one, 'kb_per_image'):.0f} KB each" in text
    text, rate = page("docs/scale.md"), number(one, "images_per_s")
    assert f"{rate:,.0f} photos a second on one core" in text
    assert f"112 cores would read {round(112 * rate, -3):,.0f} if" in text
    assert f"Two cores read {number(two, 'images_per_s') / rate:.2f} times what one did" in text


def test_many_chips(root, page):
    text, last, shares = page("docs/scale.md"), {}, []
    job = scale.count(settings_from_config(resnet50.get_config("full")), 1000)
    seconds = job.checkpoint_bytes / 300e6
    for name in ("full", "wae_early"):
        with open(root / "results" / f"scale_{name}.csv") as file:
            found = list(csv.DictReader(file))
        last[name] = round(number(found[-1], "needed_per_host"), -3)
        shares += [seconds / number(row, "step_ms") for row in found]  # of 1,000 steps
    assert f"needs {last['full']:,.0f} (full) to {last['wae_early']:,.0f} (`wae-early`)" in text
    assert (
        f"All-reduced in a step: {job.gradient_bytes / 1e6:.0f} MB of gradients, and "
        f"{job.statistics_bytes / 1e6:.1f} MB of the norms' statistics. A checkpoint has "
        f"{job.checkpoint_bytes / 1e6:.0f} MB and takes {seconds:.1f} s."
    ) in text
    assert f"wait {seconds:.1f} s every 1,000 steps, {span(shares)} of their time" in text


def test_every_file_is_named_with_its_date(root):
    text = (root / "docs" / "results.md").read_text()
    every = {path.stem for path in (root / "results").glob("*.csv")}
    date, dated = "", set()
    for row in re.findall(r"^\| (\[\w+\.csv\].*) \|$", text, re.M):
        cells = row.split(" | ")
        date = date if cells[2].startswith("the same") else cells[2][:10]
        for name in re.findall(r"\[(\w+)\.csv\]", cells[0]):
            dated.add(name)
            record = root / "results" / f"{name}.env.json"
            if record.exists():
                assert json.loads(record.read_text())["date"][:10] == date, name
            else:
                assert f"`{name}.csv`" in text, f"{name}: no environment, and the page is silent"
    assert dated == every
