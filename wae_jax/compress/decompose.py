"""Kernels as products of smaller ones: Tucker-2, CP, and ranks from the kernels alone."""

import math

import numpy as np
from scipy import linalg, optimize

from wae_jax.export.runtimes import import_extra
from wae_jax.models.low_rank import CORE, EXPAND, HORIZONTAL, REDUCE, VERTICAL

_ITERATIONS = 50
_TOLERANCE = 1e-6  # of the kernel's energy, between two iterations


def tucker2(kernel: np.ndarray, ranks: tuple[int, int]) -> dict[str, np.ndarray]:
    """Kernels of a 1x1 conv, one of the same size, and a 1x1 conv (Kim et al., ICLR 2016).

    By higher-order orthogonal iteration from the leading singular vectors.

    Args:
        kernel: (k, k, in, out).
        ranks: of the input and the output channels.
    """
    x = np.asarray(kernel, np.float64)
    inputs, outputs = _leading(_unfold(x, 2), ranks[0]), _leading(_unfold(x, 3), ranks[1])
    before = 0.0
    for _ in range(_ITERATIONS):
        inputs = _leading(_unfold(x @ outputs, 2), ranks[0])
        fewer = inputs.T @ x
        outputs = _leading(_unfold(fewer, 3), ranks[1])
        core = fewer @ outputs
        # The factors are orthogonal: what the core has of the kernel's energy is what is kept.
        kept = float(np.square(core).sum())
        if kept - before <= _TOLERANCE * np.square(x).sum():
            break
        before = kept
    return _float32({REDUCE: inputs[None, None], CORE: core, EXPAND: outputs.T[None, None]})


def svd(kernel: np.ndarray, rank: int) -> dict[str, np.ndarray]:
    """Kernels of two 1x1 convs for one, (1, 1, in, out)."""
    u, s, v = linalg.svd(np.asarray(kernel[0, 0], np.float64), full_matrices=False)
    root = np.sqrt(s[:rank])
    return _float32(
        {REDUCE: (u[:, :rank] * root)[None, None], EXPAND: (root[:, None] * v[:rank])[None, None]}
    )


