"""A classifier as compression sees it, and what pruning its trunk means for every array."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from wae_jax.bench.macs import MacCount, count_macs
from wae_jax.config import ModelSettings
from wae_jax.errors import UserError
from wae_jax.inference.fold import for_inference
from wae_jax.models.backbones import VGG, ResNet, inner_convs, resnet_convs, vgg_convs
from wae_jax.models.backbones.sizes import as_text
from wae_jax.models.classifier import Classifier, build_model, scores_of
from wae_jax.schema.trees import changed

HEADS = "heads"  # in place of a conv that reads channels
_HEAD_NAMES = ("head_low", "head_fused")
TRUNK = "params/backbone/"


@dataclasses.dataclass(frozen=True)
class Network:
    """A classifier with weights.

    Attributes:
        settings: the config's ``model``.
        variables: {"params": ..., "batch_stats": ...}, numpy.
        num_classes, image_size: as for :func:`wae_jax.models.classifier.build_model`.
    """

    settings: ModelSettings
    variables: Any
    num_classes: int
    image_size: int

    @functools.cached_property
    def model(self) -> Classifier:
        return build_model(self.settings, num_classes=self.num_classes, image_size=self.image_size)

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The variables by path, as "params/backbone/conv1_1/kernel"."""
        return {k: np.asarray(v) for k, v in flatten_dict(self.variables, sep="/").items()}

    @functools.cached_property
    def macs(self) -> MacCount:
        """MACs of an image in the inference form, by layer."""
        model, variables = for_inference(self.model, self.variables, platform="tpu")
        images = jax.ShapeDtypeStruct((1, self.image_size, self.image_size, 3), jnp.uint8)
        return count_macs(lambda v, x: scores_of(model, v, x), variables, images)

    @functools.cached_property
    def parameters(self) -> int:
        """Of the inference form."""
        _, variables = for_inference(self.model, self.variables, platform="tpu")
        return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))

    @functools.cached_property
    def layers(self) -> dict[str, "Layer"]:
        """The convs of the trunk by name, from the input side."""
        names = {
            ("backbone", *name.split("/")): name for name in _kernel_sizes(self.model.backbone)
        }
        shapes = {}

        def record(call, args, kwargs, context):
            y = call(*args, **kwargs)
            if context.module.path in names and context.method_name == "__call__":
                shapes[names[context.module.path]] = args[0].shape, y.shape
            return y

        images = jax.ShapeDtypeStruct((1, self.image_size, self.image_size, 3), jnp.uint8)
        with nn.intercept_methods(record):
            jax.eval_shape(lambda v, x: scores_of(self.model, v, x), self.variables, images)
        return {
            name: Layer(name, size, *shapes[name])
            for name, size in _kernel_sizes(self.model.backbone).items()
        }

    def kernel(self, conv: str) -> np.ndarray:
        """(k, k, in, out) of a conv of the trunk."""
        return self.arrays[f"{TRUNK}{conv}/kernel"]

    def with_arrays(self, arrays: Mapping[str, np.ndarray], **changes: str) -> "Network":
        """The same with other arrays and, by keyword, other values of ``backbone``'s keys."""
        settings = changed(self.settings, {f"backbone.{key}": v for key, v in changes.items()})
        variables = {"batch_stats": {}, **unflatten_dict(dict(arrays), sep="/")}
        return dataclasses.replace(self, settings=settings, variables=variables)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A conv of the trunk: its name, the side of its kernel, (1, h, w, C) before and after it."""

    name: str
    size: int
    reads: tuple[int, int, int, int]
    writes: tuple[int, int, int, int]

    @property
    def taps(self) -> int:
        """MACs for each pair of an input and an output channel, where it is one conv."""
        return self.size**2 * self.writes[1] * self.writes[2]

    @property
    def macs(self) -> int:
        return self.taps * self.reads[3] * self.writes[3]


def check_compressible(model: Classifier) -> None:
    """Raises UserError where the trunk is neither a VGG nor a ResNet."""
    if not isinstance(model.backbone, VGG | ResNet):
        raise UserError("only VGG and ResNet trunks can be compressed, not a user's own module")


def _kernel_sizes(backbone: nn.Module) -> dict[str, int]:
    """Sizes of kernels by conv, those that read the image and residual streams included."""
    if isinstance(backbone, VGG):
        return dict.fromkeys(vgg_convs(backbone.plan), 3)
    assert isinstance(backbone, ResNet)
    stem = 7 if backbone.stem == "imagenet" else 3
    return {"stem_conv": stem, **resnet_convs(backbone.kind, backbone.blocks)}


@dataclasses.dataclass(frozen=True)
class Group:
    """Filters that go together: one conv's, or those of all convs that write to a residual stream.

    writers: the convs. readers: the convs that read their channels, or :data:`HEADS`.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]


def groups(model: Classifier, *, streams: bool) -> dict[str, Group]:
    """What can lose filters, by the name that ``backbone.widths`` has for it.

    Args:
        model: a VGG's or ResNet's.
        streams: whether residual streams are among them ("stem", "stage1", ...).
    """
    found = {conv: Group((conv,), (reader,)) for conv, reader in readers(model).items()}
    if streams and isinstance(model.backbone, ResNet):
        found |= _streams(model.backbone)
    return found


