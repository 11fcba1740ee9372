"""Runs struck at random moments, again and again: they end as one that nothing has disturbed."""

import functools
import json
import random
import signal

import numpy as np
import pytest

from tests.faults import forked
from tests.faults.conftest import STOPPING
from tests.faults.test_changes import SMALL
from wae_jax.checkpoints import folders, store

FEW, MANY = 32, 160  # steps
LONG = pytest.mark.nightly, pytest.mark.timeout(1200)


def config_of(steps):
    return SMALL | {
        "log_every": 3,
        "checkpoint_every": 4,
        "keep_checkpoints": 2,
        "eval_every_epochs": 2.0,  # of 4 steps
        "stages.end_to_end.steps": steps,
    }


# Seconds from the beginning of each to most of the moments in it.
DELAY = {
    "starting": 1.0,
    "compiling": 1.0,
    "training": 0.02,
    "writing": 0.06,
    "naming": 0.01,
    "evaluation": 0.3,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cifar10):
    """Function that gives the workdir of an undisturbed run of so many steps."""

    @functools.cache
    def whole(steps):
        workdir = tmp_path_factory.mktemp("random") / "whole"
        status, err = forked.run(workdir, config_of(steps))
        assert status == 0, err
        return workdir

    return whole


def end_of(workdir, flat):
    step = folders.find(str(workdir))
    return flat({name: store._read(step, name) for name in ("variables", "training")})


def lines_of(workdir):
    timing = {"images_per_s", "wait_fraction"}
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


def assert_goes_on_to_the_same_end(workdir, steps, whole, flat):
    status, err = forked.run(workdir, config_of(steps))
    assert status == 0, err
    found, expected = end_of(workdir, flat), end_of(whole, flat)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert lines_of(workdir) == lines_of(whole)  # each step once


def blow_of(draw, number, place, workdir, steps, left):
    """A moment in ``place`` that is surely reached, with steps left for all ``left`` blows."""
    reached = folders.newest_good(workdir / "checkpoints")
    steps -= int(reached.name) if reached else 0
    entered = {"training": steps, "writing": steps // 4, "naming": steps // 4}.get(place, 1)
    times = draw.randint(1, max(1, entered // (left + 1)))
    return forked.Blow(number, place, times, draw.random() * DELAY[place])


@pytest.mark.parametrize("count, steps", [(5, FEW), pytest.param(20, MANY, marks=LONG)])
def test_kills(count, steps, whole, tmp_path, flat):
    workdir, draw = tmp_path / "run", random.Random(count)
    places = ("training", "writing", "naming", "evaluation", "training")
    half_written = 0
    for left in range(count, 0, -1):
        blow = blow_of(draw, signal.SIGKILL, places[left % len(places)], workdir, steps, left)
        status, err = forked.run(workdir, config_of(steps), blow)
        assert status == -signal.SIGKILL, f"{blow}: {err}"
        half_written += any((workdir / "checkpoints").glob("*.saving*"))
    assert half_written, "no kill struck while a checkpoint was written"
    assert_goes_on_to_the_same_end(workdir, steps, whole(steps), flat)


@pytest.mark.parametrize("count, steps", [(4, FEW), pytest.param(24, MANY, marks=LONG)])
def test_signals(count, steps, whole, tmp_path, flat):
    """The promised status at every moment, and nothing that was saved is lost."""
    workdir, draw = tmp_path / "run", random.Random(count)
    places = tuple(DELAY)
    for left in range(count, 0, -1):
        before = folders.newest_good(workdir / "checkpoints")
        number = draw.choice((signal.SIGINT, signal.SIGTERM))
        blow = blow_of(draw, number, places[-left % len(places)], workdir, steps, left)
        status, err = forked.run(workdir, config_of(steps), blow)
        assert status == STOPPING[number], f"{blow}: {status} {err}"
        assert "Traceback" not in err
        after = folders.newest_good(workdir / "checkpoints")
        assert before is None or int(after.name) >= int(before.name)
    assert_goes_on_to_the_same_end(workdir, steps, whole(steps), flat)
