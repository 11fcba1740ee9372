"""Evaluation of a split: what it computes without I_H, and on many devices."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import TWO_BRANCHES
from wae_jax import data
from wae_jax.config import ParallelSettings
from wae_jax.evaluation import evaluator, metrics
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import run
from wae_jax.runtime.devices import Parallel

WAVELET = {"model.frontend.name": "wavelet", "run_stages": ("end_to_end",)}
LOWRES = {"model.frontend.name": "downsample", "run_stages": ("end_to_end",)}


def blank_light(call, args, kwargs, context):
    """Zeros for whatever the light branch would read."""
    if context.module.path == ("light",):
        args = (jnp.zeros_like(args[0]),)
    return call(*args, **kwargs)


@pytest.mark.parametrize("form", ["trained", "inference"])
@pytest.mark.parametrize(
    "changes", [{}, {"model.head.kind": "fc", "model.head.hidden_fused": (8,)}, WAVELET]
)
def test_scores_without_i_h_are_those_of_a_blank_one(changes, form, make_trainer):
    trainer = make_trainer(changes.get("run_stages", ("joint",))[0], TWO_BRANCHES | changes)
    model, variables = trainer.model, trainer.variables
    if form == "inference":
        model, variables = for_inference(model, variables, platform="cpu")
    images = trainer.batch(0)["image"]

    def outputs_of(**options):
        return jax.jit(lambda v, x: run(model, v, x, **options))(variables, images)

    outputs = outputs_of(without_high=True)
    with nn.intercept_methods(blank_light):
        expected = outputs_of()
    np.testing.assert_allclose(outputs.scores_without_high, expected.scores, rtol=1e-5, atol=1e-5)
    assert np.abs(outputs.scores - expected.scores).max() > 1e-2
    assert outputs_of().scores_without_high is None


def make_evaluator(trainer, devices=1, model=None, batch_size=16):
    settings = dataclasses.replace(trainer.settings.data, image_size=32, eval_batch_size=batch_size)
    parallel = Parallel(ParallelSettings(devices=devices))
    source = data.open_source("cifar10", "test[:70]", cache_dir=settings.cache_dir)
    chosen = model or trainer.model
    return evaluator.Evaluator(chosen, settings, "test[:70]", parallel, source.info.classes)


@pytest.mark.parametrize("changes", [{}, LOWRES], ids=["wae", "lowres"])
def test_four_devices_and_a_part_of_a_batch_give_what_one_gives(changes, make_trainer, cifar10):
    trainer = make_trainer(changes.get("run_stages", ("joint",))[0], TWO_BRANCHES | changes)
    figures = [
        make_evaluator(trainer, devices, batch_size=batch_size)(trainer.variables)
        for devices, batch_size in ((1, 70), (4, 16))
    ]
    assert tuple(figures[0]) == tuple(figures[1]) == metrics.METRIC_NAMES
    one, four = ({k: v for k, v in each.items() if v is not None} for each in figures)
    assert four == pytest.approx(one, rel=1e-5)
    if changes:
        assert one.keys() == {"top1", "top5", "eval_count"}
    else:
        assert one.keys() == figures[0].keys()
        assert 0 < one["low_correlation"] < 1


def test_early_fusion_runs_again_on_a_sample_of_the_batches(make_trainer, monkeypatch, cifar10):
    trainer = make_trainer("joint", TWO_BRANCHES | {"model.fusion": "early"})
    monkeypatch.setattr(evaluator, "SAMPLE_WITHOUT_HIGH", 20)
    sampling = make_evaluator(trainer, batch_size=8)
    counts = {"step": [], "step_without_high": []}

    def counted(name):
        compiled = getattr(sampling, name)

        def step(variables, batch):
            counts[name].append(int(batch["mask"].sum()))
            return compiled(variables, batch)

        return step

    for name in counts:
        setattr(sampling, name, counted(name))
    figures = sampling(trainer.variables)
    assert counts == {"step": [8, 8, 8, 8, 8, 6], "step_without_high": [8, 8, 8]}
    assert figures["eval_count"] == 70
    monkeypatch.setattr(evaluator, "SAMPLE_WITHOUT_HIGH", 1000)
    every = make_evaluator(trainer, batch_size=8)(trainer.variables)
    assert 0 <= figures.pop("top1_without_high") <= 1
    assert every["top1_without_high"] == every["top1"]  # I_H is not read yet
    figures = {name: value for name, value in figures.items() if value is not None}
    assert figures == pytest.approx({name: every[name] for name in figures}, rel=1e-6)


@pytest.mark.parametrize(
    "batches, images, expected",
    [
        (5, None, {0, 1, 2, 3, 4}),
        (5, 1000, {0, 1, 2, 3, 4}),
        (10, 30, {0, 3, 6}),
        (10, 31, {0, 2, 5, 7}),
        (0, 30, set()),
    ],
)
def test_batches_of_a_sample(batches, images, expected):
    assert evaluator._spread(batches, images, batch_size=10) == expected
