"""The inference form of a trained classifier: the same scores from fewer operations.

Batch norms are folded into the convs before them; the two sub-images come from one conv; a linear
encoder becomes a single strided conv that takes in the input's scale as well; the decoder is gone.
A user's own module is kept as it is. Where the shape of the calls is known, weights are laid out
for it.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.inference.layout import lay_out
from wae_jax.models.backbones import VGG, ResNet
from wae_jax.models.classifier import Classifier
from wae_jax.models.frontends import WAE, FoldedEncoder
from wae_jax.models.frontends.folded import CPU_TILE, tile_kernel
from wae_jax.models.frontends.wae import PaperEncoder, PolyphaseEncoder
from wae_jax.models.layers import BATCH_NORM_EPSILON
from wae_jax.models.low_rank import EXPAND
from wae_jax.runtime import process


def for_inference(
    model: Classifier,
    variables,
    batch_shape: tuple[int, ...] | None = None,
    platform: str | None = None,
) -> tuple[Classifier, Any]:
    """The fast form of a trained classifier, with the same scores to float rounding.

    Args:
        model: a classifier in its training form.
        variables: its variables, ``{"params": ..., "batch_stats": ...}``.
        batch_shape: (B, H, W, 3) of the calls that should be fast; other shapes work too.
        platform: where it will run, as "cpu", "cuda" or "tpu"; None for jax's default backend. It
            gives the same scores elsewhere, only not as fast.

    Returns:
        ``(model, variables)``, float32. The model has no training form: call it with
        ``train=False`` only. Its ``sub_images`` are those that the branches read (normalised), and
        there is no reconstruction.
    """
    platform = platform or jax.default_backend()
    if platform == "cpu":
        process.expect_configured()
    variables = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
    params, stats = dict(variables["params"]), variables["batch_stats"]
    changes: dict[str, Any] = {}
    for name in ("backbone", "light"):
        branch = getattr(model, name)
        if isinstance(branch, VGG):
            changes[name] = branch.clone(batch_norm=False, slice_pool=platform == "cpu")
        elif isinstance(branch, ResNet):
            changes[name] = branch.clone(folded=True, slice_pool=platform == "cpu")
        else:
            continue
        params[name] = fold_batch_norms(params[name], stats.get(name, {}), branch.norm_epsilon)
        stats = {k: v for k, v in stats.items() if k != name}
    if isinstance(model.frontend, WAE):
        changes |= _fold_frontend(model, params, stats.get("frontend", {}), platform)
        stats = {k: v for k, v in stats.items() if k != "frontend"}
    folded = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), {"params": params, "batch_stats": stats}
    )
    model = model.clone(**changes)
    if batch_shape is not None:
        folded = lay_out(model, folded, batch_shape, platform)
    return model, folded


def fold_batch_norms(params, stats, epsilon: float) -> dict[str, Any]:
    """One module's parameters with each ``norm`` folded into the ``conv`` of the same name.

    A norm belongs to the conv whose name has "conv" in place of its "norm", or to the last factor
    of it; nested modules alike.
    """
    folded = {}
    for name, value in params.items():
        norm = name.replace("conv", "norm")
        if "conv" in name and norm in params:
            factor = params[norm]["scale"] / np.sqrt(stats[norm]["var"] + epsilon)
            shift = params[norm]["bias"] - stats[norm]["mean"] * factor
            last = value.get(EXPAND, value)
            conv = {
                "kernel": last["kernel"] * factor,
                "bias": last.get("bias", 0.0) * factor + shift,
            }
            folded[name] = {**value, EXPAND: conv} if EXPAND in value else conv
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


def _fold_frontend(model: Classifier, params, stats, platform: str) -> dict[str, Any]:
    """Replaces ``params["frontend"]``; returns the model's fields to change."""
    frontend, encoder = model.frontend, model.frontend.encoder
    trunk = {k: v for k, v in params["frontend"]["encoder"].items() if k.startswith("conv")}
    merged = trunk | {"to_both": _merge_outputs(params["frontend"]["encoder"], stats)}
    if not encoder.foldable:
        params["frontend"] = {"encoder": merged}
        return {
            "frontend": frontend.clone(
                encoder=encoder.clone(merged=True, parent=None),
                decoder_low=None,
                decoder_high=None,
                normalise=False,
            )
        }
    conv = _as_one_conv(encoder, merged)
    # W * (x - mean) / std, on RGB: the scale goes into the conv. The mean is still taken off the
    # image first: otherwise it would cancel between the conv and its bias, which bfloat16 cannot.
    mean, kernel = tuple(model.mean), conv["kernel"] / np.asarray(model.std)[:, None]
    if model.channel_order == "BGR":
        mean, kernel = mean[::-1], kernel[:, :, ::-1]
    stride, tile = 2**encoder.levels, CPU_TILE if platform == "cpu" else 1
    conv["kernel"] = kernel
    if tile > 1:
        conv = tile_kernel(kernel, conv["bias"], stride, tile)
    params["frontend"] = {"to_both": conv}
    return {
        "frontend": FoldedEncoder(
            kernel=encoder.receptive_field,
            reach=encoder.reach,
            levels=encoder.levels,
            high_channels=encoder.high_channels,
            tile=tile,
            dtype=encoder.dtype,
        ),
        "channel_order": "RGB",
        "mean": mean,
        "std": (1.0,) * 3,
    }


def _as_one_conv(encoder: PaperEncoder | PolyphaseEncoder, params) -> dict[str, np.ndarray]:
    """A linear encoder as one strided conv: kernel (K, K, 3, 6) and bias (6,).

    In NumPy: float64 is not known to every device.
    """
    names = [*(f"conv{i + 1}" for i in range(encoder.depth)), "to_both"]
    conv = functools.reduce(_compose, (params[name] for name in names))
    if isinstance(encoder, PolyphaseEncoder):
        # The convs read blocks of pixels as channels, in the order of space_to_depth.
        block, (side, _, _, filters) = 2**encoder.levels, conv["kernel"].shape
        kernel = conv["kernel"].reshape(side, side, block, block, -1, filters)
        kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(side * block, side * block, -1, filters)
        conv["kernel"] = kernel
    return conv


def _compose(first, second) -> dict[str, np.ndarray]:
    """The conv that equals two in turn, where ``first`` has stride 1 and nothing is padded."""
    side = first["kernel"].shape[0]
    across = side + second["kernel"].shape[0] - 1
    kernel = np.zeros((across, across, first["kernel"].shape[2], second["kernel"].shape[3]))
    for i, j in np.ndindex(second["kernel"].shape[:2]):
        kernel[i : i + side, j : j + side] += first["kernel"] @ second["kernel"][i, j]
    return {
        "kernel": kernel,
        "bias": first["bias"] @ second["kernel"].sum((0, 1)) + second["bias"],
    }
