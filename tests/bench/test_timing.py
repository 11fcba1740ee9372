"""Speed-ups and their intervals, on made-up times."""

import numpy as np
import pytest

from wae_jax.bench.timing import Timings, speedup, time_in_passes, time_interleaved

PASSES, ROUNDS = 5, 12


def series(rng, *, ratio, pass_noise, round_noise=0.02):
    """(base, other) milliseconds: a drift that hits both, and noise of each pass and round."""
    count = PASSES * ROUNDS
    drift = np.exp(np.cumsum(rng.normal(0, 0.02, count)))
    base = 30 * drift * np.exp(rng.normal(0, round_noise, count))
    of_pass = np.repeat(rng.normal(0, pass_noise, PASSES), ROUNDS)
    other = 30 / ratio * drift * np.exp(of_pass + rng.normal(0, round_noise, count))
    return base, other


def test_drift_that_hits_both_cancels():
    base, other = series(np.random.default_rng(0), ratio=2.5, pass_noise=0.0)
    assert base.max() > 1.2 * base.min()
    middle, low, high = speedup(base, other)
    assert low <= middle <= high
    assert low < 2.5 < high
    assert high - low < 0.1


@pytest.mark.parametrize("pass_noise", [0.0, 0.03])
def test_interval_covers_the_truth_and_a_second_run(pass_noise):
    rng = np.random.default_rng(1)
    runs = [speedup(*series(rng, ratio=3.0, pass_noise=pass_noise)) for _ in range(400)]
    covered = np.mean([low <= 3.0 <= high for _, low, high in runs])
    assert 0.91 < covered < 0.99
    agree = [
        a[1] <= b[0] <= a[2] and b[1] <= a[0] <= b[2]
        for a, b in zip(runs[::2], runs[1::2], strict=True)
    ]
    assert np.mean(agree) > 0.75


def test_single_outliers_do_not_move_the_figure():
    base, other = series(np.random.default_rng(2), ratio=2.0, pass_noise=0.0)
    other[::ROUNDS] *= 10
    assert speedup(base, other)[0] == pytest.approx(2.0, rel=0.02)


def test_blocks_may_be_given_as_starts_and_may_be_too_few():
    base, other = series(np.random.default_rng(3), ratio=2.0, pass_noise=0.01)
    starts = tuple(range(ROUNDS, PASSES * ROUNDS, ROUNDS))
    assert speedup(base, other, blocks=starts) == speedup(base, other, blocks=PASSES)
    assert speedup(base, other, blocks=1)[1:] == (0.0, float("inf"))
    assert speedup(base[:1], other[:1])[1:] == (0.0, float("inf"))


def test_calls_are_interleaved_and_warmed_up():
    called = []
    calls = {name: lambda name=name: called.append(name) for name in "abc"}
    times = time_interleaved(calls, seconds=0.0, min_rounds=4, warmup=1)
    assert {name: len(ms) for name, ms in times.items()} == {"a": 4, "b": 4, "c": 4}
    rounds = [tuple(called[i : i + 3]) for i in range(0, len(called), 3)]
    assert len(rounds) == 5
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(set(rounds)) > 1  # not always in the same order


def test_rounds_stop_at_the_maximum():
    times = time_interleaved({"a": lambda: None}, seconds=60.0, max_rounds=9)
    assert len(times["a"]) == 9


def test_passes_go_over_all_cells():
    called = []
    cells = {(key,): {"call": lambda key=key: called.append(key)} for key in "xy"}
    timings = time_in_passes(cells, seconds=1e-9, passes=3)
    assert "".join(dict.fromkeys(called)) == "xy"
    assert "".join(called).count("xy") == 3
    for timing in timings.values():
        assert len(timing.ms["call"]) == 9
        assert timing.starts == (3, 6)


def test_timings_know_their_passes():
    base, other = series(np.random.default_rng(4), ratio=2.0, pass_noise=0.05)
    starts = tuple(range(ROUNDS, PASSES * ROUNDS, ROUNDS))
    timings = Timings({"a": base, "b": other}, starts)
    assert timings.speedup("a", "b") == speedup(base, other, blocks=starts)
    assert timings.median("a") == np.median(base)
