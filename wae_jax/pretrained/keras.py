"""VGG and ResNet weights of Keras Applications."""

import re
from pathlib import Path

from wae_jax.config import ModelSettings
from wae_jax.errors import UserError
from wae_jax.models.backbones import BLOCKS, PLANS
from wae_jax.pretrained.files import KerasFile, read_keras
from wae_jax.pretrained.mapping import Entry, mean_less_bias
from wae_jax.pretrained.network import SINGLE_BRANCH, Imported, assemble
from wae_jax.schema.trees import changed

MODELS = ("vgg16", "vgg19", "resnet50", "resnet101", "resnet152")
IMAGE_SIZE = 224
# Keras kept the input convention of the Caffe networks: BGR less the mean.
INPUT = {
    "input.channel_order": "BGR",
    "input.mean": (103.939, 116.779, 123.68),
    "input.std": (1.0, 1.0, 1.0),
}


def layer_entries(target: str, layer: str) -> list[Entry]:
    """Kernel and bias of a conv or dense layer; Keras has our axis order."""
    return [
        Entry(f"params/{target}/kernel", (f"{layer}/kernel",)),
        Entry(f"params/{target}/bias", (f"{layer}/bias",)),
    ]


def vgg_entries(name: str) -> list[Entry]:
    """All arrays of a VGG."""
    entries, block, index = [], 1, 0
    for item in PLANS[name].split():
        if item == "M":
            block, index = block + 1, 0
            continue
        index += 1
        entries += layer_entries(f"backbone/conv{block}_{index}", f"block{block}_conv{index}")
    for ours, theirs in (("fc1", "fc1"), ("fc2", "fc2"), ("scores", "predictions")):
        entries += layer_entries(f"head_low/{ours}", theirs)
    return entries


def _old_names(stage: int, block: int, conv: int) -> tuple[str, str]:
    """Layer names up to Keras 2.2 (as Caffe's), which had ResNet-50 only; conv 0: shortcut."""
    where = f"{stage + 1}{'abcdef'[block - 1]}_branch{'1' if conv == 0 else '2' + 'abc'[conv - 1]}"
    return f"res{where}", f"bn{where}"


def _new_names(stage: int, block: int, conv: int) -> tuple[str, str]:
    where = f"conv{stage + 1}_block{block}_{conv}"
    return f"{where}_conv", f"{where}_bn"


def resnet_entries(name: str, *, old: bool, last: str) -> list[Entry]:
    """All arrays of a ResNet; ``last`` is the name of its dense layer."""
    names = _old_names if old else _new_names
    layers = {
        ("stem_conv", "stem_norm"): ("conv1", "bn_conv1") if old else ("conv1_conv", "conv1_bn")
    }
    for stage, count in enumerate(BLOCKS[name][1], start=1):
        for block in range(1, count + 1):
            ours = f"stage{stage}_block{block}"
            for i in (1, 2, 3):
                layers[f"{ours}/conv{i}", f"{ours}/norm{i}"] = names(stage, block, i)
            if block == 1:
                layers[f"{ours}/shortcut_conv", f"{ours}/shortcut_norm"] = names(stage, block, 0)
    entries = layer_entries("head_low/scores", last)
    for (conv, norm), (their_conv, their_norm) in layers.items():
        entries += [
            Entry(f"params/backbone/{conv}/kernel", (f"{their_conv}/kernel",)),
            Entry(f"params/backbone/{norm}/scale", (f"{their_norm}/gamma",)),
            Entry(f"params/backbone/{norm}/bias", (f"{their_norm}/beta",)),
            Entry(
                f"batch_stats/backbone/{norm}/mean",
                (f"{their_norm}/moving_mean", f"{their_conv}/bias"),
                mean_less_bias,
            ),
            Entry(f"batch_stats/backbone/{norm}/var", (f"{their_norm}/moving_variance",)),
        ]
    return entries


def _norm_epsilon(file: Path, content: KerasFile, *, default: float) -> float:
    """What the file's batch norms have; ``default`` for a file of weights alone."""
    found = {config["epsilon"] for config in content.layers.values() if "epsilon" in config}
    if len(found) > 1:
        raise UserError(f"{file}: its batch norms differ in epsilon: {sorted(found)}")
    return float(found.pop()) if found else default


def import_network(file: Path, model: str, base: ModelSettings) -> Imported:
    """The network ``model`` (one of :data:`MODELS`) from a layers model or .h5 file.

    Args:
        file: the file of weights.
        model: its name.
        base: a ``config.model`` for the keys that do not matter.

    Raises:
        UserError: no such model, an unreadable file, or arrays that are not this network's.
    """
    if model not in MODELS:
        raise UserError(
            f"keras has no {model!r} that can be imported; there are: " + ", ".join(MODELS)
        )
    content = read_keras(file)
    arrays = content.arrays
    changes = (
        SINGLE_BRANCH
        | INPUT
        | {"backbone.name": model, "backbone.batch_norm": False, "backbone.pool_rounding": "down"}
    )
    last = next((name for name in ("fc1000", "probs") if f"{name}/kernel" in arrays), "predictions")
    if model in PLANS:
        entries = vgg_entries(model)
        changes |= {"head.kind": "fc", "head.hidden_single": (4096, 4096)}
    else:
        old = model == "resnet50" and any(re.match(r"res\d\w_branch", name) for name in arrays)
        entries = resnet_entries(model, old=old, last=last)
        # The older networks had Keras's default.
        epsilon = _norm_epsilon(file, content, default=1e-3 if old else 1.001e-5)
        changes |= {
            "head.kind": "pool",
            "backbone.norm_epsilon": epsilon,
            "backbone.stem": "imagenet",
            "backbone.stem_pool": "pad",
            "backbone.stride_on": "1x1",
        }
    scores = arrays.get(f"{last}/bias")
    num_classes = len(scores) if scores is not None and scores.ndim == 1 else 1000
    return assemble(
        arrays,
        entries,
        file=file,
        origin=f"keras {model}",
        model=changed(base, changes),
        num_classes=num_classes,
        image_size=IMAGE_SIZE,
    )
