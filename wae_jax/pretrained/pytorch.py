"""VGG and ResNet weights of torchvision and timm."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from wae_jax.config import ModelSettings
from wae_jax.errors import UserError
from wae_jax.models.backbones import BLOCKS, PLANS
from wae_jax.pretrained.files import read_arrays
from wae_jax.pretrained.mapping import (
    Entry,
    kernel_from_flattened,
    kernel_from_oihw,
    kernel_from_out_in,
    mean_less_bias,
)
from wae_jax.pretrained.network import SINGLE_BRANCH, Imported, assemble
from wae_jax.schema.trees import changed

MODELS = (*PLANS, *(f"{name}_bn" for name in PLANS), *BLOCKS)
IMAGE_SIZE = 224
FEATURES = (512, 7, 7)  # of a VGG's trunk at that size, channel-first
# What both libraries normalise with: RGB, on the 0..255 scale.
INPUT = {
    "input.channel_order": "RGB",
    "input.mean": (123.675, 116.28, 103.53),
    "input.std": (58.395, 57.12, 57.375),
}
# A counter that each batch norm of PyTorch carries; of no use with a fixed momentum.
IGNORED = r".*\.num_batches_tracked"


def norm_entries(target: str, source: str, conv_bias: str = "") -> list[Entry]:
    """A batch norm ``source`` at ``target`` (a path below params), with the conv's bias if any."""
    names = (f"{source}.running_mean", *([conv_bias] if conv_bias else []))
    return [
        Entry(f"params/{target}/scale", (f"{source}.weight",)),
        Entry(f"params/{target}/bias", (f"{source}.bias",)),
        Entry(f"batch_stats/{target}/mean", names, mean_less_bias if conv_bias else np.asarray),
        Entry(f"batch_stats/{target}/var", (f"{source}.running_var",)),
    ]


def layer_entries(
    target: str, source: str, convert: Callable[[np.ndarray], np.ndarray]
) -> list[Entry]:
    """Kernel and bias of a conv or linear layer."""
    return [
        Entry(f"params/{target}/kernel", (f"{source}.weight",), convert),
        Entry(f"params/{target}/bias", (f"{source}.bias",)),
    ]


def resnet_entries(name: str) -> list[Entry]:
    """All arrays of a ResNet; torchvision and timm have the same names."""
    kind, counts = BLOCKS[name]
    convs = {"basic": 2, "bottleneck": 3}[kind]
    pairs = [("stem_conv", "conv1", "stem_norm", "bn1")]
    for stage, count in enumerate(counts, start=1):
        for index in range(count):
            ours, theirs = f"stage{stage}_block{index + 1}", f"layer{stage}.{index}"
            pairs += [
                (f"{ours}/conv{i}", f"{theirs}.conv{i}", f"{ours}/norm{i}", f"{theirs}.bn{i}")
                for i in range(1, convs + 1)
            ]
            # The first block changes the shape, but for basic blocks at the stem's own resolution.
            if index == 0 and not (kind == "basic" and stage == 1):
                pairs.append(
                    (
                        f"{ours}/shortcut_conv",
                        f"{theirs}.downsample.0",
                        f"{ours}/shortcut_norm",
                        f"{theirs}.downsample.1",
                    )
                )
    entries = layer_entries("head_low/scores", "fc", kernel_from_out_in)
    for conv, their_conv, norm, their_norm in pairs:
        entries.append(
            Entry(f"params/backbone/{conv}/kernel", (f"{their_conv}.weight",), kernel_from_oihw)
        )
        entries += norm_entries(f"backbone/{norm}", their_norm)
    return entries


def vgg_entries(name: str, *, batch_norm: bool, timm: bool) -> list[Entry]:
    """All arrays of a VGG."""
    entries, block, index, number = [], 1, 0, 0  # number: place in torch's nn.Sequential
    for item in PLANS[name].split():
        if item == "M":
            block, index, number = block + 1, 0, number + 1
            continue
        index += 1
        ours, theirs = f"backbone/conv{block}_{index}", f"features.{number}"
        if batch_norm:
            entries.append(Entry(f"params/{ours}/kernel", (f"{theirs}.weight",), kernel_from_oihw))
            entries += norm_entries(
                ours.replace("conv", "norm"), f"features.{number + 1}", f"{theirs}.bias"
            )
        else:
            entries += layer_entries(ours, theirs, kernel_from_oihw)
        number += 3 if batch_norm else 2
    first = kernel_from_flattened(FEATURES)
    if timm:  # the hidden FC layers are written as convs
        return [
            *entries,
            *layer_entries(
                "head_low/fc1",
                "pre_logits.fc1",
                lambda kernel: first(kernel.reshape(len(kernel), -1)),
            ),
            *layer_entries(
                "head_low/fc2", "pre_logits.fc2", lambda kernel: kernel.reshape(len(kernel), -1).T
            ),
            *layer_entries("head_low/scores", "head.fc", kernel_from_out_in),
        ]
    return [
        *entries,
        *layer_entries("head_low/fc1", "classifier.0", first),
        *layer_entries("head_low/fc2", "classifier.3", kernel_from_out_in),
        *layer_entries("head_low/scores", "classifier.6", kernel_from_out_in),
    ]


def import_network(file: Path, model: str, base: ModelSettings, *, source: str) -> Imported:
    """The network ``model`` (one of :data:`MODELS`) from a .safetensors or .pth file.

    Args:
        file: the file of weights.
        model: its name.
        base: a ``config.model`` for the keys that do not matter.
        source: "torchvision" or "timm".

    Raises:
        UserError: no such model, an unreadable file, or arrays that are not this network's.
    """
    return from_arrays(read_arrays(file), file, model, base, source=source)


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    file: Path,
    model: str,
    base: ModelSettings,
    *,
    source: str,
) -> Imported:
    """As :func:`import_network`, the file's arrays given."""
    if model not in MODELS:
        raise UserError(
            f"{source} has no {model!r} that can be imported; there are: " + ", ".join(MODELS)
        )
    name, batch_norm = model.removesuffix("_bn"), model.endswith("_bn")
    changes = (
        SINGLE_BRANCH
        | INPUT
        | {
            "backbone.name": name,
            "backbone.batch_norm": batch_norm,
            "backbone.norm_epsilon": 1e-5,
            "backbone.stem": "imagenet",
            "backbone.stem_pool": "pad",
            "backbone.stride_on": "3x3",
            "backbone.pool_rounding": "down",
        }
    )
    if name in PLANS:
        entries = vgg_entries(name, batch_norm=batch_norm, timm=source == "timm")
        changes |= {"head.kind": "fc", "head.hidden_single": (4096, 4096)}
        last = "head.fc.bias" if source == "timm" else "classifier.6.bias"
    else:
        entries = resnet_entries(name)
        changes |= {"head.kind": "pool"}
        last = "fc.bias"
    scores = arrays.get(last)
    num_classes = len(scores) if scores is not None and scores.ndim == 1 else 1000
    return assemble(
        arrays,
        entries,
        file=file,
        origin=f"{source} {model}",
        model=changed(base, changes),
        num_classes=num_classes,
        image_size=IMAGE_SIZE,
        ignored=IGNORED,
    )
