"""Every method's training step and inference form can be compiled for GPU and TPU.

Lowered on CPU: what is written here for CPU alone must be chosen by where the program will run, not
by the machine that builds it.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import register_short_resnets
from wae_jax.bench.networks import Network
from wae_jax.bench.training import example_batch, make_step
from wae_jax.config import settings_from_config
from wae_jax.inference.fold import for_inference
from wae_jax.methods import METHODS, set_method
from wae_jax.models.classifier import build_model, variable_shapes
from wae_jax.models.layers import BY_OUTPUT, WINOGRAD

SIZE, BATCH, CLASSES = 16, 2, 10
# Wide enough that on CPU some weights are laid out.
BACKBONES = {
    "vgg": {"model.backbone.plan": "8 M 8 M 256 256"},
    "resnet": {
        "model.backbone.name": "basic",
        "model.backbone.width": 0.5,
        "model.backbone.stem": "small",
    },
}
ACCELERATORS = ("cuda", "tpu")


@pytest.fixture(scope="module", params=["vgg", pytest.param("resnet", marks=pytest.mark.slow)])
def backbone(request):
    with pytest.MonkeyPatch.context() as patch:
        register_short_resnets(patch)
        yield request.param


@pytest.fixture(scope="module", params=METHODS)
def network(request, backbone, tiny_config):
    config = tiny_config(BACKBONES[backbone] | {"data.image_size": SIZE})
    config = set_method(config, request.param)
    settings = settings_from_config(config)
    model = build_model(settings.model, num_classes=CLASSES, image_size=SIZE)
    variables = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), variable_shapes(model, SIZE))
    return Network(
        request.param, settings, "float32", CLASSES, "", model, variables, model, variables
    )


def scores(network, platform):
    """The lowered text of the inference form for a platform, and its parameters by name."""
    shape = (BATCH, SIZE, SIZE, 3)
    model, variables = for_inference(
        network.trained_model, network.trained_variables, shape, platform
    )
    traced = jax.jit(lambda v, x: model.apply(v, x, train=False).scores).trace(
        variables, jax.ShapeDtypeStruct(shape, jnp.uint8)
    )
    names = {path[-1].key for path, _ in jax.tree.leaves_with_path(variables)}
    return traced.lower(lowering_platforms=(platform,)).as_text(), names


@pytest.mark.parametrize("platform", ["cpu", *ACCELERATORS])
def test_inference_form(network, backbone, platform):
    text, names = scores(network, platform)
    on_cpu = platform == "cpu"
    assert bool(names & {BY_OUTPUT, *WINOGRAD}) == on_cpu
    assert ("optimization_barrier" in text) == on_cpu
    assert "stablehlo.case" not in text  # nothing is left to choose
    if backbone == "vgg":
        branches = 1 if network.trained_model.light is None else 2
        assert text.count("reduce_window") == (0 if on_cpu else 2 * branches)
    if network.method == "wae-fast":
        # The encoder is one conv: of 10 x 10 pixels, or on CPU of 3 x 3 blocks with 4 x 4 pixels.
        plain, tiled = "tensor<10x10x3x6xf32>", "tensor<3x3x48x24xf32>"
        assert (plain in text, tiled in text) == (not on_cpu, on_cpu)


def test_training_steps(network, backbone):
    for name, stage in network.settings.running_stages:
        alone = dataclasses.replace(network.settings, run_stages=(name,))
        of_stage = dataclasses.replace(network, settings=alone)
        step, state = make_step(of_stage)
        traced = jax.jit(step).trace(state, example_batch(of_stage, BATCH))
        for platform in ACCELERATORS:
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            if backbone == "vgg" and stage.classification:
                assert "select_and_scatter" in text
                # Strided slices of the batch are the fixed front ends' own.
                fixed = network.settings.model.frontend.name != "wae"
                assert fixed or not re.search(r"slice .*:\d+:2.*xf32", text)
        if backbone == "vgg" and stage.classification:
            text = traced.lower(lowering_platforms=("cpu",)).as_text()
            assert "select_and_scatter" not in text
