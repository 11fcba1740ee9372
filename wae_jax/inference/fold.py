"""The inference form of a trained classifier: the same scores from fewer operations.

Batch norms are folded into the convs before them; the two sub-images come from one conv; a linear
encoder becomes a single strided conv that takes in the input normalisation as well; the decoder is
gone. A user's own module is kept as it is. Where the shape of the calls is known, weights are laid
out for it.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from wae_jax.models.backbones import VGG, ResNet
from wae_jax.models.classifier import Classifier
from wae_jax.models.fast_conv import winograd_weights
from wae_jax.models.frontends import WAE, FoldedEncoder
from wae_jax.models.frontends.folded import tile_kernel
from wae_jax.models.layers import BATCH_NORM_EPSILON, BY_OUTPUT, WINOGRAD, Conv, Dense


def for_inference(
    model: Classifier, variables, batch_shape: tuple[int, ...] | None = None
) -> tuple[Classifier, Any]:
    """``(model, variables)`` with the same scores to float rounding.

    batch_shape: (B, H, W, 3) of the calls that should be fast; other shapes work too.

    The result has no training form: call it with ``train=False`` only. Its ``sub_images`` are
    those that the branches read (normalised), and there is no reconstruction.
    """
    variables = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
    params, stats = dict(variables["params"]), variables["batch_stats"]
    changes: dict[str, Any] = {}
    for name in ("backbone", "light"):
        branch = getattr(model, name)
        if isinstance(branch, VGG):
            changes[name] = branch.clone(batch_norm=False)
        elif isinstance(branch, ResNet):
            changes[name] = branch.clone(folded=True)
        else:
            continue
        params[name] = fold_batch_norms(params[name], stats.get(name, {}), branch.norm_epsilon)
        stats = {k: v for k, v in stats.items() if k != name}
    if isinstance(model.frontend, WAE):
        changes |= _fold_frontend(model, params, stats.get("frontend", {}))
        stats = {k: v for k, v in stats.items() if k != "frontend"}
    folded = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), {"params": params, "batch_stats": stats}
    )
    model = model.clone(**changes)
    if batch_shape is not None:
        folded = lay_out(model, folded, batch_shape, jax.default_backend())
    return model, folded


def lay_out(model: Classifier, variables, batch_shape: tuple[int, ...], platform: str):
    """The variables of an inference form with its weights laid out for calls of one shape.

    On CPU in float32, convs and FC layers get the form that is fastest for the number of positions,
    see :mod:`wae_jax.models.fast_conv`; else nothing changes.
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
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False).scores, variables, images)
    params = traverse_util.flatten_dict(variables["params"])
    for path, (positions, stride) in layers.items():
        form = _fastest_form(params.pop((*path, "kernel")), positions, stride)
        params |= {(*path, name): jnp.asarray(weights) for name, weights in form.items()}
    return {**variables, "params": traverse_util.unflatten_dict(params)}


def _fastest_form(kernel: jax.Array, positions: int, stride: int) -> dict[str, Any]:
    """Name and weights of a layer's parameters; bounds as measured (README, Speed)."""
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


def fold_batch_norms(params, stats, epsilon: float) -> dict[str, Any]:
    """One module's parameters with each ``norm`` folded into the ``conv`` of the same name.

    A norm belongs to the conv whose name has "conv" in place of its "norm"; nested modules alike.
    """
    folded = {}
    for name, value in params.items():
        norm = name.replace("conv", "norm")
        if "conv" in name and norm in params:
            factor = params[norm]["scale"] / np.sqrt(stats[norm]["var"] + epsilon)
            shift = params[norm]["bias"] - stats[norm]["mean"] * factor
            folded[name] = {
                "kernel": value["kernel"] * factor,
                "bias": value.get("bias", 0.0) * factor + shift,
            }
        elif "kernel" in value:
            folded[name] = value
        elif "norm" not in name:
            folded[name] = fold_batch_norms(value, stats.get(name, {}), epsilon)
    return folded


def _merge_outputs(params, stats) -> dict[str, np.ndarray]:
    """The convs to I_L and I_H as one, with their normalisation folded in."""
    kernels, biases = [], []
    for part in ("low", "high"):
        conv, norm = params[f"to_{part}"], stats.get(f"norm_{part}")
        factor = 1.0 if norm is None else 1.0 / np.sqrt(norm["var"] + BATCH_NORM_EPSILON)
        shift = 0.0 if norm is None else -norm["mean"] * factor
        kernels.append(conv["kernel"] * factor)
        biases.append(conv["bias"] * factor + shift)
    return {"kernel": np.concatenate(kernels, -1), "bias": np.concatenate(biases)}


def _fold_frontend(model: Classifier, params, stats) -> dict[str, Any]:
    """Replaces ``params["frontend"]``; returns the model's fields to change."""
    frontend, encoder = model.frontend, model.frontend.encoder
    trunk = {k: v for k, v in params["frontend"]["encoder"].items() if k.startswith("conv")}
    merged = trunk | {"to_both": _merge_outputs(params["frontend"]["encoder"], stats)}
    merged_encoder = encoder.clone(merged=True, parent=None)
    if not encoder.foldable:
        params["frontend"] = {"encoder": merged}
        return {
            "frontend": frontend.clone(
                encoder=merged_encoder, decoder_low=None, decoder_high=None, normalise=False
            )
        }
    kernel, bias = _as_one_conv(merged_encoder, merged)
    # Take in normalisation and channel order: W * (x - mean) / std, on RGB.
    mean, std = np.asarray(model.mean), np.asarray(model.std)
    kernel = kernel / std[:, None]
    bias = bias - np.einsum("hwio,i->o", kernel, mean)
    if model.channel_order == "BGR":
        kernel = kernel[:, :, ::-1]
    params["frontend"] = {"to_both": tile_kernel(kernel, bias, 2**encoder.levels)}
    return {
        "frontend": FoldedEncoder(
            kernel=encoder.receptive_field,
            reach=encoder.reach,
            levels=encoder.levels,
            dtype=encoder.dtype,
        ),
        "channel_order": "RGB",
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
    }


def _as_one_conv(encoder, params) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (K, K, 3, 6) and bias (6,) of a linear encoder, by composing its convs.

    Its response to each unit image of the size of the receptive field is one column of the kernel.
    """
    side = encoder.receptive_field
    with jax.enable_x64():
        encoder = encoder.clone(dtype=jnp.float64)
        units = np.eye(side * side * 3).reshape(-1, side, side, 3)
        images = np.concatenate([np.zeros((1, side, side, 3)), units])
        sub = encoder.apply({"params": params}, images, method="filter")
        both = np.concatenate([np.asarray(sub.low), np.asarray(sub.high)], -1)[:, 0, 0]
    return (both[1:] - both[0]).reshape(side, side, 3, -1), both[0]
