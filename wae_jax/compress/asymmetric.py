"""Asymmetric 3-D decomposition: Zhang, Zou, He and Sun, TPAMI 2016 (arXiv 1505.06798).

Conv by conv, from the input side, the responses after the ReLU are reconstructed from what the
already approximated convs before it make of the images. A k x k conv becomes k x 1, 1 x k and 1x1;
a 1x1 conv becomes two.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import linalg

from wae_jax.compress import decompose
from wae_jax.compress.budget import check_fraction
from wae_jax.compress.low_rank import Ranks, decomposable, keep_cheaper, low_rank_macs
from wae_jax.compress.network import TRUNK, Layer, Network, norm_paths, readers
from wae_jax.compress.samples import Places, draw_places, input_patches, responses
from wae_jax.data import Batch
from wae_jax.errors import UserError
from wae_jax.models.backbones.sizes import as_text
from wae_jax.models.low_rank import EXPAND, REDUCE
from wae_jax.runtime.console import progress_bar

# The weight of the auxiliary variable's constraint, and rounds with it.
_PENALTIES = ((0.01, 25), (1.0, 25))
# What the images leave open stays as it is: they count as if they had noise of such energy, and the
# inverse of what neither reaches is bounded.
_NOISE, _JITTER = 1e-6, 1e-13


def asymmetric(
    network: Network, batches: Sequence[Batch], macs: float, *, samples: int = 10, seed: int = 0
) -> Network:
    """The network with ranks by a budget.

    Args:
        network: any.
        batches: images that it was trained on; their labels do not matter.
        macs: fraction of its MACs that may stay.
        samples: responses of each image and conv.
        seed: of their choice.

    Raises:
        UserError: the budget cannot be met.
    """
    check_fraction(macs)
    places = draw_places(decomposable(network).values(), batches, samples, seed)
    wanted = responses(network, batches, places)
    ranks = choose_ranks(network, wanted, macs)
    return decompose_asymmetric(network, batches, ranks, places, wanted)


def choose_ranks(
    network: Network, wanted: Mapping[str, np.ndarray], macs: float
) -> dict[str, Ranks]:
    """Ranks (0, columns, rows) for k x k convs and (rank,) for 1x1, greedily by energy.

    Of all convs the product of the fractions of energy that they keep is to be large: that of the
    principal components of their responses for the last rank, of the kernel's split into columns
    and rows for the other. What costs least of it for each MAC goes first.

    Args:
        network: any.
        wanted: responses (n, filters) by conv.
        macs: fraction of the network's MACs that may stay.

    Raises:
        UserError: the budget cannot be met.
    """
    layers = decomposable(network)
    energies = {n: _energies(network.kernel(n), wanted[n]) for n in layers}
    ranks = {n: [len(e) for e in each] for n, each in energies.items()}
    rest = network.macs.total - sum(layer.macs for layer in layers.values())
    goal = int(macs * network.macs.total)
    costs = {n: low_rank_macs(layers[n], _form(r)) for n, r in ranks.items()}
    best = {n: _cheapest(layers[n], energies[n], ranks[n]) for n in layers}
    while rest + sum(min(costs[n], layers[n].macs) for n in layers) > goal:
        left = {n: found for n, found in best.items() if found is not None}
        if not left:
            least = rest + sum(costs.values())
            raise UserError(
                f"asymmetric cannot bring this network below {least / 1e6:.2f} M MACs, and "
                f"{goal / 1e6:.2f} M are asked for"
            )
        name = min(left, key=lambda n: left[n][0])
        ranks[name] = _fewer(layers[name], ranks[name], left[name][1])
        costs[name] = low_rank_macs(layers[name], _form(ranks[name]))
        best[name] = _cheapest(layers[name], energies[name], ranks[name])
    return keep_cheaper(layers, {n: _form(r) for n, r in ranks.items()})


def _form(ranks: Sequence[int]) -> Ranks:
    return (0, *ranks) if len(ranks) == 2 else tuple(ranks)


def _fewer(layer: Layer, ranks: Sequence[int], axis: int) -> list[int]:
    """One rank less; more columns than ``size`` times the rows have nothing to say."""
    *columns, last = (r - (axis == i) for i, r in enumerate(ranks))
    return [*(min(each, layer.size * last) for each in columns), last]


def _energies(kernel: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Squared lengths of the components that each rank counts, the largest first."""
    responses = np.square(linalg.svdvals(y - y.mean(0)))
    # Fewer responses than filters have fewer components.
    responses = np.pad(responses, (0, y.shape[1] - len(responses)))
    if len(kernel) == 1:
        return [responses[: min(kernel.shape[2:])]]
    return [np.square(linalg.svdvals(decompose.columns_by_rows(kernel))), responses]


