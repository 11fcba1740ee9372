"""A narrower copy of a VGG or ResNet trunk from its strongest filters."""

import re
from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]  # by path, as "stage1_block1/conv1/kernel"
IMAGE = "image"


def slim(
    params: Arrays, stats: Arrays, narrow: Arrays
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Parameters and statistics of a narrower trunk, by path.

    Each conv keeps the filters of the largest L2 norm, and in them the input channels that the
    layers before have kept; a filter is then scaled back to its norm, as it lost most of its
    inputs. All convs that write to one residual stream keep the same channels, chosen by the sum
    of their squared norms.

    Args:
        params, stats: the wide trunk's.
        narrow: the narrow one's initial parameters, for their shapes; a first conv that reads
            another number of channels than the wide one's stays as it is there.
    """
    plan = _vgg_plan(params) if "conv1_1/kernel" in params else _resnet_plan(params)
    strength: dict[str, np.ndarray] = {}
    for conv, (_, outputs) in plan.items():
        energy = np.square(params[f"{conv}/kernel"], dtype=np.float64).sum((0, 1, 2))
        strength[outputs] = strength.get(outputs, 0.0) + energy
    new_params: dict[str, np.ndarray] = {}
    new_stats: dict[str, np.ndarray] = {}
    kept: dict[str, np.ndarray] = {}
    for conv, (inputs, outputs) in plan.items():
        start = narrow[f"{conv}/kernel"]
        if outputs not in kept:
            kept[outputs] = np.sort(np.argsort(-strength[outputs], stable=True)[: start.shape[-1]])
        keep = kept[outputs]
        kernel = np.asarray(params[f"{conv}/kernel"])[..., keep]
        norm = _filter_norm(kernel)
        if inputs != IMAGE:
            kernel = kernel[:, :, kept[inputs]]
        kernel = kernel * (norm / np.maximum(_filter_norm(kernel), 1e-12))
        new_params[f"{conv}/kernel"] = kernel if kernel.shape == start.shape else start
        if f"{conv}/bias" in params:
            new_params[f"{conv}/bias"] = np.asarray(params[f"{conv}/bias"])[keep]
        batch_norm = conv.replace("conv", "norm")
        for wide, new, names in (
            (params, new_params, ("scale", "bias")),
            (stats, new_stats, ("mean", "var")),
        ):
            new |= {
                f"{batch_norm}/{name}": np.asarray(wide[f"{batch_norm}/{name}"])[keep]
                for name in names
                if f"{batch_norm}/{name}" in wide
            }
    return new_params, new_stats


def _filter_norm(kernel: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(kernel).sum((0, 1, 2)))


def _vgg_plan(params: Arrays) -> dict[str, tuple[str, str]]:
    """conv -> (channels it reads, channels it writes), from the input side."""
    found = (re.fullmatch(r"conv(\d+)_(\d+)/kernel", path) for path in params)
    plan, inputs = {}, IMAGE
    for block, index in sorted((int(m[1]), int(m[2])) for m in found if m):
        name = f"conv{block}_{index}"
        plan[name] = (inputs, name)
        inputs = name
    return plan


def _resnet_plan(params: Arrays) -> dict[str, tuple[str, str]]:
    """As :func:`_vgg_plan`; the channels of a residual stream are named after its stage."""
    found = (re.match(r"stage(\d+)_block(\d+)/", path) for path in params)
    blocks = sorted({(int(m[1]), int(m[2])) for m in found if m})
    # Without a conv on its first shortcut, stage 1 goes on in the stem's channels.
    stream = "stem" if "stage1_block1/shortcut_conv/kernel" in params else "stage1"
    plan = {"stem_conv": (IMAGE, stream)}
    for stage, index in blocks:
        block, inputs = f"stage{stage}_block{index}", stream
        count = 3 if f"{block}/conv3/kernel" in params else 2
        for i in range(1, count + 1):
            conv = f"{block}/conv{i}"
            outputs = f"stage{stage}" if i == count else conv
            plan[conv] = (inputs, outputs)
            inputs = outputs
        if f"{block}/shortcut_conv/kernel" in params:
            plan[f"{block}/shortcut_conv"] = (stream, f"stage{stage}")
        stream = f"stage{stage}"
    return plan