def cp(kernel: np.ndarray, rank: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Kernels of a 1x1 conv, columns and rows by channel, and a 1x1 conv (Lebedev et al., 2015).

    Args:
        kernel: (k, k, in, out).
        rank: how many products of four vectors.
        seed: of the start.

    Raises:
        UserError: the package tensorly is missing.
    """
    parafac = import_extra("tensorly.decomposition").parafac
    weights, factors = parafac(
        np.asarray(kernel, np.float64),
        rank,
        n_iter_max=_ITERATIONS,
        init="random",  # the other, by singular vectors, has too few of them for a 3x3 kernel
        tol=1e-5,
        random_state=seed,
    )
    factors[0] = factors[0] * weights
    # The four vectors of a product get the same length: easier to train.
    norms = np.maximum([np.linalg.norm(f, axis=0) for f in factors], 1e-30)
    mean = np.prod(norms, axis=0) ** 0.25
    vertical, horizontal, inputs, outputs = (
        f * (mean / n) for f, n in zip(factors, norms, strict=True)
    )
    return _float32(
        {
            REDUCE: inputs[None, None],
            VERTICAL: vertical[:, None, None],
            HORIZONTAL: horizontal[None, :, None],
            EXPAND: outputs.T[None, None],
        }
    )


def columns_by_rows(kernel: np.ndarray) -> np.ndarray:
    """(k in, k out) of (k, k, in, out): its rank is that of :func:`columns_and_rows`."""
    rows = len(kernel) * kernel.shape[2]
    return np.asarray(kernel, np.float64).transpose(0, 2, 1, 3).reshape(rows, -1)


def columns_and_rows(kernel: np.ndarray, rank: int) -> dict[str, np.ndarray]:
    """Kernels of convs of k x 1 and 1 x k, by SVD (Jaderberg et al., BMVC 2014), float64.

    Args:
        kernel: (k, k, in, out).
        rank: channels between them.
    """
    size, _, inputs, outputs = kernel.shape
    u, s, v = linalg.svd(columns_by_rows(kernel), full_matrices=False)
    root = np.sqrt(s[:rank])
    return {
        VERTICAL: (u[:, :rank] * root).reshape(size, 1, inputs, -1),
        HORIZONTAL: (root[:, None] * v[:rank]).reshape(1, -1, size, outputs).transpose(0, 2, 1, 3),
    }


def compose_columns(factors: dict[str, np.ndarray]) -> np.ndarray:
    """The kernel (k, k, in, out) of a conv of k x 1 and one of 1 x k."""
    return np.einsum(
        "isp,jpt->ijst", factors[VERTICAL][:, 0], factors[HORIZONTAL][0], optimize=True
    )


def compose(factors: dict[str, np.ndarray]) -> np.ndarray:
    """The kernel (k, k, in, out) that a product of convs stands for."""
    last = factors[EXPAND][0, 0]
    if REDUCE not in factors:
        return compose_columns(factors) @ last
    first = factors[REDUCE][0, 0]
    if CORE in factors:
        return np.einsum("sp,ijpq,qt->ijst", first, factors[CORE], last, optimize=True)
    if VERTICAL not in factors:
        return (first @ last)[None, None]
    columns, rows = factors[VERTICAL][:, 0, 0], factors[HORIZONTAL][0, :, 0]
    return np.einsum("ir,jr,sr,rt->ijst", columns, rows, first, last, optimize=True)


def lost_energies(kernel: np.ndarray, axis: int) -> np.ndarray:
    """Fractions of a kernel's energy that ranks 0, 1, ... of its unfolding along an axis lose."""
    energy = np.square(linalg.svdvals(_unfold(np.asarray(kernel, np.float64), axis)))
    return energy[::-1].cumsum()[::-1] / max(energy.sum(), 1e-300)


def vbmf_ranks(kernel: np.ndarray) -> tuple[int, int]:
    """Ranks of the input and output channels, at least 1, see :func:`vbmf_rank`."""
    input_rank, output_rank = (
        max(1, vbmf_rank(_unfold(np.asarray(kernel, np.float64), axis))) for axis in (2, 3)
    )
    return input_rank, output_rank


def vbmf_rank(matrix: np.ndarray) -> int:
    """The rank of a matrix that has noise, by empirical variational Bayes.

    The global analytic solution of Nakajima, Sugiyama, Babacan and Tomioka, "Global Analytic
    Solution of Fully-observed Variational Bayesian Matrix Factorization", JMLR 2013, with the
    variance of the noise estimated: singular values above a threshold count.

    Args:
        matrix: two-dimensional.
    """
    rows, columns = sorted(matrix.shape)  # L <= M
    squares = np.square(linalg.svdvals(matrix)) / columns
    if not squares.any():
        return 0
    alpha = rows / columns
    tau = 2.5129 * math.sqrt(alpha)
    threshold = (1 + tau) * (1 + alpha / tau)  # of a squared singular value over M sigma^2

    def free_energy(log_variance: float) -> float:
        x = np.maximum(squares / math.exp(log_variance), 1e-300)
        energy = float((x - np.log(x)).sum())
        x = x[x > threshold]
        excess = x - (1 + alpha)
        t = 0.5 * (excess + np.sqrt(np.maximum(excess**2 - 4 * alpha, 0.0)))
        return energy + float((np.log(t + 1) + alpha * np.log(t / alpha + 1) - t).sum())

    # The variance lies between these (theorem 9): at most all that there is, and at least what the
    # values beyond the largest possible rank have.
    most = min(rows, math.ceil(rows / (1 + alpha)) - 1)
    rest = squares[most:]
    low = max(squares[min(most, rows - 1)] / threshold, rest.mean() if len(rest) else 0.0)
    low, high = math.log(max(low, 1e-12 * squares[0])), math.log(squares.mean())
    if low < high:
        grid = np.linspace(low, high, 200)
        best = int(np.argmin([free_energy(point) for point in grid]))
        ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        found = optimize.minimize_scalar(free_energy, bounds=ends, method="bounded").x
    else:
        found = high
    return int((squares > threshold * math.exp(found)).sum())


def _unfold(x: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def _leading(matrix: np.ndarray, rank: int) -> np.ndarray:
    """Its first left singular vectors, as columns."""
    # Of the small Gram matrix: the other side has k^2 times as many columns.
    size = len(matrix)
    _, vectors = linalg.eigh(matrix @ matrix.T, subset_by_index=(size - rank, size - 1))
    return vectors[:, ::-1]


def _float32(factors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(x, np.float32) for name, x in factors.items()}