def _cheapest(
    layer: Layer, energies: Sequence[np.ndarray], ranks: Sequence[int]
) -> tuple[float, int] | None:
    """What one rank less costs in energy for each MAC, and which; None where all are 1."""
    cost, found = low_rank_macs(layer, _form(ranks)), []
    for axis, (energy, rank) in enumerate(zip(energies, ranks, strict=True)):
        if rank > 1:
            fewer = _fewer(layer, ranks, axis)
            lost = energy[rank - 1] / max(energy[:rank].sum(), 1e-300)
            found.append((lost / (cost - low_rank_macs(layer, _form(fewer))), axis))
    return min(found, default=None)


def decompose_asymmetric(
    network: Network,
    batches: Sequence[Batch],
    ranks: Mapping[str, Ranks],
    places: Mapping[str, Places],
    wanted: Mapping[str, np.ndarray],
) -> Network:
    """The network with these convs as products.

    Args:
        network: any.
        batches: as for :func:`asymmetric`.
        ranks: by conv, see :class:`wae_jax.models.low_rank.LowRankConv`.
        places: where responses are sampled.
        wanted: the network's own there, (n, filters) by conv.
    """
    inner = readers(network.model)
    with progress_bar("decomposing", len(ranks), unit="layer") as bar:
        for conv in [name for name in network.layers if name in ranks]:
            x = input_patches(network, conv, batches, places[conv])
            network = _replace(network, conv, ranks[conv], x, wanted[conv], conv in inner)
            bar.update()
    return network


def _replace(
    network: Network, conv: str, ranks: Ranks, x: np.ndarray, y: np.ndarray, rectified: bool
) -> Network:
    """The network with one conv as a product.

    Args:
        x: what it reads, (n, k, k, C). y: what shall come out before the ReLU, (n, filters).
        rectified: whether a ReLU follows at once; in a ResNet the shortcut comes before.
    """
    factor, offset = _norm_as_factors(network, conv)
    kernel = network.kernel(conv).astype(np.float64) * factor
    flat = kernel.reshape(-1, kernel.shape[-1])  # what the conv makes of white noise
    now = np.tensordot(x, kernel, 3) + offset
    before, after, bias = reconstruct(y, now, ranks[-1], (flat, flat), rectified=rectified)
    bias += offset @ before @ after
    kernels = {REDUCE: kernel @ before}
    if len(ranks) == 3:
        # Columns and rows by themselves; then the last conv again, from what they give.
        kernels = decompose.columns_and_rows(kernel @ before, ranks[1])
        product = decompose.compose_columns(kernels)
        z = np.tensordot(x, product, 3)
        noise = product.reshape(-1, product.shape[-1]), flat
        first, second, bias = reconstruct(y, z, ranks[-1], noise, rectified=rectified)
        after = first @ second
    else:
        z = np.tensordot(x, kernels[REDUCE], 3)
    return _with_product(network, conv, ranks, {**kernels, EXPAND: after[None, None]}, bias, z)


