"""Wall-clock of functions against each other, with intervals that hold on a drifting machine.

Functions that are compared run in turn, in an order drawn anew each round, so that slow drifts and
the caches that a neighbour leaves behind hit all alike. Everything is measured in several passes
with the other measurements in between: rounds of one pass share the machine's state of those
seconds, so the spread within a pass says little about what another run will find, and intervals
are made from the spread between passes.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from scipy.special import stdtrit
from tqdm import tqdm

from wae_jax.runtime.console import progress_bar

Call = Callable[[], Any]
# Times calls somewhere else, with the options and the result of :func:`time_interleaved`.
TimeElsewhere = Callable[..., dict[str, np.ndarray]]


def time_interleaved(
    calls: Mapping[str, Call],
    *,
    seconds: float = 2.0,
    min_rounds: int = 7,
    max_rounds: int = 200,
    warmup: int = 2,
    pause: float = 0.0,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Runs all calls in turn, round after round, and waits for each result.

    calls: name -> function without arguments that returns jax arrays (or nothing to wait for).
    seconds: time to spend in all, as long as there are at least ``min_rounds``.
    pause: seconds of sleep before each call, not timed. Thread pools of two libraries disturb each
        other without one: OpenMP's threads keep spinning for some milliseconds after their work.
    seed: of the order within the rounds.
    Returns milliseconds of every round, (rounds,) for each name; entry i of all names is of the
    same round.
    """
    for _ in range(warmup):
        for call in calls.values():
            jax.block_until_ready(call())
    rng = np.random.default_rng(seed)
    rounds: list[list[float]] = []
    functions = list(calls.values())
    end = time.perf_counter() + seconds
    while len(rounds) < min_rounds or (time.perf_counter() < end and len(rounds) < max_rounds):
        times = [0.0] * len(functions)
        for i in rng.permutation(len(functions)):
            if pause:
                time.sleep(pause)
            began = time.perf_counter()
            jax.block_until_ready(functions[i]())
            times[i] = 1e3 * (time.perf_counter() - began)
        rounds.append(times)
    return dict(zip(calls, np.array(rounds).T, strict=True))


def speedup(
    base: np.ndarray, other: np.ndarray, *, blocks: int | Sequence[int] = 5
) -> tuple[float, float, float]:
    """How many times faster ``other`` is than ``base``, with a 95 % interval.

    base, other: milliseconds of the same rounds, (rounds,). The ratio is taken round by round; the
    figure is the median ratio.
    blocks: stretches of time that stand for runs of their own, as ``numpy.array_split`` takes them:
        how many equal ones, or the rounds at which new ones begin.

    The interval is that of batch means: one median per block, Student's t on their logarithms.
    Resampling single rounds would take neighbours for independent and come out far too narrow.
    With fewer than two blocks the interval is (0, infinity): nothing is known.
    """
    ratios = np.log(base / other)
    medians = [np.median(part) for part in np.array_split(ratios, blocks) if len(part)]
    middle, count = np.median(ratios), len(medians)
    if count < 2:
        return float(np.exp(middle)), 0.0, float("inf")
    half = stdtrit(count - 1, 0.975) * np.std(medians, ddof=1) / np.sqrt(count)
    # The figure is the median of all rounds, the centre the mean of blocks: keep both inside.
    low = min(np.mean(medians) - half, middle)
    high = max(np.mean(medians) + half, middle)
    return float(np.exp(middle)), float(np.exp(low)), float(np.exp(high))


@dataclasses.dataclass(frozen=True)
class Timings:
    """Milliseconds of calls that were compared: (rounds,) by name, of all passes together.

    starts: the rounds at which the second and later passes begin.
    """

    ms: dict[str, np.ndarray]
    starts: tuple[int, ...]

    def median(self, name: str) -> float:
        """Median milliseconds of one call."""
        return float(np.median(self.ms[name]))

    def speedup(self, base: str, other: str) -> tuple[float, float, float]:
        """See :func:`speedup`; the blocks are the passes."""
        return speedup(self.ms[base], self.ms[other], blocks=self.starts)


def time_in_passes(
    cells: Mapping[tuple, Mapping[str, Call] | TimeElsewhere],
    *,
    seconds: float,
    passes: int = 5,
    pause: float = 0.0,
    shown: bool = True,
) -> dict[Any, Timings]:
    """Measures every cell in several passes over all of them.

    cells: what is compared with each other, see :func:`time_interleaved`, by a key that is shown;
        or what times it in another process.
    seconds: for each cell, over all its passes.
    shown: with a progress bar.
    """
    parts: dict[Any, list[dict[str, np.ndarray]]] = {key: [] for key in cells}
    bars = progress_bar("timing", passes * len(cells), unit="cell") if shown else tqdm(disable=True)
    with bars as bar:
        for number in range(passes):
            for key, calls in cells.items():
                bar.set_postfix_str(", ".join(map(str, key)))
                timer = calls if callable(calls) else functools.partial(time_interleaved, calls)
                parts[key].append(
                    timer(
                        seconds=seconds / passes,
                        min_rounds=3,
                        pause=pause,
                        seed=number,
                        warmup=1 if number else 2,
                    )
                )
                bar.update()
    return {key: _join(found) for key, found in parts.items()}


def _join(parts: Sequence[Mapping[str, np.ndarray]]) -> Timings:
    lengths = [len(next(iter(part.values()))) for part in parts]
    return Timings(
        ms={name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        starts=tuple(int(n) for n in np.cumsum(lengths)[:-1]),
    )
