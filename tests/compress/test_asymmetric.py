"""The asymmetric decomposition against a straightforward NumPy reference."""

import numpy as np
import pytest

from tests.compress.conftest import check_same_scores, nightly, scores, slow_if_deep
from wae_jax.compress import asymmetric, decompose
from wae_jax.compress.low_rank import decomposable, low_rank_macs
from wae_jax.compress.network import TRUNK
from wae_jax.compress.samples import draw_places, input_patches, responses
from wae_jax.errors import UserError

RNG = np.random.default_rng(0)


def test_the_auxiliary_variable_is_the_best_of_a_fine_grid():
    y, now = RNG.normal(size=200), RNG.normal(size=200)
    grid = np.linspace(-5, 5, 100_001)
    for penalty in (0.01, 1.0):
        found = asymmetric.nearest(y, now, penalty)
        for target, near, z in zip(y, now, found, strict=True):

            def cost(value, target=target, near=near, penalty=penalty):
                lost = (max(target, 0) - np.maximum(value, 0)) ** 2
                return lost + penalty * (value - near) ** 2

            assert cost(z) <= cost(grid).min() + 1e-8


def reference(y, x, rank):
    """The paper's algorithm 1 for an asymmetric layer, step by step; no ridge, no Gram matrices."""

    def best_map(target):
        xc, tc = x - x.mean(0), target - target.mean(0)
        fitted = xc @ np.linalg.lstsq(xc, tc, rcond=None)[0]
        _, _, v = np.linalg.svd(fitted, full_matrices=False)
        m = np.linalg.lstsq(xc, fitted @ v[:rank].T @ v[:rank], rcond=None)[0]
        return m, target.mean(0) - x.mean(0) @ m

    m, b = best_map(y)
    for penalty in (0.01, 1.0):
        for _ in range(25):
            now = x @ m + b
            z = np.empty_like(y)
            for index in np.ndindex(y.shape):
                r, n = max(y[index], 0), now[index]
                choices = [min(n, 0), max((penalty * n + r) / (penalty + 1), 0)]
                costs = [(r - max(c, 0)) ** 2 + penalty * (c - n) ** 2 for c in choices]
                z[index] = choices[int(np.argmin(costs))]
            m, b = best_map(z)
    return m, b


def test_reconstruction_is_the_references():
    y = RNG.normal(size=(300, 4)) @ RNG.normal(size=(4, 7)) + 0.3 * RNG.normal(size=(300, 7))
    x = y + 0.2 * RNG.normal(size=y.shape)  # as approximated convs before it make it
    noise = np.eye(7), np.eye(7)
    before, after, bias = asymmetric.reconstruct(y, x, 3, noise)
    assert (before.shape, after.shape, bias.shape) == ((7, 3), (3, 7), (7,))
    m, b = reference(y, x, 3)
    np.testing.assert_allclose(before @ after, m, atol=1e-5)
    np.testing.assert_allclose(bias, b, atol=1e-5)

    def error(m, b):
        return np.square(np.maximum(y, 0) - np.maximum(x @ m + b, 0)).sum()

    # That is what the ReLU is considered for.
    linear, more, offset = asymmetric.reconstruct(y, x, 3, noise, rectified=False)
    assert error(before @ after, bias) < 0.95 * error(linear @ more, offset)


def test_columns_and_rows_are_the_best_of_their_rank():
    kernel = RNG.normal(size=(3, 3, 5, 6))
    full = decompose.columns_and_rows(kernel, 15)
    np.testing.assert_allclose(decompose.compose_columns(full), kernel, atol=1e-10)
    error = decompose.compose_columns(decompose.columns_and_rows(kernel, 4)) - kernel
    left = np.linalg.svd(decompose.columns_by_rows(kernel), compute_uv=False)[4:]
    assert np.linalg.norm(error) == pytest.approx(np.linalg.norm(left))


def sampled(network, photos):
    places = draw_places(decomposable(network).values(), photos, 10, 0)
    return places, responses(network, photos, places)


