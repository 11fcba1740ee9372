"""One device, a mesh, pmap and several processes: there is one step function, and one trainer.

That all of them train the same with it: tests/runtime/test_devices.py and
tests/faults/test_several_processes.py.
"""

import re

import numpy as np
import pytest

from wae_jax.config import ParallelSettings
from wae_jax.runtime.devices import Parallel
from wae_jax.training import loop, steps


def users(root, pattern):
    """Files of the package that have it."""
    return {
        str(path.relative_to(root / "wae_jax"))
        for path in (root / "wae_jax").rglob("*.py")
        if re.search(pattern, path.read_text())
    }


def test_updates_and_ways_to_run_in_parallel_are_in_one_place_each(root):
    assert users(root, r"\bapply_updates\(") == {"training/steps.py"}
    assert users(root, r"\bjax\.pmap\(") == {"runtime/devices.py"}
    assert users(root, r"\bmake_train_step\(") == {
        "training/steps.py",
        "training/loop.py",
        "bench/training.py",
    }
    assert loop.make_train_step is steps.make_train_step


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_every_way_to_run_calls_the_step_it_is_given(mode):
    """Not one of its own: the step here counts, and names the axis that it is told."""
    axes = []

    def step(state, batch, constants, *, axis_name=None):
        axes.append(axis_name)
        return state + 1, {"images": batch["image"].sum()}

    parallel = Parallel(ParallelSettings(mode=mode))
    state = parallel.put_state(np.float32(0))
    batch = parallel.put_train_batch({"image": np.ones(8, np.float32)})
    state, _ = parallel.compile_train_step(step, constants=np.float32(0))(state, batch)
    assert float(parallel.get_state(state)) == 1
    assert axes == [parallel.axis_name]
