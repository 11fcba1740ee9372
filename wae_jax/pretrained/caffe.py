"""Caffe's networks: the authors' released WAE, and the VGG16 and ResNet-50 of the time.

Sources of layer names and input conventions: the layer lists published with each network. All are
BGR in 0..255, their pools round up and their batch norms have Caffe's epsilon of 1e-5.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from wae_jax.config import ModelSettings
from wae_jax.errors import UserError
from wae_jax.models.backbones import BLOCKS, PLANS
from wae_jax.pretrained.caffemodel import read_caffemodel
from wae_jax.pretrained.mapping import (
    Entry,
    kernel_from_flattened,
    kernel_from_oihw,
    kernel_from_out_in,
    mean_less_bias,
)
from wae_jax.pretrained.network import SINGLE_BRANCH, Imported, assemble
from wae_jax.schema.trees import changed

IMAGE_SIZE = 224
COMMON = {
    "dtype": "float32",
    "input.channel_order": "BGR",
    "input.std": (1.0, 1.0, 1.0),
    "backbone.width": 1.0,
    "backbone.norm_epsilon": 1e-5,
}
VGG16 = COMMON | {
    "backbone.name": "vgg16",
    "backbone.batch_norm": False,
    "backbone.pool_rounding": "up",
    "head.kind": "fc",
}


def _fc_kernel(kernel: np.ndarray) -> np.ndarray:
    return kernel_from_out_in(_with_axes(kernel, 2))


def _vector(array: np.ndarray) -> np.ndarray:
    return _with_axes(array, 1)


def _with_axes(array: np.ndarray, count: int) -> np.ndarray:
    """Without the leading axes of size 1 that files from before 2015 have."""
    surplus = array.ndim - count
    if any(n != 1 for n in array.shape[: max(0, surplus)]):
        raise ValueError(f"{array.shape} for {count} axes")
    return array.reshape(array.shape[max(0, surplus) :])


def _flattened_kernel(*features: tuple[int, int, int]) -> Callable[[np.ndarray], np.ndarray]:
    convert = kernel_from_flattened(*features)
    return lambda kernel: convert(_with_axes(kernel, 2))


def from_running_sum(total: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Mean or variance from Caffe's running sum and its factor; 0 where nothing was summed."""
    if factor.size != 1:
        raise ValueError(f"the factor has shape {factor.shape}")
    factor = factor.item()
    return _vector(total) / factor if factor else np.zeros_like(_vector(total))


def _layer(target: str, source: str, convert: Callable[[np.ndarray], np.ndarray]) -> list[Entry]:
    """Kernel and bias of a conv or FC layer; ``target`` is a path below params."""
    return [
        Entry(f"params/{target}/kernel", (f"{source}[0]",), convert),
        Entry(f"params/{target}/bias", (f"{source}[1]",), _vector),
    ]


def _statistics(target: str, source: str, conv_bias: str = "") -> list[Entry]:
    """Mean and variance of a batch norm, which has no scale and shift in Caffe."""
    mean = Entry(f"batch_stats/{target}/mean", (f"{source}[0]", f"{source}[2]"), from_running_sum)
    if conv_bias:
        mean = Entry(
            mean.target,
            (*mean.sources, conv_bias),
            lambda total, factor, bias: mean_less_bias(
                from_running_sum(total, factor), _vector(bias)
            ),
        )
    return [
        mean,
        Entry(f"batch_stats/{target}/var", (f"{source}[1]", f"{source}[2]"), from_running_sum),
    ]


def _vgg16_trunk(target: str, suffix: str = "") -> list[Entry]:
    entries = []
    for block, convs in enumerate(PLANS["vgg16"].removesuffix(" M").split(" M "), start=1):
        for i in range(1, len(convs.split()) + 1):
            name = f"conv{block}_{i}"
            entries += _layer(f"{target}/{name}", f"{name}{suffix}", kernel_from_oihw)
    return entries


def _fc_head(target: str, suffix: str, *features: tuple[int, int, int]) -> list[Entry]:
    """fc6 to fc8 on ``features``: (C, h, w) of each branch."""
    return [
        *_layer(f"{target}/fc1", f"fc6{suffix}", _flattened_kernel(*features)),
        *_layer(f"{target}/fc2", f"fc7{suffix}", _fc_kernel),
        *_layer(f"{target}/scores", f"fc8{suffix}", _fc_kernel),
    ]