def _streams(backbone: ResNet) -> dict[str, Group]:
    convs = resnet_convs(backbone.kind, backbone.blocks)
    last = max(name[-1] for name in convs if name[-1].isdigit())
    writers: dict[str, list[str]] = {"stem": ["stem_conv"]}
    reads: dict[str, list[str]] = {"stem": []}
    stream = "stem"
    for stage, count in enumerate(backbone.blocks, start=1):
        name = f"stage{stage}"
        for block in (f"{name}_block{number}" for number in range(1, count + 1)):
            reads[stream].append(f"{block}/conv1")
            shortcut = f"{block}/shortcut_conv"
            if shortcut in convs:
                reads[stream].append(shortcut)
                writers[name], reads[name] = [shortcut], []
            elif stream == "stem":  # goes on as the first stage's
                writers = {name: writers.pop("stem")}
                reads = {name: reads.pop("stem")}
            stream = name
            writers[name].append(f"{block}/conv{last}")
    reads[stream].append(HEADS)
    return {name: Group(tuple(writers[name]), tuple(reads[name])) for name in writers}


def readers(model: Classifier) -> dict[str, str]:
    """The convs whose filters can be removed, from the input side, and what reads each.

    In a ResNet those within a block, which write to no residual stream.

    Returns:
        Names of convs -> names of convs, or :data:`HEADS`.
    """
    backbone = model.backbone
    if isinstance(backbone, VGG):
        convs = vgg_convs(backbone.plan)
        return dict(zip(convs, (*convs[1:], HEADS), strict=True))
    assert isinstance(backbone, ResNet)
    convs = inner_convs(backbone.kind, backbone.blocks)
    return {conv: f"{conv[:-1]}{int(conv[-1]) + 1}" for conv in convs}


def head_kernels(network: Network) -> dict[str, tuple[np.ndarray, int]]:
    """Of each head that reads the trunk: path of its first kernel -> (the kernel, cells).

    The first cells * C rows belong to the trunk's features, C channels in each cell.
    """
    first = "scores"
    if network.settings.head.kind == "fc" and "params/head_low/fc1/kernel" in network.arrays:
        first = "fc1"
    channels = list(network.layers.values())[-1].writes[3]
    paths = [f"params/{head}/{first}/kernel" for head in _HEAD_NAMES]
    kernels = {path: network.arrays[path] for path in paths if path in network.arrays}
    cells = len(kernels[paths[0]]) // channels  # all that this head reads is the trunk's
    return {path: (kernel, cells) for path, kernel in kernels.items()}


def norm_paths(network: Network, conv: str) -> tuple[str, ...]:
    """Paths of scale, bias, mean and variance of the norm behind a conv; empty without one."""
    norm = conv.replace("conv", "norm")
    paths = (
        *(f"{TRUNK}{norm}/{name}" for name in ("scale", "bias")),
        *(f"batch_stats/backbone/{norm}/{name}" for name in ("mean", "var")),
    )
    return paths if paths[0] in network.arrays else ()


def keep_filters(network: Network, kept: Mapping[str, np.ndarray]) -> Network:
    """The network with only some filters of some convs: smaller, not masked.

    Args:
        network: any whose convs named here are single convs.
        kept: numbers of the filters that stay, ascending, by name of :func:`groups`.
    """
    every = groups(network.model, streams=True)
    arrays = dict(network.arrays)
    for name, index in kept.items():
        for conv in every[name].writers:
            own = (f"{TRUNK}{conv}/kernel", f"{TRUNK}{conv}/bias", *norm_paths(network, conv))
            for path in own:
                if path in arrays:
                    arrays[path] = arrays[path][..., index]
        for reader in every[name].readers:
            if reader == HEADS:
                for path, (kernel, cells) in head_kernels(network).items():
                    part = _head_part(kernel, cells, network)
                    rest = kernel[cells * part.shape[1] :]
                    read = part[:, index].reshape(-1, kernel.shape[1])
                    arrays[path] = np.concatenate([read, rest])
            else:
                path = f"{TRUNK}{reader}/kernel"
                arrays[path] = arrays[path][:, :, index]
    widths = dict(network.model.backbone.widths) | {c: len(i) for c, i in kept.items()}
    return network.with_arrays(arrays, widths=as_text(widths))


def _head_part(kernel: np.ndarray, cells: int, network: Network) -> np.ndarray:
    """(cells, C, out) of a head's first kernel: what reads the trunk."""
    channels = list(network.layers.values())[-1].writes[3]
    return kernel[: cells * channels].reshape(cells, channels, -1)


def head_parts(network: Network) -> np.ndarray:
    """(cells, C, outputs of all heads): what reads the trunk's features."""
    kernels = head_kernels(network).values()
    return np.concatenate([_head_part(k, cells, network) for k, cells in kernels], -1)


def scale_channels(network: Network, reader: str, factors: np.ndarray) -> Network:
    """The network in which a conv, or the heads, read their input channels times ``factors``."""
    arrays = dict(network.arrays)
    if reader == HEADS:
        for path, (kernel, cells) in head_kernels(network).items():
            rows = np.ones(len(kernel))
            rows[: cells * len(factors)] = np.tile(factors, cells)
            arrays[path] = (kernel * rows[:, None]).astype(kernel.dtype)
    else:
        path = f"{TRUNK}{reader}/kernel"
        arrays[path] = (arrays[path] * factors[:, None]).astype(arrays[path].dtype)
    return network.with_arrays(arrays)
