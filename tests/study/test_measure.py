"""Which networks are timed, and the file that keeps their times."""

import numpy as np
import pytest

from wae_jax.bench.timing import Timings
from wae_jax.errors import UserError
from wae_jax.study import measure


class FakePlace:
    """Holds what it is given; times are made up elsewhere."""

    def __init__(self, runtime):
        self.held, self.closed = {}, False

    def add(self, key, program):
        self.held[key] = program

    def time(self, keys, **options):
        raise AssertionError("nothing is timed here")

    def close(self):
        self.closed = True


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """Function that measures runs; times are made up."""
    places = []

    def open_place(runtime):
        places.append(FakePlace(runtime))
        return places[-1]

    monkeypatch.setattr(measure, "open_place", open_place)
    monkeypatch.setattr(measure, "_network", lambda run, workdir, runtime: run.variant)
    monkeypatch.setattr(measure, "program_of", lambda network, runtime, batch: (network, batch))

    def fake_times(cells, *, seconds):
        assert seconds == 7
        return {
            cell: Timings({name: np.array([1.0, 2.123456, 3.0]) for name in timer.args[0]}, (1,))
            for cell, timer in cells.items()
        }

    monkeypatch.setattr(measure, "time_in_passes", fake_times)

    def run(found):
        times = measure.measure(str(tmp_path), found, 7, ("jax", "onnxruntime"))
        assert all(place.closed for place in places)
        assert [key[0] for key in places[0].held] == [key[0] for key in places[1].held]
        return times

    return run


def config(size, kind):
    return {"data": {"image_size": size}, "model": {"kind": kind}}


def test_networks_of_equal_layers_are_timed_once(run_of, timed):
    right = [True]
    found = [
        run_of("full", right=right, config=config(224, "a")),
        run_of("lowres", right=right, config=config(224, "b")),
        run_of("lowres", 1, right=right, config=config(224, "b")),
        run_of("lowres+distill", right=right, config=config(224, "b")),
        run_of("small", right=right, config=config(112, "b")),
    ]
    times = timed(found)
    assert times.timed_as == {
        "full": "full",
        "lowres": "lowres",
        "lowres+distill": "lowres",
        "small": "small",
    }
    assert list(times.cells) == [(r, b) for r in ("jax", "onnxruntime") for b in (1, 32)]
    assert times.ms_per_image("lowres+distill", ("jax", 32)) == 2.123456 / 32
    assert times.ms_per_image("other", ("jax", 1)) is None
    assert times.speedup("lowres", "lowres+distill", ("jax", 1)) == (1.0, 1.0, 1.0)
    assert times.speedup("full", "other", ("jax", 1)) is None


def test_times_come_back_from_their_file(run_of, timed, tmp_path):
    assert measure.read_times(str(tmp_path)) is None
    kept = timed([run_of("full", right=[True])])
    found = measure.read_times(str(tmp_path))
    assert (found.timed_as, found.environment) == (kept.timed_as, kept.environment)
    assert found.environment["cpu"] and set(found.environment["load"]) == {"jax", "onnxruntime"}
    cell = found.cells["jax", 1]
    assert cell.starts == (1,) and cell.ms["full"].tolist() == [1.0, 2.12346, 3.0]
    (tmp_path / "times.json").write_text('{"cells": [{}]}')
    with pytest.raises(UserError, match=r"times\.json .* measure again"):
        measure.read_times(str(tmp_path))
