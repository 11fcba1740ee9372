"""Figures in the sentences on compression are those of the files in results/."""

from tests.figures.conftest import number


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
