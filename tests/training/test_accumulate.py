"""A batch in parts, one after the other, trains as the whole batch does."""

import jax
import numpy as np
import pytest

from tests.networks import ONE_BRANCH, TWO_BRANCHES
from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.runtime.devices import Parallel

PARTS = 4
JOINT = TWO_BRANCHES | {"model.head.dropout": 0.0}


def assert_close(found, expected, flat):
    found, expected = flat(found), flat(expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("stage, network", [("end_to_end", ONE_BRANCH), ("joint", JOINT)])
def test_without_batch_norm_it_is_the_same(stage, network, make_trainer, flat):
    whole = make_trainer(stage, network)
    parts = make_trainer(stage, network | {f"stages.{stage}.accumulate": PARTS})
    expected, expected_metrics = whole.run(3)
    found, metrics = parts.run(3)
    assert_close(found, expected, flat)
    assert_close(metrics, expected_metrics, flat)
    assert_close(found.params, expected.params, flat)
    moved = flat(expected.params)
    assert any(
        (moved[name] != value).any() for name, value in flat(whole.variables["params"]).items()
    )


def test_with_batch_norm_statistics_go_through_all_parts(make_trainer, flat):
    """Each part is normalised by its own; running statistics move once a part."""
    norms = ONE_BRANCH | {"model.backbone.batch_norm": True, "stages.end_to_end.learning_rate": 0.0}
    norms |= {"stages.end_to_end.weight_decay": 0.0}
    parts = make_trainer("end_to_end", norms | {"stages.end_to_end.accumulate": PARTS})
    whole = make_trainer("end_to_end", norms)
    state = whole.new_state()
    batch = whole.batch(0)
    for number in range(PARTS):
        part = {
            name: np.tile(value[number::PARTS], (PARTS,) + (1,) * (value.ndim - 1))
            for name, value in batch.items()
        }
        state, _ = whole.jit_step(state, part)
    found, _ = parts.jit_step(parts.new_state(), batch)
    assert_close(found.batch_stats, jax.device_get(state.batch_stats), flat)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_on_several_devices_too(mode, make_trainer, flat):
    """Four devices, each with a share of every part."""
    trainer = make_trainer("end_to_end", ONE_BRANCH | {"stages.end_to_end.accumulate": 2})
    expected = trainer.run(2)[0]
    parallel = Parallel(ParallelSettings(mode=mode))
    step = parallel.compile_train_step(trainer.train_step(parallel.axis_name))
    state = parallel.put_state(trainer.new_state())
    for number in range(2):
        state, _ = step(state, parallel.put_train_batch(trainer.batch(number)))
    assert_close(jax.device_get(parallel.get_state(state)), expected, flat)


def test_a_batch_that_does_not_divide_is_named():
    parallel = Parallel(ParallelSettings())
    with pytest.raises(UserError, match=r"batch_size is 24; .* 4 devices, times 4 parts"):
        parallel.check_batch_size("config.stages.joint.batch_size", 24, 4)