@pytest.mark.parametrize("name", ["vgg", nightly("basic"), nightly("bottleneck")])
def test_responses_are_what_convs_make_of_what_they_read(name, make, photos):
    network = make(name)
    places, wanted = sampled(network, photos)
    for conv in wanted:
        x = input_patches(network, conv, photos, places[conv])
        factor, offset = asymmetric._norm_as_factors(network, conv)
        found = np.tensordot(x, network.kernel(conv) * factor, 3) + offset
        scale = np.abs(wanted[conv]).max()
        np.testing.assert_allclose(found / scale, wanted[conv] / scale, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "vgg",
        "vgg with norms",
        nightly("wae-early"),
        slow_if_deep("basic"),
        nightly("bottleneck"),
    ],
)
def test_full_ranks_change_nothing(name, make, photos):
    network = make(name)
    places, wanted = sampled(network, photos)
    ranks = {
        n: (0, layer.size * min(layer.reads[3], layer.writes[3]), layer.writes[3])
        if layer.size > 1
        else (min(layer.reads[3], layer.writes[3]),)
        for n, layer in decomposable(network).items()
    }
    full = asymmetric.decompose_asymmetric(network, photos, ranks, places, wanted)
    assert not any(f"{TRUNK}{name}/kernel" in full.arrays for name in ranks)
    check_same_scores(network, full, photos[0]["image"])


@pytest.mark.parametrize(
    "name, macs",
    [
        ("vgg with norms", 0.6),
        nightly("wae-early", 0.9),
        nightly("bottleneck", 0.75),
    ],
)
def test_budget(name, macs, make, photos):
    network = make(name)
    smaller = asymmetric.asymmetric(network, photos, macs)
    ranks = dict(smaller.model.backbone.ranks)
    saved = sum(
        network.layers[n].macs - low_rank_macs(network.layers[n], r) for n, r in ranks.items()
    )
    assert smaller.macs.total == network.macs.total - saved
    assert macs - 0.15 < smaller.macs.total / network.macs.total <= macs  # few ranks, large steps
    assert np.isfinite(scores(smaller, photos[0]["image"])).all()
    with pytest.raises(UserError, match="asymmetric cannot bring this network below"):
        asymmetric.asymmetric(network, photos, 0.001)


def test_ranks_are_the_greedy_choice(make, photos):
    """One rank at a time, what costs least energy for each MAC, by their definition."""
    network = make("vgg")
    _, wanted = sampled(network, photos)
    layers = decomposable(network)
    kept, energies = {}, {}
    for n in layers:
        kernel = network.kernel(n)
        matrix = np.moveaxis(kernel, 1, 2).reshape(3 * kernel.shape[2], -1)
        columns = np.linalg.svd(matrix, compute_uv=False) ** 2
        rows = np.linalg.eigvalsh(np.cov(wanted[n].T))[::-1]
        energies[n] = columns, rows
        kept[n] = [len(columns), len(rows)]

    def macs(n, columns, rows):
        return low_rank_macs(layers[n], (0, columns, rows))

    goal = int(0.5 * network.macs.total)
    rest = network.macs.total - sum(layer.macs for layer in layers.values())
    while rest + sum(min(macs(n, *kept[n]), layers[n].macs) for n in layers) > goal:
        choices = []
        for n in layers:
            for axis in (0, 1):
                fewer = list(kept[n])
                fewer[axis] -= 1
                if fewer[axis]:
                    energy = energies[n][axis]
                    lost = energy[fewer[axis]] / energy[: kept[n][axis]].sum()
                    fewer[0] = min(fewer[0], 3 * fewer[1])
                    choices.append((lost / (macs(n, *kept[n]) - macs(n, *fewer)), n, fewer))
        _, n, fewer = min(choices)
        kept[n] = fewer
    expected = {n: (0, *r) for n, r in kept.items()}
    expected = {n: r for n, r in expected.items() if low_rank_macs(layers[n], r) < layers[n].macs}
    assert asymmetric.choose_ranks(network, wanted, 0.5) == expected
