"""From a config to a trained, smaller network and its int8 file, by train.py."""

import json

import numpy as np
import pytest

import wae_jax
from tests.commands.test_compress import make_config
from wae_jax.checkpoints import folders, store
from wae_jax.compress import pipeline
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.export.runtimes import open_onnxruntime
from wae_jax.training import loop


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times are not what these tests want to know."""
    monkeypatch.setattr(pipeline, "TIMING_SECONDS", 0.05)


def settings_of(tiny_config, network="full", **keys):
    config = make_config(tiny_config, network)
    config.compress.update(images=32, **keys)
    return settings_from_config(config)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("full", marks=pytest.mark.slow),
        pytest.param("wae-fast", marks=pytest.mark.nightly),
    ],
)
def test_a_network_is_trained_made_smaller_trained_on_and_quantised(method, tiny_config, tmp_path):
    settings = settings_of(tiny_config, method, method="thinet-0.5", int8=True)
    figures = pipeline.train(settings, str(tmp_path))
    base, small, tuned = (
        wae_jax.load(str(tmp_path / part)) for part in (pipeline.BASE, pipeline.COMPRESSED, "")
    )
    assert base[0].backbone.widths == () != small[0].backbone.widths
    assert tuned[0].backbone.widths == small[0].backbone.widths
    assert type(tuned[0].frontend) is type(base[0].frontend)
    # Its last stage again, and nothing of the others.
    meta = store.read_meta(folders.find(str(tmp_path)))
    assert (meta["step"], meta["stage"]) == (2, settings.run_stages[-1])
    held = json.loads((tmp_path / pipeline.STEPS_FILE).read_text())["steps"]
    assert held == figures["compression"]
    assert [s["step"] for s in held] == ["trained", "compressed", "fine-tuned", "int8"]
    assert held[0]["macs"] > held[1]["macs"] == held[2]["macs"] == held[3]["macs"]
    assert all(s["ms"] > 0 and s["runtime"] == "onnxruntime" for s in held)
    assert held[2]["top1"] == pytest.approx(figures["top1"], abs=1.01 / 64)
    image = np.zeros((1, 32, 32, 3), np.uint8)
    assert open_onnxruntime(tmp_path / pipeline.INT8_FILE).call(image)["scores"].shape == (1, 10)


@pytest.mark.nightly
def test_a_stopped_pipeline_goes_on_where_it_was(tiny_config, tmp_path, monkeypatch):
    settings = settings_of(tiny_config, method="thinet-0.5")
    whole = pipeline.train(settings, str(tmp_path / "whole"))
    train, calls = loop.train, []

    def stop_in_fine_tuning(config, workdir, **options):
        calls.append(workdir)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(config, workdir, **options)

    monkeypatch.setattr(loop, "train", stop_in_fine_tuning)
    workdir = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        pipeline.train(settings, str(workdir))
    before = {p: p.stat().st_mtime_ns for p in (workdir / pipeline.COMPRESSED).rglob("*")}
    assert before and not (workdir / pipeline.STEPS_FILE).exists()
    again = pipeline.train(settings, str(workdir))
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert again["top1"] == whole["top1"]
    one, other = (wae_jax.load(str(tmp_path / name))[1] for name in ("whole", "stopped"))
    name = "params", "backbone", "conv1_1", "kernel"
    for key in name:
        one, other = one[key], other[key]
    np.testing.assert_array_equal(one, other)
    smaller = settings_of(tiny_config, method="thinet", macs=0.5)
    with pytest.raises(UserError, match=r"made otherwise: method is 'thinet-0\.5' there"):
        pipeline.train(smaller, str(workdir))


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"method": "magic"}, "config.compress.method=magic: no such method; there are taylor"),
        ({"method": "taylor"}, "config.compress.method=taylor needs config.compress.macs"),
        ({"method": "thinet-0.5", "macs": 0.5}, "takes no config.compress.macs"),
        ({"method": "tucker", "checkpoint": "nowhere"}, "nowhere"),
        ({"macs": 0.5}, "config.compress.method is empty"),
    ],
)
def test_mistakes_are_found_first(keys, words, tiny_config, tmp_path):
    with pytest.raises(UserError, match=words):
        pipeline.train(settings_of(tiny_config, **keys), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_last_stage_is_the_fine_tuning(tiny_config):
    settings = settings_of(tiny_config, "wae-fast", method="cp", macs=0.5, epochs=3.0)
    tuned = pipeline.last_stage(settings)
    name = settings.run_stages[-1]
    assert tuned.run_stages == (name,) and tuned.compress == type(tuned.compress)()
    stage, was = tuned.stages[name], settings.stages[name]
    assert (stage.epochs, stage.steps) == (3.0, 0) and stage.learning_rate == was.learning_rate
    slower = settings_of(tiny_config, "wae-fast", method="cp", macs=0.5, learning_rate=0.5)
    assert pipeline.last_stage(slower).stages[name].learning_rate == 0.5
