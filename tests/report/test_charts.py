"""Charts as parts of a page."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from wae_jax.report.charts import stage_charts


def log_of(steps: int, stage: str = "joint") -> list[dict]:
    return [
        {"stage": stage, "step": step, "epoch": 0.1, "loss": 10.0 / step, "energy": 0.01,
         "top1": 0.5, "learning_rate": 0.1 * (step * step % 7), "images_per_s": 9.0,
         "wait_fraction": 0.0}
        for step in range(1, steps + 1)
    ]  # fmt: skip


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]


def longest_path(svg: str) -> int:
    return max(path.count("L") for path in re.findall(r'd="([^"]*)"', svg))


def test_there_is_a_chart_for_the_loss_for_top_1_and_for_the_rate():
    evaluation = {"stage": "joint", "step": 40, "eval_count": 9, "top1": 0.75, "psnr": 30.0}
    loss, top1, rate = stage_charts("joint", [*log_of(40), evaluation, *log_of(5, "other")])
    assert {"joint: loss and its terms", "loss", "energy"} <= set(texts(loss))
    assert not {"psnr", "images_per_s", "epoch", "top1"} & set(texts(loss))
    assert {"1", "10"} <= set(texts(loss))  # powers of ten, in plain text
    assert {"joint: top-1, %", "training", "evaluation"} <= set(texts(top1))
    assert {"50", "75"} & set(texts(top1)) or {"60", "70"} & set(texts(top1))
    assert "joint: learning rate" in texts(rate)


def test_a_stage_that_does_not_classify_has_no_top_1():
    log = [{k: v for k, v in line.items() if k != "top1"} for line in log_of(4)]
    log.append({"stage": "joint", "step": 4, "eval_count": 9, "top1": 0.1})
    titles = [texts(chart)[-1] for chart in stage_charts("joint", log)]
    assert len(titles) == 2
    assert stage_charts("another", log) == []


def test_a_long_log_becomes_a_short_curve():
    _, _, rate = stage_charts("joint", log_of(5000))
    assert 100 < longest_path(rate) <= 300


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None, "x", True])
def test_what_is_no_number_is_left_out(bad):
    log = log_of(3)
    log[1]["energy"] = log[2]["odd"] = bad
    charts = stage_charts("joint", log)
    assert len(charts) == 3 and "odd" not in texts(charts[0])


def test_ink_is_the_pages_own_and_ids_are_the_charts_own():
    charts = stage_charts("a<b", log_of(3, "a<b"))
    for chart in charts:
        assert "currentColor" in chart and "#010203" not in chart and "#000000" not in chart
        assert "<style" not in chart and "<metadata" not in chart
        assert not re.search(r' (width|height)="[\d.]+pt"', chart)
        targets = set(re.findall(r'(?:url\(|href=")#([^)"]+)', chart))
        ids = re.findall(r'\bid="([^"]+)"', chart)
        assert targets <= set(ids) and len(set(ids)) == len(ids)
    first, second = (set(re.findall(r'\bid="([^"]+)"', chart)) for chart in charts[:2])
    assert not first & second
    assert 'aria-label="a&lt;b: loss and its terms"' in charts[0]
