"""The average in a checkpoint: resumed as it was, and what is loaded."""

import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.checkpoints import store
from wae_jax.checkpoints.state import new_state


@pytest.mark.parametrize("norms", [True, False])
def test_a_checkpoint_keeps_and_gives_it(norms, checkpoint_meta, tmp_path, flat):
    variables = {
        "params": {"conv": {"kernel": jnp.arange(6.0).reshape(2, 3)}},
        "batch_stats": {"norm": {"mean": jnp.arange(3.0)}} if norms else {},
    }
    state = new_state(variables, ema=True)
    average = {
        "params": {"conv": {"kernel": jnp.full((2, 3), 7.0)}},
        "batch_stats": {"norm": {"mean": jnp.full(3, 8.0)}} if norms else {},
    }
    state = state.replace(
        step=jnp.asarray(5, jnp.int32),
        ema={**average, "count": jnp.asarray(2, jnp.int32)},
        opt_state=(),
    )
    folder = store.save(tmp_path, state, checkpoint_meta | {"ema": True}, keep=1)
    restored = store.restore_state(folder, new_state(variables, ema=True).replace(opt_state=()))
    evaluated = store.restore_evaluated(folder, variables)
    assert evaluated.keys() == {"params", "batch_stats"}
    for found, expected in (
        (restored.ema, state.ema),
        (restored.variables, variables),
        (evaluated, average),
    ):
        found, expected = flat(found), flat(expected)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
