"""What convs read and write at some places of some images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.compress.network import HEADS, Layer, Network, norm_paths
from wae_jax.data import Batch
from wae_jax.models.classifier import scores_of

# Of each batch: numbers of images, rows and columns of a conv's outputs, (n,) each.
Places = Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]


def draw_places(
    layers: Iterable[Layer], batches: Sequence[Batch], samples: int, seed: int
) -> dict[str, Places]:
    """So many random outputs of each conv for each image, by conv."""
    rng = np.random.default_rng(seed)
    found: dict[str, Places] = {}
    for layer in layers:
        _, height, width, _ = layer.writes
        images = [np.repeat(np.arange(len(batch["label"])), samples) for batch in batches]
        found[layer.name] = [
            (i, rng.integers(0, height, len(i)), rng.integers(0, width, len(i))) for i in images
        ]
    return found


def responses(
    network: Network, batches: Sequence[Batch], places: Mapping[str, Places]
) -> dict[str, np.ndarray]:
    """What convs make, norms included, before the ReLU: (n, filters) float64 by conv."""
    writers = {}
    for conv in places:
        last = conv.replace("conv", "norm") if norm_paths(network, conv) else conv
        writers["backbone", *last.split("/")] = conv

    @jax.jit
    def outputs(variables, images, at):
        found = {}

        def record(call, args, kwargs, context):
            y = call(*args, **kwargs)
            conv = writers.get(context.module.path)
            if conv is not None and context.method_name == "__call__":
                found[conv] = y[at[conv]]
            return y

        with nn.intercept_methods(record):
            scores_of(network.model, variables, images)
        return found

    parts: dict[str, list[np.ndarray]] = {conv: [] for conv in places}
    for number, batch in enumerate(batches):
        at = {conv: each[number] for conv, each in places.items()}
        for conv, y in outputs(network.variables, np.asarray(batch["image"]), at).items():
            parts[conv].append(np.asarray(y, np.float64))
    return {conv: np.concatenate(each) for conv, each in parts.items()}


def input_patches(
    network: Network, conv: str, batches: Sequence[Batch], places: Places
) -> np.ndarray:
    """What a conv reads for its outputs at some places, (n, k, k, C) float64."""
    layer = network.layers[conv]
    found = [
        patches(x, layer, at) for x, at in zip(inputs(network, conv, batches), places, strict=True)
    ]
    return np.concatenate(found).astype(np.float64)


def patches(
    x: np.ndarray, layer: Layer, at: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """What a conv reads of ``x`` (B, h, w, C) for outputs: image, row, column -> (n, k, k, C)."""
    image, row, column = (each[:, None, None] for each in at)
    # Padded by half the kernel; the stride follows from the sides.
    stride, pad = -(-layer.reads[1] // layer.writes[1]), layer.size // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = np.arange(layer.size)
    return x[image, stride * row + taps[:, None], stride * column + taps]


def inputs(network: Network, reader: str, batches: Sequence[Batch]) -> Iterator[np.ndarray]:
    """What a conv reads, or the trunk's features for the heads: (B, h, w, C) of each batch."""
    model = network.model
    path = ("backbone",) if reader == HEADS else ("backbone", *reader.split("/"))

    @jax.jit
    def read(variables, images):
        found: list[jnp.ndarray] = []

        def record(call, args, kwargs, context):
            y = call(*args, **kwargs)
            if context.module.path == path and context.method_name == "__call__":
                found.append(y if reader == HEADS else args[0])
            return y

        with nn.intercept_methods(record):
            scores_of(model, variables, images)
        return found[0]

    for batch in batches:
        yield np.asarray(read(network.variables, np.asarray(batch["image"])), np.float32)
