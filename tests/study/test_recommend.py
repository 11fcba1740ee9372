"""What methods would gain: measured on a tiny network, and put into words on made-up figures."""

import dataclasses

import pytest

from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.methods import set_method
from wae_jax.study import verdict
from wae_jax.study.recommend import (
    FRONT_END,
    LIGHT,
    TRUNK,
    Choice,
    Found,
    equal_time_side,
    recommend,
)

METHODS = ("full", "lowres", "wae-fast", "haar-early", "stem", "lowres-12")


@pytest.fixture(scope="module", params=["onnxruntime", "jax"])
def measured(request, tiny_config):
    settings = {m: settings_from_config(set_method(tiny_config(), m)) for m in METHODS}
    # One that cannot be: the others are measured all the same.
    own = tiny_config({"model.backbone.name": "tests.export.modules:Readme"})
    settings["wae"] = settings_from_config(set_method(own, "stem"))
    return request.param, recommend(settings, request.param, seconds=0.01)


def test_all_methods_are_measured(measured):
    runtime, found = measured
    assert sorted(c.method for c in found.choices) == sorted(METHODS)
    speedups = [c.speedup[0] for c in found.choices]
    assert speedups == sorted(speedups, reverse=True)
    assert list(found.impossible) == ["wae"] and "knows no stem" in found.impossible["wae"]
    full = found.of("full")
    assert full.speedup == (1.0, 1.0, 1.0) and full.mac_ratio == 1.0
    assert full.predicted == pytest.approx(1.0)
    for c in found.choices:
        assert c.learned == (c.method == "wae-fast")
        assert c.macs == sum(c.part_macs.values()) == pytest.approx(full.macs / c.mac_ratio)
        assert c.ms > 0 and c.predicted > 0 and c.parts[FRONT_END] >= 0
        assert (c.parts[LIGHT] > 0) == (c.part_macs[LIGHT] > 0) == (c.method == "wae-fast")
        in_int8 = runtime == "onnxruntime" and c.method in ("full", "lowres", "wae-fast")
        assert (c.int8 is not None) == (c.int8_ms is not None) == in_int8
        if in_int8:
            assert c.int8_ms > 0 and c.int8[1] <= c.int8[0] <= c.int8[2]


def test_the_network_itself_must_be_possible(tiny_config):
    wrong = settings_from_config(
        set_method(tiny_config({"model.backbone.name": "tests.nowhere:Nothing"}), "full")
    )
    with pytest.raises(UserError, match="nowhere"):
        recommend({"full": wrong, "lowres": wrong}, "jax", seconds=0.01)
    with pytest.raises(UserError, match=r"no runtime 'torch'; there are: jax, onnxruntime"):
        recommend({}, "torch")


def choice(method, ms, *, macs, front=1.0, light=0.0, spread=0.05):
    speedup = 40.0 / ms
    trunk = ms - front - light
    return Choice(
        method,
        method.startswith("wae"),
        macs,
        400 / macs,
        ms,
        (speedup, speedup * (1 - spread), speedup * (1 + spread)),
        speedup,
        {FRONT_END: front, LIGHT: light, TRUNK: trunk},
        {FRONT_END: 5, LIGHT: 5 if light else 0, TRUNK: macs - 5},
    )


PAYING = [
    choice("lowres", 10.0, macs=100),
    choice("wae-early", 12.0, macs=110),
    choice("lowres-128", 14.0, macs=130),
    choice("wae", 30.0, macs=130, front=2.0, light=16.0),
    choice("full", 40.0, macs=400),
]


def question(**changes):
    fields = {
        "network": "vgg",
        "image_size": 224,
        "batch_size": 1,
        "where": "Some Runtime on a CPU",
        "config": "--config=c.py",
        "budget_ms": 0.0,
    }
    return verdict.Question(**fields | changes)


def test_what_pays_is_said_with_its_rival():
    text = verdict.as_text(question(), Found(PAYING, {"stem": "it has none"}))
    assert "WAE pays here: wae-early is 3.33x [3.17, 3.50] as fast as full (12 against 40" in text
    assert "plain low resolution at 120 pixels, which takes as long" in text
    assert "--config=c.py --variants=full,lowres,lowres+distill,wae-early,wae-early+distill" in text
    assert "stem: not possible: it has none" in text
    assert "| wae-early" in text and "lowres-120" in text


def test_what_does_not_pay_is_said_with_what_eats_it():
    slow = [c for c in PAYING if c.method != "wae-early"]
    slow = [choice("wae", 36.0, macs=130, front=2.0, light=22.0), *slow]
    slow = [c for c in slow if c.method != "wae" or c.ms == 36.0]
    text = verdict.as_text(question(), Found(slow, {}))
    assert "WAE will not pay here: the fastest of its forms, wae, takes 36 ms" in text
    assert "3.1 times fewer MACs" in text and "lost in the light branch" in text
    assert "WARNING: wae: 1.11x of the 3.08x that its MACs promise. The light branch eats" in text


@pytest.mark.parametrize(
    "gain, instructions, words",
    [
        (1.1, (), "int8 gains little here, this processor has no instructions for it (VNNI or"),
        (1.1, ("avx_vnni",), "int8 gains little here, though this processor has instructions"),
        (2.0, ("avx_vnni",), "In int8: full 40 -> 20 ms (2.00x [1.90, 2.10]); instructions for"),
    ],
)
def test_what_int8_gains_is_said(gain, instructions, words):
    full = dataclasses.replace(
        PAYING[-1], int8_ms=40.0 / gain, int8=(gain, gain * 0.95, gain * 1.05)
    )
    found = Found([*PAYING[:-1], full], {})
    assert words in verdict.as_text(question(int8_instructions=instructions), found)
    assert verdict.as_records(question(), found)[-1]["int8_speedup"] == gain
    assert "int8" not in verdict.as_text(question(), Found(PAYING, {}))


def test_a_budget_is_kept():
    text = verdict.as_text(question(budget_ms=13.0), Found(PAYING, {}))
    assert "Within 13 ms a call: lowres, wae-early.\n" in text
    text = verdict.as_text(question(budget_ms=5.0), Found(PAYING, {}))
    assert "Nothing here takes less than 5 ms a call; the fastest, lowres, takes 10." in text
    assert "wae-jax study" not in text


def test_records_have_every_figure():
    first = verdict.as_records(question(), Found(PAYING, {}))[1]
    assert first["method"] == "wae-early" and first["speedup"] == pytest.approx(3.33333)
    assert first["equal_time_lowres"] == pytest.approx(120.0)
    assert first["front_end_ms"] == 1.0


def test_times_outside_the_curve_have_no_side():
    assert equal_time_side(PAYING, 9.0, 224) is None and equal_time_side(PAYING, 41.0, 224) is None
    assert equal_time_side(PAYING, 10.0, 224) == 112
    assert equal_time_side(PAYING, 40.0, 224) == 224
