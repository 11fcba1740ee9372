"""Statistics of networks that were evaluated on the same images."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Accuracies:
    """Accuracies of K networks on the same images, and on images drawn from these.

    Attributes:
        values: (K,), fractions.
        resampled: (R, K): row r has those on the same N images drawn with replacement.
    """

    values: np.ndarray
    resampled: np.ndarray

    def combined(self, weights: np.ndarray) -> Estimate:
        """The sum of the accuracies, weighted by (K,)."""
        return _estimate(self.values @ weights, self.resampled @ weights)

    def share(self, part: np.ndarray, whole: np.ndarray) -> Estimate | None:
        """One weighted sum over another; None where the latter is not above 0.

        Where some resampled one is not, the interval has no ends: nothing is known.
        """
        if self.values @ whole <= 0:
            return None
        value = float(self.values @ part / (self.values @ whole))
        wholes = self.resampled @ whole
        if wholes.min() <= 0:
            return Estimate(value, -float("inf"), float("inf"))
        return _estimate(value, self.resampled @ part / wholes)


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def bootstrap(correct: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Accuracies:
    """Accuracies with the bootstrap over images: every network is given the same draws.

    Args:
        correct: (N, K), the share of network k's seeds that are right about image n.
        resamples: R, how often N images are drawn.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    count = len(correct)
    drawn = np.empty((resamples, correct.shape[1]))
    for row in drawn:
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        row[:] = times @ correct / count
    return Accuracies(correct.mean(axis=0), drawn)


def curve_weights(times: Sequence[float], at: float) -> np.ndarray:
    """(K,) weights of K points in the piecewise linear curve through them, at one time.

    Before the first point and after the last the curve is level.

    Args:
        times: Of the points, in any order.
        at: The time that is asked for.
    """
    order = np.argsort(times, kind="stable")
    ascending = np.asarray(times, float)[order]
    weights = np.empty(len(order))
    # Interpolation is linear in the points' values: point k's weight is what a 1 there gives.
    weights[order] = [np.interp(at, ascending, one) for one in np.eye(len(order))]
    return weights


def mcnemar(one: np.ndarray, other: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test of two networks' errors (McNemar, 1947).

    Args:
        one: bool (N,), whether it is right about each image.
        other: The same of the other.

    Returns:
        How many images only ``one`` has right, how many only ``other``, and the two-sided p-value
        of as uneven a division where both are equally good.
    """
    only_one, only_other = int(np.sum(one & ~other)), int(np.sum(other & ~one))
    disagreed = only_one + only_other
    p = binomtest(only_one, disagreed).pvalue if disagreed else 1.0
    return only_one, only_other, float(p)
