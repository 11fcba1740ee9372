"""Figures in the sentences on speed are those of the files in results/."""

import csv

import pytest

from configs import resnet50
from tests.figures.conftest import number, span
from tools import scale
from wae_jax.config import settings_from_config


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
