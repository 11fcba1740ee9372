"""Weights are laid out where that is faster, and give the same scores."""

import jax
import jax.numpy as jnp
import pytest

from wae_jax.inference.fold import for_inference
from wae_jax.inference.layout import lay_out
from wae_jax.models.layers import BY_OUTPUT, WINOGRAD

SMALL_STEM = {"model.backbone.name": "bottleneck", "model.backbone.stem": "small"}
STRIDE_FIRST = {"model.backbone.name": "bottleneck", "model.backbone.stride_on": "1x1"}
FC = {
    "model.head.kind": "fc",
    "model.head.hidden_low": (1024, 1024),
    "model.head.hidden_fused": (1024, 1024),
}


@pytest.mark.parametrize(
    ("changes", "batch", "expected"),
    [
        (SMALL_STEM, 1, {BY_OUTPUT}),
        pytest.param(SMALL_STEM, 8, set(WINOGRAD), marks=pytest.mark.slow),
        pytest.param(STRIDE_FIRST, 2, {BY_OUTPUT}, marks=pytest.mark.slow),
        pytest.param(
            {"model.backbone.plan": "32 M 256 256 M 1024 256", **FC},
            8,
            {BY_OUTPUT, *WINOGRAD},
            marks=pytest.mark.slow,
        ),
        ({}, 2, set()),
    ],
)
def test_weights_laid_out_for_calls_of_one_shape(changes, batch, expected, make, short_resnets):
    model, variables, images = make({}, **changes)
    plain, plain_variables = for_inference(model, variables, platform="cpu")
    fast, fast_variables = for_inference(model, variables, (batch, 33, 33, 3), "cpu")
    names = {path[-1].key for path, _ in jax.tree.leaves_with_path(fast_variables)}
    assert names & {BY_OUTPUT, *WINOGRAD} == expected
    for calls in (images, jnp.concatenate([images] * 5)):  # also of another shape
        scores = jax.jit(plain.apply)(plain_variables, calls).scores
        found = jax.jit(fast.apply)(fast_variables, calls).scores
        assert jnp.abs(found - scores).max() <= 1e-5 * jnp.abs(scores).max()


def test_nothing_is_laid_out_elsewhere(make):
    model, variables, _ = make({}, **FC)
    plain, plain_variables = for_inference(model, variables, platform="cpu")
    assert lay_out(plain, plain_variables, (1, 33, 33, 3), "gpu") is plain_variables
    half = plain.clone(dtype=jnp.bfloat16)
    assert lay_out(half, plain_variables, (1, 33, 33, 3), "cpu") is plain_variables
