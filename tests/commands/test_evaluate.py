"""wae-jax evaluate, in process."""

import json

import jax
import numpy as np
import pytest

import wae_jax
from wae_jax import data
from wae_jax.evaluation import metrics
from wae_jax.inference.fold import for_inference
from wae_jax.models.frontends import FoldedEncoder


def test_it_prints_what_training_ended_with(trained, succeed):
    workdir, expected = trained
    figures = json.loads(succeed("evaluate", f"--checkpoint={workdir}").splitlines()[-1])
    assert figures["eval_count"] == 96
    assert (figures["stage"], figures["step"]) == (expected["stage"], expected["step"])
    for name in metrics.METRIC_NAMES:
        assert figures[name] == pytest.approx(expected[name], rel=1e-5), name


def test_inference_form_of_a_trained_checkpoint_gives_the_same_scores(trained):
    model, variables = wae_jax.load(str(trained[0]))
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
    expected = jax.jit(model.apply)(variables, images).scores
    found = jax.jit(folded.apply)(folded_variables, images).scores
    assert isinstance(folded.frontend, FoldedEncoder)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_it_takes_another_split(trained, succeed):
    out = succeed("evaluate", f"--checkpoint={trained[0]}", "--split=train[:70]")
    assert json.loads(out.splitlines()[-1])["eval_count"] == 70


def test_it_needs_data_with_the_same_classes(imported, refuse):
    words = ["1000 classes", "50"]
    refuse(words, "evaluate", f"--checkpoint={imported}", "--data=foolbox_photos")


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--checkpoint=nowhere"], "nowhere"),
        ([], "--checkpoint"),
        (["--checkpoint=nowhere", "--bad_records=ignore"], "--bad_records"),
        (["--checkpoint=nowhere", "--spilt=test"], "--spilt"),
    ],
)
def test_mistakes(arguments, word, refuse):
    refuse([word], "evaluate", *arguments)
