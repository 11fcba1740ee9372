"""Checkpoints of older code load, with the figures they had; those of newer code are refused.

``fixtures/format0.tar.gz`` was written by version 0.1.0, before formats had numbers: two workdirs.
``trained``: configs/quickstart.py with the changes below. ``imported``: a ResNet-18 of 1/16 of the
width with random weights, for BGR images. ``format0.json`` has what 0.1.0 made of them: the figures
of `evaluate` on CIFAR-10's test[:500], and the scores of two random images.
"""

import json
import re
import shutil
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

import wae_jax
from configs import quickstart
from wae_jax.checkpoints import folders, formats, manifest, store
from wae_jax.config import as_dict, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.evaluator import evaluate_checkpoint
from wae_jax.training.loop import train

FIXTURES = Path(__file__).parent / "fixtures"
KEPT = json.loads((FIXTURES / "format0.json").read_text())
CHANGES = {
    "data.train_split": "train[:1%]",
    "data.eval_split": "test[:500]",
    "model.backbone.plan": "8 M 8 M",
    "model.frontend.channels": 8,
    "model.frontend.depth": 1,
    "model.frontend.decoder_channels": 8,
    "ema_decay": 0.9,
    "keep_checkpoints": 1,
    **{
        f"stages.{stage}.batch_size": 50
        for stage in ("autoencoder", "classifier", "joint", "end_to_end")
    },
    "stages.autoencoder.steps": 20,
    "stages.classifier.steps": 20,
    "stages.joint.steps": 60,
}


@pytest.fixture(scope="module")
def format0(tmp_path_factory) -> Path:
    """The folder with the two workdirs of format 0."""
    folder = tmp_path_factory.mktemp("format0")
    with tarfile.open(FIXTURES / "format0.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    return folder


def trained_config(changes=None):
    config = quickstart.get_config()
    config.update_from_flattened_dict(CHANGES | (changes or {}))
    return config


@pytest.mark.parametrize("name", ["trained", "imported"])
def test_format_0_gives_the_scores_it_gave(name, format0):
    model, variables = wae_jax.load(str(format0 / name))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    scores = jax.jit(model.apply, static_argnames="train")(variables, images, train=False).scores
    np.testing.assert_allclose(scores, KEPT[name]["scores"], rtol=0, atol=1e-5)


def assert_figures(found: dict, name: str) -> None:
    kept = KEPT[name]["figures"]
    assert kept["eval_count"] == 500
    for key, value in kept.items():
        expected = pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
        assert found[key] == expected, key


@pytest.mark.parametrize(
    ("name", "where"),
    [("trained", {}), ("imported", {"data_name": "cifar10", "split": "test[:500]"})],
)
def test_format_0_gives_the_figures_it_gave(name, where, format0, cifar10):
    assert_figures(evaluate_checkpoint(str(format0 / name), **where), name)


def test_a_finished_run_of_format_0_is_complete(format0, tmp_path, cifar10, capsys):
    workdir = shutil.copytree(format0 / "trained", tmp_path / "run")
    figures = train(trained_config({"parallel.devices": 1}), str(workdir))
    assert "is complete; evaluating it" in capsys.readouterr().err
    assert_figures(figures, "trained")
    assert figures["train_seconds"] == pytest.approx(13.8, abs=0.1)
    held = json.loads((workdir / "config.json").read_text())
    assert (held["format"], held["ema_decay"]) == (formats.FORMAT, 0.9)


def test_a_run_of_format_0_is_still_refused_with_another_config(format0, tmp_path, cifar10):
    workdir = shutil.copytree(format0 / "trained", tmp_path / "run")
    with pytest.raises(UserError, match=r"1 key\(s\) differ: ema_decay \(0.9 there, 0.8 now\)"):
        train(trained_config({"ema_decay": 0.8}), str(workdir))


def test_format_0_is_described_in_the_newest_format(format0):
    for name, step, origin in (
        ("trained", 100, None),
        ("imported", 0, "tiny ResNet with random weights"),
    ):
        meta = store.read_meta(folders.find(str(format0 / name)))
        assert (meta["format"], meta["step"]) == (formats.FORMAT, step)
        assert (meta["teacher"], meta["origin"]) == (None, origin)


def test_what_is_saved_has_the_newest_format(save_step, tmp_path):
    meta = json.loads((save_step(tmp_path, 7) / "meta" / "metadata").read_text())
    assert (meta["format"], meta["step"]) == (formats.FORMAT, 7)
    assert len(formats.UPGRADES) == formats.FORMAT


def with_meta(step: Path, text: str) -> Path:
    """Puts another ``meta`` in a step, with a manifest that fits."""
    (step / "meta" / "metadata").write_text(text)
    manifest.write(step)
    assert not manifest.problem_with(step)
    return step


def test_a_newer_format_is_refused_in_one_line(save_step, tmp_path):
    newer = formats.FORMAT + 1
    step = with_meta(save_step(tmp_path, 7), json.dumps({"format": newer, "all": "new"}))
    with pytest.raises(UserError) as error:
        wae_jax.load(str(step))
    assert re.search(
        rf"{step} is of format {newer}, .* formats up to {formats.FORMAT}: install a newer wae_jax",
        str(error.value),
    )


def wrong_metas(meta: dict) -> dict[str, str]:
    """Contents of ``meta`` that no checkpoint has."""
    config = meta["config"]
    return {
        "nothing": "",
        "no JSON": "{",
        "too deep": "[" * 100_000,
        **{
            f"another type: {value}": value
            for value in ("null", "[]", "{}", "3", '"meta"', '[{"format": 1}]')
        },
        **{
            f"format {value}": json.dumps(meta | {"format": value})
            for value in (-1, 1.0, "1", None, [], True)
        },
        **{f"no {key}": json.dumps({k: meta[k] for k in meta if k != key}) for key in meta},
        **{
            f"{key} is {value!r}": json.dumps(meta | {key: value})
            for key in meta
            for value in (0.5, "x", [], {}, [[]], None)
            if key != "format" and not isinstance(value, formats._TYPES[key])
        },
        **{
            f"config with {key} {value!r}": json.dumps(meta | {"config": {**config, key: value}})
            for key in config
            for value in ({"x": 3}, [[]], None)
        },
    }


def test_a_meta_of_another_form_is_an_error_in_one_line(save_step, tmp_path):
    step = save_step(tmp_path, 7)
    meta = json.loads((step / "meta" / "metadata").read_text())
    meta["config"] = as_dict(settings_from_config(trained_config()))
    with_meta(step, json.dumps(meta))
    assert store.read_meta(step) == meta
    wrong = wrong_metas(meta)
    del wrong["no format"]  # it is format 0, and the other keys fit
    assert len(wrong) > 80
    for name, text in wrong.items():
        with_meta(step, text)
        with pytest.raises(UserError) as error:
            store.read_meta(step)
        assert str(step) in str(error.value) and "\n" not in str(error.value), name


@pytest.mark.parametrize("text", ["[]", "3", "null", "[" * 100_000, '{"format": 99}'])
def test_a_config_file_of_another_form_is_an_error_in_one_line(text, format0, tmp_path):
    workdir = shutil.copytree(format0 / "trained", tmp_path / "run")
    (workdir / "config.json").write_text(text)
    with pytest.raises(UserError, match=f"^[^\n]*{workdir}[^\n]*$"):
        train(trained_config(), str(workdir))
