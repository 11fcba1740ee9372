"""Checkpoints that are saved on some devices are used on others (see travel.py)."""

import functools
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import travel

DEVICES = (1, 2, 8)
FLAG = "--xla_force_host_platform_device_count"
TIMEOUT_S = 200
pytestmark = pytest.mark.slow
# Where a way has more than rounding between device counts: it trains, or it draws 8-bit pixels.
TOLERANCES = {"resume": 1e-4, "resumed": 1e-4, "restore, teacher": 1e-4, "visualize": 2.0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, cifar10):
    """Two runs on this process's four devices: their folder, and the figures of ``wae-0``."""
    assert len(jax.devices()) == 4
    folder = tmp_path_factory.mktemp("saved")
    return folder, travel.save(folder)


@pytest.fixture(scope="module")
def used(saved, root, run_env, tmp_path_factory):
    """Function of a number of devices: what a process with so many made of the runs, its folder."""

    @functools.cache
    def used(count):
        scratch = tmp_path_factory.mktemp(f"devices{count}")
        process = subprocess.run(
            [sys.executable, travel.__file__, str(saved[0]), str(scratch)],
            cwd=root,
            env=run_env
            | {"PJRT_NPROC": "16", "XLA_FLAGS": f"{run_env['XLA_FLAGS']} {FLAG}={count}"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert process.returncode == 0, process.stderr[-2000:]
        return json.loads(process.stdout), scratch

    return used


WAYS = (
    "load",
    "evaluate",
    "predict",
    "visualize",
    "study",
    "resume",
    "resumed",
    "restore, teacher",
    "init.pretrained",
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", DEVICES)
def test_saved_on_4_used_on(count, way, used):
    assert used(count)[0].keys() == set(WAYS)
    expected, found = used(1)[0][way], used(count)[0][way]
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCES.get(way, 1e-5))


@pytest.mark.parametrize("count", DEVICES)
def test_what_they_give_is_what_was_saved(count, saved, used):
    folder, figures = saved
    result = used(count)[0]
    expected = travel.figures(figures)
    for way, atol in (("evaluate", 1e-5), ("resume", 1e-4)):
        np.testing.assert_allclose(result[way], expected, rtol=0, atol=atol)
    assert result["study"][0] == figures["top1"]
    scores = np.ravel(travel.scores(folder / f"{travel.TWO}-0"))
    assert np.ptp(scores) > 0.5
    np.testing.assert_allclose(result["load"], scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(result["resumed"], scores, rtol=0, atol=1e-4)


def test_saved_on_1_used_on_4(used):
    result, scratch = used(1)
    workdir = scratch / "resumed"
    np.testing.assert_allclose(np.ravel(travel.scores(workdir)), result["resumed"], atol=1e-5)
    np.testing.assert_allclose(travel.evaluated(workdir), result["resume"], atol=1e-5)
    assert len(jax.devices()) == 4
    np.testing.assert_allclose(
        travel.figures(travel.resume(workdir, 2)), result["resume"], rtol=0, atol=1e-4
    )
