"""Filter pruning by the reconstruction of the next layer (ThiNet: Luo, Wu and Lin, ICCV 2017)."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from wae_jax.compress.budget import Costs, check_fraction, largest_below
from wae_jax.compress.network import (
    HEADS,
    Network,
    head_parts,
    keep_filters,
    readers,
    scale_channels,
)
from wae_jax.compress.samples import inputs, patches
from wae_jax.data import Batch
from wae_jax.errors import UserError
from wae_jax.models.backbones import VGG, vgg_convs
from wae_jax.models.classifier import variable_shapes
from wae_jax.runtime.console import progress_bar

SAMPLES = 10  # outputs of the next layer for each image
# Published widths for VGG16, and whether global pooling and one layer replace its FC layers.
_HALF = "32 32 64 64 128 128 128 256 256 256 512 512 512"
PRESETS = {
    "thinet-0.5": ("", False),  # half of all filters but the last block's; any VGG or ResNet
    "thinet-gap": (_HALF, True),
    "thinet-tiny": ("16 16 32 32 64 64 64 128 128 128 128 128 256", True),
}


def thinet(
    network: Network,
    batches: Sequence[Batch],
    widths: Mapping[str, int],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    between: Callable[[Network], Network] | None = None,
) -> Network:
    """Removes filters conv by conv, from the input side.

    What reads a conv's channels is sampled at random outputs. The channels whose contributions to
    these add up to the least, in squares, go, one after the other; those that stay are scaled by
    the least-squares solution.

    Args:
        network: without low-rank layers.
        batches: images that the network was trained on; their labels do not matter.
        widths: filters that stay, by conv.
        samples: outputs for each image.
        seed: of their choice.
        between: called after each conv, for example to fine-tune.
    """
    rng = np.random.default_rng(seed)
    have = {conv: network.layers[conv].writes[3] for conv in readers(network.model)}
    smaller = {
        conv: reader
        for conv, reader in readers(network.model).items()
        if widths.get(conv, have[conv]) < have[conv]
    }
    with progress_bar("removing filters", len(smaller), unit="layer") as bar:
        for conv, reader in smaller.items():
            gram = np.zeros((have[conv], have[conv]))
            for x in contributions(network, reader, batches, samples, rng):
                gram += x.T @ x
            kept = choose_channels(gram, widths[conv])
            factors = least_squares(gram, kept)
            network = scale_channels(keep_filters(network, {conv: kept}), reader, factors)
            if between is not None:
                network = between(network)
            bar.update()
    return network


def choose_channels(gram: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the channels that stay, ascending, by the greedy choice of those that go.

    Args:
        gram: X'X of the contributions X (samples, C), float64.
        count: how many stay.
    """
    # The square of the removed channels' sum, if channel c goes too, is that of the sum so far
    # plus this.
    more = np.diag(gram).copy()
    left = np.ones(len(gram), bool)
    for _ in range(len(gram) - count):
        channel = int(np.argmin(np.where(left, more, np.inf)))
        left[channel] = False
        more += 2 * gram[channel]
    return np.flatnonzero(left)


def least_squares(gram: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Factors of the kept channels with which they best add up to the sum of all."""
    return np.linalg.lstsq(gram[np.ix_(kept, kept)], gram[kept].sum(1), rcond=1e-10)[0]


def contributions(
    network: Network,
    reader: str,
    batches: Sequence[Batch],
    samples: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """What each input channel adds to random outputs of a conv or the heads, (samples, C) each."""
    heads = reader == HEADS
    kernel = head_parts(network) if heads else network.kernel(reader)
    pooled = heads and network.settings.head.kind == "pool"
    for x in inputs(network, reader, batches):
        image = np.repeat(np.arange(len(x)), samples)
        output = rng.integers(0, kernel.shape[-1], len(image))
        if heads:
            x = x.mean((1, 2))[:, None] if pooled else x.reshape(len(x), -1, x.shape[-1])
            yield np.einsum("npc,pcn->nc", x[image], kernel[:, :, output], dtype=np.float64)
            continue
        layer = network.layers[reader]
        _, height, width, _ = layer.writes
        row, column = rng.integers(0, height, len(image)), rng.integers(0, width, len(image))
        seen = patches(x, layer, (image, row, column))
        yield np.einsum("nijc,ijcn->nc", seen, kernel[..., output], dtype=np.float64)


def widths_by_budget(network: Network, macs: float) -> dict[str, int]:
    """The same fraction of all convs' filters but those that the heads read, for a budget.

    Args:
        network: any.
        macs: fraction of its MACs that may stay.

    Raises:
        UserError: the budget cannot be met.
    """
    check_fraction(macs)
    costs = Costs(network)
    prunable = [conv for conv, reader in readers(network.model).items() if reader != HEADS]

    def widths(fraction: float) -> dict[str, int]:
        return {conv: max(1, round(fraction * costs.widths[conv])) for conv in prunable}

    fraction = largest_below(lambda f: costs.of(widths(f)), int(macs * costs.total), "thinet")
    return widths(fraction)


def widths_of_preset(network: Network, preset: str) -> dict[str, int]:
    """Filters by conv as published.

    Raises:
        UserError: the preset is for another network.
    """
    published, _ = PRESETS[preset]
    backbone, layers = network.model.backbone, network.layers
    if not published:
        last = ""
        if isinstance(backbone, VGG):
            last = vgg_convs(backbone.plan)[-1].partition("_")[0] + "_"
        return {
            conv: max(1, layers[conv].writes[3] // 2)
            for conv in readers(network.model)
            if not (last and conv.startswith(last))
        }
    if network.settings.backbone.name != "vgg16":
        raise UserError(f"{preset} is for the backbone vgg16; take thinet with --macs")
    return dict(zip(vgg_convs(backbone.plan), map(int, published.split()), strict=True))


def with_pool_head(network: Network, seed: int = 0) -> Network:
    """The network with global pooling and one fresh linear layer in place of its heads."""
    head = dataclasses.replace(network.settings.head, kind="pool", dropout=0.0)
    settings = dataclasses.replace(network.settings, head=head)
    new = dataclasses.replace(network, settings=settings)
    rng = np.random.default_rng(seed)
    params = dict(network.variables["params"])
    for name, part in variable_shapes(new.model, network.image_size)["params"].items():
        if name.startswith("head_"):
            shape = part["scores"]["kernel"].shape
            kernel = rng.standard_normal(shape, np.float32) / np.sqrt(shape[0], dtype=np.float32)
            params[name] = {"scores": {"kernel": kernel, "bias": np.zeros(shape[1], np.float32)}}
    return dataclasses.replace(new, variables={**network.variables, "params": params})
