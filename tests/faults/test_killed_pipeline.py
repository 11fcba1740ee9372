"""A run that trains, makes smaller, trains on and quantises, killed in each of its parts."""

import json
import signal

import numpy as np
import pytest

from tests.faults import forked
from tests.faults.forked import Blow
from tests.faults.test_changes import SMALL
from wae_jax.checkpoints import folders, store
from wae_jax.compress import pipeline

CONFIG = SMALL | {
    "model.backbone.plan": "8 12 M 12 M",
    "compress.method": "thinet-0.5",
    "compress.images": 32,
    "compress.int8": True,
}
BLOWS = (
    ("training", 4, 0.0),  # of the network that is made smaller
    ("compressing", 1, 0.05),
    ("compressing", 1, 0.4),
    ("naming", 1, 0.0),  # of the smaller network's checkpoint, which is written but has no name
    ("training", 2, 0.0),  # of the fine-tuning
    ("writing", 1, 0.02),
    ("evaluation", 1, 0.0),
    ("quantising", 1, 0.2),
    ("telling", 1, 0.0),
)


def end_of(workdir, flat):
    """Arrays of the smaller network before and after its fine-tuning."""
    return {
        f"{part}/{name}": value
        for part in (pipeline.COMPRESSED, "")
        for name, value in flat(store._read(folders.find(str(workdir / part)), "variables")).items()
    }


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_it_ends_as_one_that_nothing_has_disturbed(tmp_path, cifar10, flat):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    status, err = forked.run(whole, CONFIG)
    assert status == 0, err
    for place, times, delay in BLOWS:
        blow = Blow(signal.SIGKILL, place, times, delay)
        status, err = forked.run(killed, CONFIG, blow)
        assert status == -signal.SIGKILL, f"{blow}: {status} {err}"
    status, err = forked.run(killed, CONFIG)
    assert status == 0, err
    found, expected = end_of(killed, flat), end_of(whole, flat)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    steps = [json.loads((w / pipeline.STEPS_FILE).read_text())["steps"] for w in (whole, killed)]
    assert [{**s, "ms": 0} for s in steps[0]] == [{**s, "ms": 0} for s in steps[1]]
