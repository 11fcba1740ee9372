"""One device, a mesh of four and ``pmap`` over four train the same network."""

import jax
import numpy as np
import pytest

from tests.networks import TWO_BRANCHES
from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.runtime.devices import AXIS, Parallel

STEPS = 5
STAGES = ("autoencoder", "classifier", "joint")
# Batch norm is on in the tiny config; heads with dropout as in the released network.
CHANGES = {
    "model.backbone.plan": "4 M",
    "model.head.kind": "fc",
    "model.head.dropout": 0.5,
    "model.head.hidden_low": (16,),
    "model.head.hidden_fused": (16,),
}


def settings(mode="jit", devices=0):
    return ParallelSettings(
        mode=mode, devices=devices, coordinator="", num_processes=1, process_id=0
    )


def test_there_are_four_devices_to_test_with():
    assert len(jax.devices()) == 4


def train(trainer, parallel):
    """State and metrics after ``STEPS`` steps of 16 images, as the loop runs them."""
    step = parallel.compile_train_step(trainer.train_step(parallel.axis_name))
    state, metrics = parallel.put_state(trainer.new_state()), []
    for number in range(STEPS):
        state, parts = step(state, parallel.put_train_batch(trainer.batch(number)))
        metrics.append(
            {name: float(np.mean(parallel.local_value(value))) for name, value in parts.items()}
        )
    return jax.device_get(parallel.get_state(state)), metrics


@pytest.fixture(
    scope="module",
    params=[pytest.param(s, marks=() if s == "joint" else pytest.mark.slow) for s in STAGES],
)
def trainer(request, make_trainer):
    trainer = make_trainer(request.param, CHANGES)
    # In these batches no two pixels of a max-pool and no ReLU input are so close to a tie that
    # rounding decides where the gradient goes.
    trainer.data_seed = 20
    return trainer


@pytest.fixture(scope="module")
def one_device(trainer):
    return train(trainer, Parallel(settings(devices=1)))


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_train_as_one(mode, trainer, one_device, flat):
    state, metrics = train(trainer, Parallel(settings(mode=mode)))
    expected_state, expected_metrics = one_device
    for part in ("params", "batch_stats"):
        found, expected = flat(getattr(state, part)), flat(getattr(expected_state, part))
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name
            )
    assert int(state.step) == STEPS
    for now, then in zip(metrics, expected_metrics, strict=True):
        assert now == pytest.approx(then, rel=1e-4)


def test_training_got_somewhere(trainer, one_device, flat):
    """Or the comparison above would compare initial values."""
    before, after = flat(trainer.variables["params"]), flat(one_device[0].params)
    assert max(np.abs(after[name] - before[name]).max() for name in before) > 1e-3


def test_state_is_copied_before_it_is_donated(make_trainer, flat):
    trainer, parallel = make_trainer("joint", CHANGES), Parallel(settings(devices=1))
    state = trainer.new_state()
    held = flat(jax.tree.map(np.array, state.params))
    jax.tree.map(lambda x: x.delete(), parallel.put_state(state).params)
    for name, value in flat(state.params).items():
        np.testing.assert_array_equal(value, held[name])


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_state_comes_back_as_it_was_put(mode, make_trainer, flat):
    trainer, parallel = make_trainer("joint", CHANGES), Parallel(settings(mode=mode))
    state = trainer.new_state()
    back = parallel.get_state(parallel.put_state(state))
    before, after = flat(state), flat(back)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    assert all(
        x.sharding.is_fully_replicated and len(x.sharding.device_set) == 4
        for x in jax.tree.leaves(back)
    )


def test_batches_are_split_over_the_devices(make_trainer):
    trainer = make_trainer("joint", CHANGES)
    batch = trainer.batch(0)
    put = Parallel(settings()).put_train_batch(batch)
    assert [s.data.shape[0] for s in put["image"].addressable_shards] == [4] * 4
    np.testing.assert_array_equal(put["label"], batch["label"])
    put = Parallel(settings(mode="pmap")).put_train_batch(batch)
    np.testing.assert_array_equal(put["label"].reshape(-1), batch["label"])
    assert put["image"].shape == (4, 4, 16, 16, 3)


def test_axis_name_is_for_pmap_only():
    assert Parallel(settings()).axis_name is None
    assert Parallel(settings(mode="pmap")).axis_name == AXIS


@pytest.mark.parametrize(
    "change, message",
    [
        ({"devices": 5}, "parallel.devices is 5, but jax sees 4"),
    ],
)
def test_what_cannot_be_run_on_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        Parallel(settings(**change))


def test_a_batch_must_divide_over_the_devices():
    parallel = Parallel(settings())
    parallel.check_batch_size("config.key", 8)
    with pytest.raises(UserError, match=r"config\.key is 6; it must be a multiple of the 4"):
        parallel.check_batch_size("config.key", 6)


def test_a_sharded_optimiser_gives_the_same_with_a_share_of_its_bytes(make_trainer, flat):
    """ZeRO-1 on four devices, Adam with two moments a weight."""
    trainer = make_trainer("autoencoder", TWO_BRANCHES)
    expected, _ = trainer.run(3)
    parallel = Parallel(ParallelSettings(shard_optimizer=True))
    state = parallel.put_state(trainer.new_state())
    step = parallel.compile_train_step(trainer.train_step(), state=state)
    for number in range(3):
        state, _ = step(state, parallel.put_train_batch(trainer.batch(number)))
    moments = [x for x in jax.tree.leaves(state.opt_state) if x.ndim]
    here = sum(x.addressable_shards[0].data.nbytes for x in moments)
    assert 0.25 <= here / sum(x.nbytes for x in moments) < 0.27
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state.params))
    whole = parallel.get_state(state)
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(whole))
    found = flat(jax.device_get(whole))
    for name, value in flat(expected).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    found, expected = flat(jax.device_get(whole.params)), flat(expected.params)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6, err_msg=name)


def test_pmap_does_not_shard_the_optimiser():
    with pytest.raises(UserError, match="shard_optimizer needs"):
        Parallel(ParallelSettings(mode="pmap", shard_optimizer=True))
