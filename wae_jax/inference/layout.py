"""Weights of an inference form in the layout that is fastest for calls of one shape."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from wae_jax.models.classifier import Classifier, scores_of
from wae_jax.models.fast_conv import winograd_weights
from wae_jax.models.layers import BY_OUTPUT, WINOGRAD, Conv, Dense


def lay_out(model: Classifier, variables, batch_shape: tuple[int, ...], platform: str):
    """The variables of an inference form with its weights laid out for calls of one shape.

    On CPU in float32, convs and FC layers get the form that is fastest for the number of positions,
    see :mod:`wae_jax.models.fast_conv`; else nothing changes.

    Args:
        model: the inference form.
        variables: its variables.
        batch_shape: (B, H, W, 3) of the calls that should be fast.
        platform: where they will run: "cpu" or any other.
    """
    if platform != "cpu" or model.dtype != jnp.float32:
        return variables
    layers = {}

    def record(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if isinstance(context.module, Conv | Dense) and context.method_name == "__call__":
            stride = context.module.strides if isinstance(context.module, Conv) else 1
            layers[context.module.path] = math.prod(y.shape[:-1]), stride
        return y

    with nn.intercept_methods(record):
        images = jax.ShapeDtypeStruct(batch_shape, jnp.uint8)
        jax.eval_shape(lambda v, x: scores_of(model, v, x), variables, images)
    params = traverse_util.flatten_dict(variables["params"])
    for path, (positions, stride) in layers.items():
        form = _fastest_form(params.pop((*path, "kernel")), positions, stride)
        params |= {(*path, name): jnp.asarray(weights) for name, weights in form.items()}
    return {**variables, "params": traverse_util.unflatten_dict(params)}


def _fastest_form(kernel: jax.Array, positions: int, stride: int) -> dict[str, Any]:
    """Name and weights of a layer's parameters; bounds as measured (docs/performance.md)."""
    if positions <= 32 and kernel.size >= 2**19:
        return {BY_OUTPUT: jnp.moveaxis(kernel, -1, 0)}
    fan_in, out = kernel.shape[-2:]
    if (
        kernel.shape[:-2] == (3, 3)
        and stride == 1
        and min(fan_in, out) >= 128
        and positions * fan_in * out >= 49 * 512 * 512
    ):
        return dict(zip(WINOGRAD, winograd_weights(kernel), strict=True))
    return {"kernel": kernel}
