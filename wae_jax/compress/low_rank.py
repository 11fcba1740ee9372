"""Convs of a trunk as products of smaller ones, with ranks by rule or by budget."""

from collections.abc import Callable, Mapping

import numpy as np

from wae_jax.compress import decompose
from wae_jax.compress.budget import check_fraction, largest_below
from wae_jax.compress.network import TRUNK, Layer, Network
from wae_jax.models.backbones.sizes import as_text
from wae_jax.models.low_rank import EXPAND
from wae_jax.runtime.console import progress_bar

Ranks = tuple[int, ...]


def decompose_network(network: Network, ranks: Mapping[str, Ranks]) -> Network:
    """The network with some convs of its trunk as products of smaller ones.

    Args:
        network: any.
        ranks: by conv, see :class:`wae_jax.models.low_rank.LowRankConv`.

    Raises:
        UserError: CP is asked for, and the package tensorly is missing.
    """
    arrays = dict(network.arrays)
    with progress_bar("decomposing", len(ranks), unit="layer") as bar:
        for conv, given in ranks.items():
            kernel = arrays.pop(f"{TRUNK}{conv}/kernel")
            factors = _decompose(kernel, given)
            arrays |= {f"{TRUNK}{conv}/{name}/kernel": x for name, x in factors.items()}
            if f"{TRUNK}{conv}/bias" in arrays:
                bias = arrays.pop(f"{TRUNK}{conv}/bias")
                arrays[f"{TRUNK}{conv}/{EXPAND}/bias"] = bias
            bar.update()
    every = dict(network.model.backbone.ranks) | dict(ranks)
    return network.with_arrays(arrays, ranks=as_text(every))


def _decompose(kernel: np.ndarray, ranks: Ranks) -> dict[str, np.ndarray]:
    if len(ranks) == 2:
        return decompose.tucker2(kernel, ranks)
    return decompose.svd(kernel, *ranks) if len(kernel) == 1 else decompose.cp(kernel, *ranks)


def tucker_ranks(network: Network, macs: float | None = None) -> dict[str, Ranks]:
    """Ranks for Tucker-2 of all convs but the first; for 1x1 convs those of the SVD.

    A conv that would not become cheaper is left out.

    Args:
        network: any.
        macs: fraction of its MACs that may stay: then all kernels lose the same fraction of their
            energy along each of their axes. None: variational Bayes says how much of each is noise.

    Raises:
        UserError: the budget cannot be met.
    """
    layers = decomposable(network)
    if macs is None:
        chosen = {name: decompose.vbmf_ranks(network.kernel(name)) for name in layers}
        # One rank for a 1x1 conv, whose unfoldings are the same matrix.
        return keep_cheaper(
            layers, {n: r if layers[n].size > 1 else r[:1] for n, r in chosen.items()}
        )
    energies = {name: _energies(network.kernel(name)) for name in layers}

    def ranks(kept: float) -> dict[str, Ranks]:
        return keep_cheaper(
            layers,
            {name: tuple(_rank(e, 1 - kept) for e in axes) for name, axes in energies.items()},
        )

    return _by_budget(network, layers, ranks, macs, "tucker")


def cp_ranks(network: Network, macs: float) -> dict[str, Ranks]:
    """Ranks for CP of all convs but the first, for 1x1 convs of the SVD, by a budget.

    Each conv keeps the same fraction of its MACs.

    Args:
        network: any.
        macs: fraction of the network's MACs that may stay.

    Raises:
        UserError: the budget cannot be met.
    """
    layers = decomposable(network)

    def ranks(kept: float) -> dict[str, Ranks]:
        every = {
            n: (max(1, int(kept * la.macs / low_rank_macs(la, (1,)))),) for n, la in layers.items()
        }
        return keep_cheaper(layers, every)

    return _by_budget(network, layers, ranks, macs, "cp")


def low_rank_macs(layer: Layer, ranks: Ranks) -> int:
    """MACs of a conv as a product of smaller ones."""
    _, height, width, fan_in = layer.reads
    _, rows, columns, out = layer.writes
    before, after = height * width, rows * columns
    if len(ranks) == 3:
        _, first, second = ranks
        taps = layer.size * (rows * width * fan_in * first + after * first * second)
        return taps + after * second * out
    if layer.size == 1:
        return after * ranks[0] * (fan_in + out)
    if len(ranks) == 2:
        core = layer.size**2 * ranks[0] * ranks[1]
        return before * fan_in * ranks[0] + after * (core + ranks[1] * out)
    filters = layer.size * (rows * width + after)  # columns first, with the stride of the rows
    return ranks[0] * (before * fan_in + filters + after * out)


def decomposable(network: Network) -> dict[str, Layer]:
    """All convs but the first and those that are products already."""
    done, (_, *rest) = dict(network.model.backbone.ranks), network.layers.values()
    return {layer.name: layer for layer in rest if layer.name not in done}


def keep_cheaper(layers: Mapping[str, Layer], ranks: Mapping[str, Ranks]) -> dict[str, Ranks]:
    """The ranks of the convs that become cheaper by them."""
    return {n: r for n, r in ranks.items() if low_rank_macs(layers[n], r) < layers[n].macs}


def _by_budget(
    network: Network,
    layers: Mapping[str, Layer],
    ranks: Callable[[float], dict[str, Ranks]],
    macs: float,
    what: str,
) -> dict[str, Ranks]:
    check_fraction(macs)
    total = network.macs.total

    def cost(kept: float) -> int:
        saved = (layers[n].macs - low_rank_macs(layers[n], r) for n, r in ranks(kept).items())
        return total - sum(saved)

    return ranks(largest_below(cost, int(macs * total), what))


def _energies(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of the unfoldings along input and output channels, of a 1x1 conv's matrix once."""
    axes = (2, 3) if len(kernel) > 1 else (2,)
    return tuple(decompose.lost_energies(kernel, axis) for axis in axes)


def _rank(lost: np.ndarray, most: float) -> int:
    return max(1, int((lost > most).sum()))