def reconstruct(
    y: np.ndarray,
    x: np.ndarray,
    rank: int,
    noise: tuple[np.ndarray, np.ndarray],
    *,
    rectified: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, B, b) with relu(x A B + b) near relu(y), A B of some rank.

    Alternates between an auxiliary z, in which the ReLU is solved value by value, and the best map
    of that rank from x to z.

    Args:
        y: (n, d) float64.
        x: (n, q).
        rank: at most min(q, d).
        noise: what x, (m, q), and y, (m, d), are for noise in the images: it decides where x does
            not vary.
        rectified: False: without the ReLU.
    """
    fit = _Fit(x, rank, *noise)
    before, after, bias = fit(y)
    if rectified:
        for penalty, rounds in _PENALTIES:
            for _ in range(rounds):
                z = nearest(y, x @ before @ after + bias, penalty)
                before, after, bias = fit(z)
    return before, after, bias


def nearest(y: np.ndarray, now: np.ndarray, penalty: float) -> np.ndarray:
    """z that minimises (relu(y) - relu(z))^2 + penalty (z - now)^2, value by value."""
    positive = np.maximum(y, 0)
    off = np.minimum(now, 0)  # where relu(z) is 0
    on = np.maximum((penalty * now + positive) / (penalty + 1), 0)
    costs = [np.square(positive - np.maximum(z, 0)) + penalty * (z - now) ** 2 for z in (off, on)]
    return np.where(costs[0] < costs[1], off, on)


class _Fit:
    """The best map of some rank from x to a target, with an offset: reduced-rank regression."""

    def __init__(self, x: np.ndarray, rank: int, noise_x: np.ndarray, noise_y: np.ndarray):
        self.mean, self.rank = x.mean(0), rank
        self.x = x - self.mean
        gram, noise = self.x.T @ self.x, noise_x.T @ noise_x
        weight = _NOISE * max(np.trace(gram), 1e-30) / max(np.trace(noise), 1e-30)
        self.gram = gram + weight * noise
        self.right = weight * noise_x.T @ noise_y
        jitter = _JITTER * np.trace(self.gram) * np.eye(len(gram))
        self.factors = linalg.cho_factor(self.gram + jitter)

    def __call__(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean = target.mean(0)
        best = linalg.cho_solve(self.factors, self.x.T @ (target - mean) + self.right)
        fitted = best.T @ self.gram @ best
        size = len(fitted)
        _, u = linalg.eigh(fitted, subset_by_index=(size - self.rank, size - 1))
        before, after = best @ u, u.T
        return before, after, mean - self.mean @ before @ after


def _norm_as_factors(network: Network, conv: str) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset of a conv's outputs before the ReLU, its bias included, float64."""
    norm = norm_paths(network, conv)
    if not norm:
        bias = network.arrays.get(f"{TRUNK}{conv}/bias")
        ones = np.ones(network.layers[conv].writes[3])
        return ones, 0 * ones if bias is None else bias.astype(np.float64)
    scale, bias, mean, var = (network.arrays[p].astype(np.float64) for p in norm)
    factor = scale / np.sqrt(var + network.settings.backbone.norm_epsilon)
    return factor, bias - mean * factor


def _with_product(
    network: Network,
    conv: str,
    ranks: Ranks,
    kernels: Mapping[str, np.ndarray],
    bias: np.ndarray,
    z: np.ndarray,
) -> Network:
    """A norm behind the conv is set so that it adds the bias alone, in training too."""
    arrays = dict(network.arrays)
    del arrays[f"{TRUNK}{conv}/kernel"]
    arrays |= {f"{TRUNK}{conv}/{name}/kernel": _float32(x) for name, x in kernels.items()}
    norm = norm_paths(network, conv)
    if norm:
        y = z @ kernels[EXPAND][0, 0]
        mean, var = y.mean(0), y.var(0)
        scale = np.sqrt(var + network.settings.backbone.norm_epsilon)
        arrays |= dict(zip(norm, map(_float32, (scale, bias + mean, mean, var)), strict=True))
    else:
        arrays.pop(f"{TRUNK}{conv}/bias", None)
        arrays[f"{TRUNK}{conv}/{EXPAND}/bias"] = _float32(bias)
    every = dict(network.model.backbone.ranks) | {conv: ranks}
    return network.with_arrays(arrays, ranks=as_text(every))


def _float32(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32)
