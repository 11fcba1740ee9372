"""wae-jax report, in process: what is on the page, and what a workdir must have for it."""

import html.parser
import json
import re
import shutil

import numpy as np
import pytest

from tests.study.conftest import make_run
from wae_jax.compress.pipeline import Step, write_steps
from wae_jax.report import sections
from wae_jax.runtime import process
from wae_jax.study import measure, runs

# What HTML does not close.
VOID = {"meta", "link", "img", "br", "wbr"}
ODD = "<b>x & 'y'"  # a name that must not become markup


@pytest.fixture(autouse=True)
def same_threads(monkeypatch):
    """Other tests shall not be changed by it."""
    monkeypatch.setattr(process, "call_on_own_thread", lambda: None)


class Page(html.parser.HTMLParser):
    """Elements and text of a page; fails where elements are not closed in their order.

    Attributes:
        elements: Tag and attributes of each. sections: Text by the heading before it.
    """

    def __init__(self, text: str):
        super().__init__()
        self.open_tags, self.elements, self.heading = [], [], ""
        self.sections: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open_tags == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if self.open_tags and self.open_tags[-1] in ("h1", "h2", "h3"):
            self.heading = data
        self.sections[self.heading] = self.sections.get(self.heading, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def read(succeed, tmp_path):
    """Function that reports on a folder: the page."""

    def report(folder, *options):
        out = tmp_path / "report.html"
        assert succeed("report", f"--workdir={folder}", f"--out={out}", *options) == f"{out}\n"
        return Page(out.read_text())

    return report


def test_the_page_of_a_run_has_all_sections(trained, read, tmp_path):
    workdir, figures = trained
    folder = tmp_path / ODD
    shutil.copytree(workdir, folder)
    page = read(folder, "--count=2", "--seconds=1")
    assert list(page.sections) == [
        "", ODD, "Training", "What the front end makes of photos", "Costs by part", "Classes",
        "Model card", "Config", "Environment",
    ]  # fmt: skip
    assert "finished, 12 steps" in page.sections[ODD]
    assert f"{100 * figures['top1']:.2f} %" in page.sections[ODD]
    assert f"{figures['psnr']:.2f} dB" in page.sections[ODD]
    for stage in ("autoencoder", "classifier", "joint"):
        assert f"{stage}: loss and its terms" in page.sections["Training"]
    costs = page.sections["Costs by part"]
    for part in ("front end", "low branch", "light branch", "heads", "between the parts"):
        assert part in costs
    assert "ms" in costs
    assert re.search(r"[\d.]+ % of 96 images of 10 classes are right", page.sections["Classes"])
    assert "taken for" in page.sections["Classes"]
    card = page.sections["Model card"]
    for words in ("polyphase auto-encoder", "32 x 32 pixels", "MACs an image", "trains frontend/"):
        assert words in card, words
    config = page.sections["Config"]
    changed, _, all_keys = config.partition("All ")
    assert "model.backbone.plan" in changed and "stages.joint.steps" in changed
    assert "stages.end_to_end" not in changed and "stages.end_to_end" in all_keys
    assert "jaxlib" in page.sections["Environment"]


def test_the_page_needs_nothing_else(trained, read):
    page = read(trained[0], "--count=1", "--skip=evaluation,times")
    assert "--skip=evaluation was given" in page.sections[trained[0].name]
    assert "milliseconds" not in page.sections["Costs by part"]
    assert not page.all("script") and not page.all("iframe")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert all(link["href"] == "data:," for link in page.all("link"))
    outside = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if not name.startswith("xmlns") and re.match(r"(https?:)?//", value or "")
    ]
    assert outside == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_a_run_that_has_only_begun(trained, read, refuse, tmp_path):
    folder = tmp_path / "begun"
    folder.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        shutil.copy(trained[0] / name, folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    trained_lines = [line for line in lines if "eval_count" not in line]
    (folder / "metrics.jsonl").write_text(f'{trained_lines[0]}{{"stage": "autoenc')
    page = read(folder)
    assert "no checkpoint yet" in page.sections["begun"]
    assert "not finished" in page.sections["begun"]
    assert "autoencoder: loss and its terms" in page.sections["Training"]
    assert "Costs by part" not in page.sections and "Model card" in page.sections
    (folder / "metrics.jsonl").unlink()
    assert "Training" not in read(folder).sections
    steps = [Step("trained", 0.5, 4_000_000, 9_000, 2.0, "jax")]
    steps += [Step("fine-tuned", 0.4975, 1_000_000, 3_000, 1.0, "jax")]
    write_steps(folder, steps)
    shown = " ".join(read(folder).sections["Compression"].split())
    assert "fine-tuned49.75 %1.00 M4.00x1.0002.00x0.003 M" in shown  # of cells, side by side
    assert "one image in JAX" in shown
    (folder / "compression.json").write_text("{}")
    refuse(["compression.json"], "report", f"--workdir={folder}", f"--out={tmp_path / 'r.html'}")
    (folder / "compression.json").unlink()
    (folder / "config.json").write_text("{")
    refuse(["config.json"], "report", f"--workdir={folder}", f"--out={tmp_path / 'r.html'}")


def test_data_that_are_gone_leave_the_rest(trained, read, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)

    def gone(*arguments, **options):
        raise sections.UserError("the disk is gone")

    monkeypatch.setattr(sections, "evaluate_each", gone)
    monkeypatch.setattr(sections, "photos_of_split", gone)
    page = read(folder, "--skip=times")
    assert "No classes: the disk is gone." in page.sections["run"]
    assert "No photos: the disk is gone." in page.sections["run"]
    assert "Costs by part" in page.sections and "Classes" not in page.sections


@pytest.fixture
def study(tmp_path):
    """A folder with records and times of networks that nobody trained, and nothing else."""
    folder = tmp_path / "study"
    folder.mkdir()
    images = np.arange(100)
    right = {"full": 80, "lowres": 60, f"wae{ODD}": 74}
    for name, count in right.items():
        machine = {"cpu": f"CPU of {name}"}
        runs.write(str(folder), make_run(name, right=images < count, machine=machine))
    times = {
        "environment": {"load": {"jax": {"warning": ""}}, "cpu": "CPU of the times"},
        "timed_as": {name: name for name in right},
        "cells": [
            {"runtime": "jax", "batch_size": batch, "starts": [2],
             "ms": dict(zip(right, np.outer([4.0, 1.0, 1.5], np.ones(4)).tolist(), strict=True))}
            for batch in (1, 32)
        ],
    }  # fmt: skip
    (folder / measure.TIMES_FILE).write_text(json.dumps(times))
    return folder


def test_the_page_of_a_study_has_its_table_and_charts(study, read):
    page = read(study)
    assert len(page.all("svg")) == 2
    charts = page.sections["Accuracy against time"]
    for words in ("batch 1", "batch 32", "low-resolution curve", f"wae{ODD}"):
        assert words in charts
    table = page.sections["Table"]
    assert "points above the curve, batch 1 [95 %]" in table and "74.00 %" in table
    assert "70 %" in table  # of the gap
    assert "CPU of the times" in page.sections["Environment"]


def test_a_study_shows_every_variant_that_has_a_folder(trained, study, read):
    shutil.copytree(trained[0], study / "wae-fast-7")
    page = read(study, "--skip=evaluation,times", "--count=1")
    assert [attributes for attributes in page.all("details") if attributes.get("class") == "run"]
    assert "wae-fast-7" in page.sections["Runs"]
    assert "What the front end makes of photos" in page.sections


@pytest.mark.parametrize(
    "options, words",
    [
        (["--out=page.txt"], ["--out", ".html"]),
        (["--out=no/page.html"], ["--out", "no such folder"]),
        (["--skip=photos"], ["--skip", "photos", "evaluation"]),
        (["--seconds=0"], ["--seconds"]),
        (["--workdir=nowhere"], ["nowhere", "no such folder"]),
        (["--workdir=."], ["no workdir of a run and no folder of a study"]),
    ],
)
def test_mistakes(options, words, refuse, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refuse(words, "report", "--workdir=.", *options)
    assert not list(tmp_path.iterdir())


def test_a_damaged_record_is_named(trained, refuse, tmp_path):
    shutil.copytree(trained[0], tmp_path / "wae-0")
    (tmp_path / "wae-0.json").write_text("{}")
    out = f"--out={tmp_path / 'r.html'}"
    refuse(["wae-0.json is no record"], "report", f"--workdir={tmp_path / 'wae-0'}", out)
    refuse(["wae-0.json is no record"], "report", f"--workdir={tmp_path}", out)


def test_imported_weights_have_a_card_that_does_not_claim_to_know_their_training(imported, read):
    page = read(imported, "--skip=times")
    head = page.sections[imported.name]
    assert "imported weights (" in head and "No classes: " in head  # their data are not here
    card = page.sections["Model card"]
    assert "Trained elsewhere: " in card and "what it was trained on is not known" in card
    assert "resnet18 at full resolution" in card and "class number 9, ..." in card
    assert "sgd" not in card
    assert "1,8" in page.sections["Costs by part"] and "Training" not in page.sections
