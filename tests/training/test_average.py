"""The average that is evaluated: unbiased from its first step, statistics included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import ONE_BRANCH
from wae_jax.checkpoints.state import ema_of_format_0
from wae_jax.config import ParallelSettings
from wae_jax.runtime.devices import Parallel
from wae_jax.training import average

DECAY = 0.75


@pytest.fixture(scope="module")
def trainers(make_trainer):
    changes = {"ema_decay": DECAY, "model.backbone.plan": "4 M"}
    return {name: make_trainer(name, changes) for name in ("classifier", "joint")}


def states_of(trainer, steps):
    """The states after each step."""
    state, states = trainer.new_state(), []
    for step in range(steps):
        state, _ = trainer.jit_step(state, trainer.batch(step))
        states.append(jax.device_get(state))
    return states


def test_it_is_the_weighted_mean_of_the_steps_so_far(trainers, flat):
    """Of parameters and statistics, with nothing of the initial values in it."""
    states = states_of(trainers["joint"], 4)
    for t, state in enumerate(states, start=1):
        weights = DECAY ** np.arange(t)[::-1]
        weights /= weights.sum()
        evaluated = flat(state.eval_variables)
        assert {name.split("/")[0] for name in evaluated} == {"params", "batch_stats"}
        history = [flat(earlier.variables) for earlier in states[:t]]
        for name, found in evaluated.items():
            expected = sum(w * h[name] for w, h in zip(weights, history, strict=True))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)
        assert int(state.ema["count"]) == t
    first = flat(states[0].variables)
    for name, found in flat(states[0].eval_variables).items():
        np.testing.assert_array_equal(found, first[name])


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_what_is_frozen_is_evaluated_as_it_is(mode, trainers, flat):
    """Bit for bit, also where its average had come to another value before."""
    trainer = trainers["classifier"]
    parallel = Parallel(ParallelSettings(mode=mode, devices=2 if mode == "pmap" else 0))
    state = trainer.new_state()
    other = jax.tree.map(lambda x: x + 1, state.variables)
    state = parallel.put_state(state.replace(ema={**state.ema, **other}))
    step = parallel.compile_train_step(trainer.train_step(parallel.axis_name))
    for number in range(3):
        state, _ = step(state, parallel.put_train_batch(trainer.batch(number)))
    state = jax.device_get(parallel.get_state(state))
    initial, evaluated = flat(trainer.variables), flat(state.eval_variables)
    frozen = [name for name in initial if name.split("/")[1] == "frontend"]
    assert {name.split("/")[0] for name in frozen} == {"params", "batch_stats"}
    for name in frozen:
        assert evaluated[name].tobytes() == initial[name].tobytes()


def test_a_stage_begins_its_average_anew(trainers, flat):
    trainer = trainers["joint"]
    state = trainer.new_state()
    far = jax.tree.map(lambda x: x + 100, state.variables)
    state = state.replace(ema=average.restart({**far, "count": jnp.asarray(7, jnp.int32)}))
    state, _ = trainer.jit_step(state, trainer.batch(0))
    after, evaluated = flat(state.variables), flat(state.eval_variables)
    for name, value in after.items():
        np.testing.assert_array_equal(evaluated[name], value)


def test_without_a_decay_there_is_none(make_trainer):
    trainer = make_trainer("end_to_end", ONE_BRANCH)
    state, _ = trainer.run(1)
    assert state.ema is None
    pairs = zip(*map(jax.tree.leaves, (state.eval_variables["params"], state.params)), strict=True)
    assert all(evaluated is trained for evaluated, trained in pairs)
    assert average.restart(None) is None


def test_an_average_of_format_0_goes_on_with_the_plain_decay(trainers, flat):
    """It was complete: the next step has the share 1 - decay."""
    trainer = trainers["joint"]
    state = trainer.new_state()
    old = jax.tree.map(lambda x: x + 1.0, state.params)
    ema = ema_of_format_0(old, state.batch_stats)
    assert ema["params"] is old
    state, _ = trainer.jit_step(state.replace(ema=ema), trainer.batch(0))
    found, new = flat(state.ema["params"]), flat(state.params)
    for name, value in flat(old).items():
        expected = DECAY * value + (1 - DECAY) * new[name]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_an_average_without_end_stays_a_number():
    values = {"w": np.ones(2, np.float32)}
    ema = ema_of_format_0(values, {})
    for decay in (1e-6, 0.5, 0.999999):
        after = average.advance(ema, {"w": np.zeros(2)}, {}, {"w": "train"}, decay)
        np.testing.assert_allclose(after["params"]["w"], decay, rtol=1e-6, atol=1e-7)