def released_entries() -> list[Entry]:
    """The released WAE network: L is called CA, H is CH; the decoder was not released."""
    encoder = "frontend/encoder"
    low, high = (512, 4, 4), (128, 4, 4)
    return [
        *(
            entry
            for i in (1, 2, 3)
            for entry in _layer(f"{encoder}/conv{i}", f"decom_conv{i}", kernel_from_oihw)
        ),
        *_layer(f"{encoder}/to_low", "decom_conv_CA", kernel_from_oihw),
        *_layer(f"{encoder}/to_high", "decom_conv_CH", kernel_from_oihw),
        *_statistics("frontend/norm_low", "bn_CA"),
        *_statistics("frontend/norm_high", "bn_CH"),
        *_vgg16_trunk("backbone", "_CA"),
        *_vgg16_trunk("light", "_CH"),
        *_fc_head("head_low", "_CA", low),
        *_fc_head("head_fused", "_fusion", low, high),
    ]


def vgg16_entries() -> list[Entry]:
    """The VGG team's VGG16."""
    return _vgg16_trunk("backbone") + _fc_head("head_low", "", (512, 7, 7))


def resnet50_entries() -> list[Entry]:
    """He's ResNet-50: each conv with a BatchNorm and a Scale layer, a bias in the first conv."""
    layers = [("stem_conv", "conv1", "_conv1")]  # conv here; conv there; suffix of its norm there
    for stage, count in enumerate(BLOCKS["resnet50"][1], start=1):
        for block in range(count):
            ours = f"stage{stage}_block{block + 1}"
            theirs = f"{stage + 1}{'abcdef'[block]}_branch"
            branches = {"conv1": "2a", "conv2": "2b", "conv3": "2c"}
            if block == 0:
                branches["shortcut_conv"] = "1"
            layers += [
                (f"{ours}/{conv}", f"res{theirs}{branch}", f"{theirs}{branch}")
                for conv, branch in branches.items()
            ]
    entries = _layer("head_low/scores", "fc1000", _fc_kernel)
    for ours, theirs, suffix in layers:
        conv, norm = f"backbone/{ours}", f"backbone/{ours.replace('conv', 'norm')}"
        entries += [
            Entry(f"params/{conv}/kernel", (f"{theirs}[0]",), kernel_from_oihw),
            Entry(f"params/{norm}/scale", (f"scale{suffix}[0]",), _vector),
            Entry(f"params/{norm}/bias", (f"scale{suffix}[1]",), _vector),
            *_statistics(norm, f"bn{suffix}", "conv1[1]" if theirs == "conv1" else ""),
        ]
    return entries


# model -> (entries, last bias, changes of config.model, parts that the file does not have)
MODELS = {
    "wae-vgg16": (
        released_entries,
        "fc8_CA[1]",
        VGG16
        | {
            "input.mean": (0.0, 0.0, 0.0),
            "frontend.name": "wae",
            "frontend.levels": 1,
            "frontend.encoder": "paper",
            "frontend.channels": 16,
            "frontend.depth": 3,
            "frontend.activation": "relu",
            "frontend.padding": "zero",
            "frontend.normalise": True,
            "light.name": "",
            "light.width": 0.25,
            "head.hidden_low": (1024, 1024),
            "head.hidden_fused": (2048, 2048),
        },
        ("params/frontend/decoder_low", "params/frontend/decoder_high"),
    ),
    "vgg16": (
        vgg16_entries,
        "fc8[1]",
        SINGLE_BRANCH
        | VGG16
        | {"input.mean": (103.939, 116.779, 123.68), "head.hidden_single": (4096, 4096)},
        (),
    ),
    # He's networks subtract a mean image; these are its means per channel.
    "resnet50": (
        resnet50_entries,
        "fc1000[1]",
        SINGLE_BRANCH
        | COMMON
        | {
            "input.mean": (103.0626, 115.9029, 123.1516),
            "backbone.name": "resnet50",
            "backbone.stem": "imagenet",
            "backbone.stem_pool": "ceil",
            "backbone.stride_on": "1x1",
            "head.kind": "pool",
        },
        (),
    ),
}


def import_network(file: Path, model: str, base: ModelSettings) -> Imported:
    """The network ``model`` (one of :data:`MODELS`) from a ``.caffemodel``.

    Args:
        file: the file of weights.
        model: its name.
        base: a ``config.model`` for the keys that do not matter.

    Raises:
        UserError: no such model, an unreadable file, or arrays that are not this network's.
    """
    if model not in MODELS:
        raise UserError(
            f"caffe has no {model!r} that can be imported; there are: " + ", ".join(MODELS)
        )
    entries, last, changes, fresh = MODELS[model]
    arrays = read_caffemodel(file)
    num_classes = arrays[last].size if last in arrays else 1000
    return assemble(
        arrays,
        entries(),
        file=file,
        origin=f"caffe {model}",
        model=changed(base, changes),
        num_classes=num_classes,
        image_size=IMAGE_SIZE,
        fresh=fresh,
    )
