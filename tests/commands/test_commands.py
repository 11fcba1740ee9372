"""python -m wae_jax on real checkpoints of real images, in process."""

import csv
import json
import sys

import numpy as np
import PIL.Image
import pytest

import wae_jax
from wae_jax import __main__ as program
from wae_jax import data
from wae_jax.inference.fold import for_inference
from wae_jax.methods import set_method
from wae_jax.models.frontends import FoldedEncoder
from wae_jax.study import study
from wae_jax.training.loop import train

SMALL = {
    "data.image_size": 32,
    "data.train_split": "train[:256]",
    "data.eval_split": "test[:96]",
    "data.eval_batch_size": 64,
    "model.backbone.plan": "4 M",
    "parallel.devices": 1,
    "model.frontend.activation": "none",  # so that the encoder folds
    "stages.autoencoder.steps": 4,
    "stages.classifier.steps": 4,
    "stages.joint.steps": 4,
    "stages.end_to_end.steps": 8,
}


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["wae_jax", *arguments])
    program.main()


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_config, cifar10):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, train(tiny_config(SMALL), str(workdir))


def test_evaluate_prints_what_training_ended_with(run, monkeypatch, capsys):
    workdir, trained = run
    command(monkeypatch, "evaluate", f"--checkpoint={workdir}")
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["eval_count"] == 96
    assert (figures["stage"], figures["step"]) == (trained["stage"], trained["step"])
    for name in ("top1", "top5", "top1_low", "top1_fused", "psnr", "high_energy"):
        assert figures[name] == pytest.approx(trained[name], rel=1e-5), name


def test_inference_form_of_a_trained_checkpoint_gives_the_same_scores(run):
    model, variables = wae_jax.load(str(run[0]))
    folded, folded_variables = for_inference(model, variables)
    images = next(
        iter(
            data.make_eval_loader(
                data.DecodedRecords(data.open_source("cifar10", "test[:64]")),
                data.make_transform("small", 32, train=False),
                batch_size=64,
            )
        )
    )["image"]
    expected = model.apply(variables, images).scores
    found = folded.apply(folded_variables, images).scores
    assert isinstance(folded.frontend, FoldedEncoder)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_evaluate_takes_another_split(run, monkeypatch, capsys):
    command(monkeypatch, "evaluate", f"--checkpoint={run[0]}", "--split=train[:70]")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["eval_count"] == 70


def test_visualize_draws_every_row(run, monkeypatch, tmp_path):
    out = tmp_path / "picture.png"
    command(monkeypatch, "visualize", f"--checkpoint={run[0]}", f"--out={out}", "--count=3")
    picture = np.asarray(PIL.Image.open(out).convert("RGB"), float)
    assert picture.shape[0] > picture.shape[1]  # five rows of three
    assert picture.std() > 10


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--checkpoint=nowhere"],
        ["evaluate"],
        ["nonsense"],
        ["visualize", "--checkpoint=x", "--count=many"],
        ["study", "--config=no.py", "--variants=full", "--workdir=w"],
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        command(monkeypatch, *arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_study_trains_counts_and_times_every_variant(
    monkeypatch, tmp_path, tiny_config, cifar10, capsys
):
    class Config:
        @staticmethod
        def get_config(variant):

            return set_method(tiny_config(SMALL), variant)

    monkeypatch.setattr(study, "load_config_file", lambda path: Config)
    command(
        monkeypatch,
        "study",
        "--config=any.py",
        "--variants=full,lowres,wae,lowres+distill",
        f"--workdir={tmp_path}",
        "--picture_of=wae",
    )
    with (tmp_path / "results.csv").open() as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["full", "lowres", "wae", "lowres+distill"]
    held = json.loads((tmp_path / "lowres+distill-0" / "config.json").read_text())
    assert held["distill"]["teacher"] == str(tmp_path / "full-0")
    assert rows["lowres+distill"]["macs"] == rows["lowres"]["macs"]
    assert float(rows["full"]["mac_ratio"]) == 1.0
    assert 3.5 < float(rows["lowres"]["mac_ratio"]) <= 4.5
    for row in rows.values():
        top1 = float(row["top1"])
        assert top1 * 96 == pytest.approx(round(top1 * 96), abs=0.01)
        assert float(row["ms_batch_1"]) > 0 and float(row["ms_batch_32"]) > 0
    assert (tmp_path / "sub_images.png").exists()
    table = capsys.readouterr().out
    assert "gap recovered" in table and "| lowres" in table


def test_gap_recovered():
    def row(variant, top1):
        return study.Row(variant, (top1,), 1, 1.0, {}, {})

    rows = [row("full", 0.9), row("lowres", 0.8), row("wae", 0.875)]
    assert study.gap_recovered(rows, rows[2]) == pytest.approx(0.75)
    assert study.gap_recovered(rows[1:], rows[2]) is None
