"""A signal between two steps, in process: what is saved goes on exactly."""

import json
import signal

import numpy as np
import pytest

from tests.faults.test_changes import SMALL
from wae_jax.checkpoints import folders, store
from wae_jax.runtime import signals
from wae_jax.training.loop import train

# The signal comes within the four steps of a line of the log, far from any checkpoint.
CONFIG = SMALL | {"log_every": 4, "checkpoint_every": 1000, "stages.end_to_end.steps": 8}


def lines_of(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    timing = {"images_per_s", "wait_fraction"}
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


@pytest.fixture
def signal_in_step(monkeypatch):
    """Function that lets a signal come while the given step of the next run is computed."""
    defer = signals.defer

    def install(number, step):
        monkeypatch.setattr(signals, "_asked", signals._Asked())  # as in a new process
        steps = iter(range(1, 1000))

        def deferred():
            defer()
            if next(steps) == step:
                signals._receive(number)

        monkeypatch.setattr(signals, "defer", deferred)

    return install


def test_it_is_saved_and_goes_on_to_the_same_end(
    signal_in_step, tiny_config, cifar10, tmp_path, flat
):
    config = tiny_config(CONFIG)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, str(whole))
    for number, step, reached in ((signal.SIGTERM, 2, 2), (signal.SIGINT, 5, 7)):
        signal_in_step(number, step)
        with pytest.raises(signals.Stopped) as ended:
            train(config, str(stopped))
        assert ended.value.status == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        assert folders.find(str(stopped)).name == str(reached)
    signal_in_step(signal.SIGTERM, 999)  # never
    train(config, str(stopped))
    ends = [folders.find(str(each)) for each in (stopped, whole)]
    found, expected = (
        flat({item: store._read(end, item) for item in ("variables", "training")}) for end in ends
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.asarray(found[name]).tobytes() == np.asarray(value).tobytes(), name
    assert lines_of(stopped) == lines_of(whole)
    assert [line["step"] for line in lines_of(whole)] == [4, 8, 8]


def test_sigusr1_saves_and_goes_on(signal_in_step, tiny_config, cifar10, tmp_path):
    signal_in_step(signal.SIGUSR1, 3)
    assert train(tiny_config(CONFIG), str(tmp_path))["step"] == 8
    assert [int(step.name) for step in folders.steps(tmp_path / "checkpoints")] == [8, 3]
