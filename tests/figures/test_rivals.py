"""Figures in the sentences on compression are those of the files in results/."""

import numpy as np

from tests.figures.conftest import number


def test_what_the_table_of_rivals_on_photos_says(rows, page):
    text = page("docs/compress.md")

    def lost(found, name):
        return f"{100 * (number(found['full'], 'top1') - number(found[name], 'top1')):.1f}"

    def faster(found, name):
        ends = sorted(number(found[name], f"speedup_onnxruntime_batch_{n}") for n in (1, 32))
        return " to ".join(dict.fromkeys(f"{x:.1f}" for x in ends))

    photos = rows("grocery_rivals")
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


def test_what_the_table_of_rivals_on_cifar10_says(rows, page):
    text, found = page("docs/compress.md"), rows("cifar10_rivals")
    onnxruntime = [f"onnxruntime_batch_{n}" for n in (1, 32)]

    def points(name, than="full"):
        """Of top-1 above another network, in the mean of the seeds."""
        ours, theirs = (
            np.mean([float(top1) for top1 in found[each]["top1_per_seed"].split()])
            for each in (name, than)
        )
        return 100 * (ours - theirs)

    def faster(*names):
        ends = [number(found[name], f"speedup_{cell}") for name in names for cell in onnxruntime]
        return " to ".join(dict.fromkeys(f"{f(ends):.1f}" for f in (min, max)))

    def on_front(name, cell):
        timed = [each for each in found.values() if each[f"ms_{cell}"]]
        return not any(
            number(each, f"ms_{cell}") <= number(found[name], f"ms_{cell}")
            and number(each, "top1") > number(found[name], "top1")
            for each in timed
        )

    assert (
        f"`full+taylor-4x` loses {-points('full+taylor-4x'):.1f} points for "
        f"{faster('full+taylor-4x')} times the speed, `full+tucker-4x` gains "
        f"{points('full+tucker-4x'):.1f} for {faster('full+tucker-4x')} times; `wae-early+distill` "
        f"loses {-points('wae-early+distill'):.1f} for {faster('wae-early+distill')} times."
    ) in text
    assert all(
        on_front("wae-early+distill", cell) for cell in ("batch_1", "batch_32", onnxruntime[1])
    )
    assert not on_front("wae-early+distill", onnxruntime[0])
    assert on_front("full+taylor-4x", onnxruntime[0])
    assert (
        f"`full` loses {-points('full+int8'):.1f} points for {faster('full+int8')} times the speed"
    ) in text
    assert all(
        number(found[f"{name}+int8"], f"ms_{cell}") > number(found[name], f"ms_{cell}")
        for name in ("lowres", "wae-fast", "wae-early+distill")
        for cell in onnxruntime
    )
    methods, fewer = ("taylor", "thinet", "tucker", "cp"), ("2x", "3.4x", "4x")
    assert all(points(f"full+{method}-2x") > 0 for method in methods)
    assert (
        "a quarter of them is {} times the speed for `taylor`, {} for `thinet`, {} for `tucker`, "
        "{} for `cp`, and {} for `lowres`."
    ).format(*(faster(f"full+{method}-4x") for method in methods), faster("lowres")) in text
    half = faster(*(f"full+{method}-2x" for method in methods))
    assert f"At half of them all four run at {half} times the speed" in text
    alone = [f"full+{method}-{times}" for method in methods for times in fewer]
    gains = [points(f"{name}+distill", than=name) for name in alone]
    assert (sum(gain < -0.01 for gain in gains), f"{max(gains):.1f}") == (10, "0.1")
    assert f"ten of the twelve are worse with it, by up to {-min(gains):.1f} points" in text
    assert sum(points(name) > 0 for name in alone) > len(alone) / 2
