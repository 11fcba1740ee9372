"""Which networks are timed, and the file that keeps their times."""

import dataclasses

import numpy as np
import pytest

from wae_jax.bench.timing import Timings
from wae_jax.errors import UserError
from wae_jax.study import measure


@dataclasses.dataclass(frozen=True)
class Net:
    method: str
    trained_variables: int | None = 0


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """Function that measures runs, of which those named have checkpoints; times are made up."""
    monkeypatch.setattr(measure, "trained_network", lambda name, step: Net(name))
    monkeypatch.setattr(measure.folders, "find", lambda path: path)
    monkeypatch.setattr(
        measure, "RUNTIMES", {"jax": lambda net, batch, device: (net, batch), "other": lambda *_: 0}
    )

    def fake_times(calls, *, seconds):
        assert seconds == 7
        return {
            cell: Timings({name: np.array([1.0, 2.123456, 3.0]) for name in members}, (1,))
            for cell, members in calls.items()
        }

    monkeypatch.setattr(measure, "time_in_passes", fake_times)

    def run(found, with_checkpoint):
        for name in with_checkpoint:
            (tmp_path / name / "checkpoints").mkdir(parents=True)
        return measure.measure(str(tmp_path), found, 7)

    return run


def config(size, kind):
    return {"data": {"image_size": size}, "model": {"kind": kind}}


def test_networks_of_equal_layers_are_timed_once(run_of, timed, capsys):
    right = [True]
    found = [
        run_of("full", right=right, config=config(224, "a")),
        run_of("lowres", right=right, config=config(224, "b")),
        run_of("lowres", 1, right=right, config=config(224, "b")),
        run_of("lowres+distill", right=right, config=config(224, "b")),
        run_of("small", right=right, config=config(112, "b")),
        run_of("gone", right=right, config=config(224, "c")),
    ]
    # The first of its kind has no checkpoint any more; another seed, or its distilled one, serves.
    times = timed(found, ["full-0", "lowres+distill-0", "small-0"])
    assert times.timed_as == {
        "full": "full",
        "lowres": "lowres+distill",
        "lowres+distill": "lowres+distill",
        "small": "small",
    }
    assert list(times.cells) == [("jax", 1), ("jax", 32), ("other", 1), ("other", 32)]
    assert "checkpoints are gone: gone" in capsys.readouterr().err
    assert times.ms_per_image("lowres", ("jax", 32)) == 2.123456 / 32
    assert times.ms_per_image("gone", ("jax", 1)) is None
    assert times.speedup("lowres", "lowres+distill", ("jax", 1)) == (1.0, 1.0, 1.0)
    assert times.speedup("full", "gone", ("jax", 1)) is None


def test_times_come_back_from_their_file(run_of, timed, tmp_path):
    assert measure.read_times(str(tmp_path)) is None
    kept = timed([run_of("full", right=[True])], ["full-0"])
    found = measure.read_times(str(tmp_path))
    assert (found.timed_as, found.environment) == (kept.timed_as, kept.environment)
    assert found.environment["cpu"] and set(found.environment["load"]) == {"jax", "other"}
    cell = found.cells["jax", 1]
    assert cell.starts == (1,) and cell.ms["full"].tolist() == [1.0, 2.12346, 3.0]
    (tmp_path / "times.json").write_text('{"cells": [{}]}')
    with pytest.raises(UserError, match=r"times\.json .* measure again"):
        measure.read_times(str(tmp_path))
