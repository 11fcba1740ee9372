"""Decompositions against tensorly's, ranks of known matrices, and what products cost."""

import numpy as np
import pytest
import tensorly
from tensorly.decomposition import parafac, partial_tucker

from tests.compress.conftest import check_same_scores, slow_if_deep
from wae_jax.compress import decompose
from wae_jax.compress.low_rank import cp_ranks, decompose_network, low_rank_macs, tucker_ranks
from wae_jax.compress.network import TRUNK
from wae_jax.errors import UserError

RNG = np.random.default_rng(0)


def structured(ranks, noise=0.05, shape=(3, 3, 16, 20)):
    """A kernel of given ranks of its channels, with noise."""
    core = RNG.standard_normal((*shape[:2], *ranks))
    left, right = (
        RNG.standard_normal((shape[2], ranks[0])),
        RNG.standard_normal((ranks[1], shape[3])),
    )
    kernel = np.einsum("ijpq,sp,qt->ijst", core, left, right)
    return kernel + noise * RNG.standard_normal(shape)


def test_tucker2_is_tensorlys():
    kernel = structured((5, 6))
    (core, factors), _ = partial_tucker(kernel, [5, 6], modes=[2, 3], n_iter_max=200, tol=1e-10)
    expected = tensorly.tenalg.multi_mode_dot(core, factors, modes=[2, 3])
    found = decompose.tucker2(kernel, (5, 6))
    assert {name: x.shape for name, x in found.items()} == {
        "reduce": (1, 1, 16, 5),
        "core": (3, 3, 5, 6),
        "expand": (1, 1, 6, 20),
    }
    np.testing.assert_allclose(decompose.compose(found), expected, atol=2e-5 * np.abs(kernel).max())


def test_cp_is_tensorlys():
    kernel = structured((4, 4))
    cp = parafac(kernel, 8, n_iter_max=50, init="random", tol=1e-5, random_state=0)
    found = decompose.cp(kernel, 8)
    expected = tensorly.cp_to_tensor(cp)
    np.testing.assert_allclose(decompose.compose(found), expected, atol=1e-5 * np.abs(kernel).max())
    lengths = [np.linalg.norm(found[n].reshape(-1, 8), axis=0) for n in ("reduce", "vertical")]
    np.testing.assert_allclose(*lengths, rtol=1e-4)


def test_svd_is_the_best_of_its_rank():
    kernel = RNG.standard_normal((1, 1, 12, 9))
    left = np.linalg.svd(kernel[0, 0], compute_uv=False)[4:]
    error = decompose.compose(decompose.svd(kernel, 4)) - kernel
    assert np.linalg.norm(error) == pytest.approx(np.linalg.norm(left), rel=1e-5)


@pytest.mark.parametrize(
    "rows, columns, rank, noise",
    [
        (100, 300, 10, 0.1),
        (64, 576, 5, 0.5),
        (128, 1152, 20, 1.0),
        (50, 50, 7, 0.2),
        (200, 100, 10, 0.3),
        (64, 576, 0, 1.0),
    ],
)
def test_vbmf_finds_the_rank_below_the_noise(rows, columns, rank, noise):
    rng = np.random.default_rng(rank)
    matrix = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))
    noisy = matrix + noise * rng.standard_normal((rows, columns))
    assert decompose.vbmf_rank(noisy) == rank


def test_vbmf_ranks_of_a_kernel():
    assert decompose.vbmf_ranks(structured((5, 6), shape=(3, 3, 32, 40))) == (5, 6)
    assert decompose.vbmf_ranks(RNG.standard_normal((3, 3, 32, 40))) == (1, 1)


@pytest.mark.parametrize("name", ["vgg", "wae", slow_if_deep("bottleneck")])
def test_full_ranks_change_nothing(name, make, photos):
    network = make(name)
    ranks = {
        layer.name: (layer.reads[3], layer.writes[3])
        if layer.size > 1
        else (min(layer.reads[3], layer.writes[3]),)
        for layer in list(network.layers.values())[1:]
    }
    full = decompose_network(network, ranks)
    assert not any(f"{TRUNK}{name}/kernel" in full.arrays for name in ranks)
    check_same_scores(network, full, photos[0]["image"])


@pytest.mark.parametrize("method", [tucker_ranks, cp_ranks])
@pytest.mark.parametrize(
    "name, macs", [("vgg with norms", 0.75), ("wae-early", 0.9), slow_if_deep("bottleneck", 0.75)]
)
def test_budget(name, macs, method, make):
    network = make(name)
    ranks = method(network, macs)
    smaller = decompose_network(network, ranks)
    saved = sum(
        network.layers[n].macs - low_rank_macs(network.layers[n], r) for n, r in ranks.items()
    )
    assert smaller.macs.total == network.macs.total - saved
    assert macs - 0.1 < smaller.macs.total / network.macs.total <= macs
    with pytest.raises(UserError, match="cannot bring this network below"):
        method(network, 0.001)


def test_strides_cost_what_they_cost(make):
    """A block's 3x3 conv with stride 2, both ways."""
    network = make("basic")
    for ranks in ((3, 4), (5,)):
        smaller = decompose_network(network, {"stage2_block1/conv1": ranks})
        layer = network.layers["stage2_block1/conv1"]
        expected = network.macs.total - layer.macs + low_rank_macs(layer, ranks)
        assert smaller.macs.total == expected
