"""A loss that is no number: stop, skip or roll back, as the config says."""

import json
import math

import jax
import numpy as np
import pytest

from tests.faults.test_changes import SMALL
from tests.networks import ONE_BRANCH
from wae_jax.checkpoints import folders, store
from wae_jax.errors import UserError
from wae_jax.training import loop
from wae_jax.training.steps import make_train_step


@pytest.fixture
def poison(monkeypatch):
    """Function that spoils batches: where ``spoilt(number from 0, seed of the order)``."""
    open_loader = loop._open_loader
    orders = []

    def install(spoilt):
        def opened(run, stage, first):
            loader = open_loader(run, stage, first)
            orders.append(loader.state()["seed"])

            class Spoilt:
                state, close = loader.state, loader.close

                def __iter__(self):
                    for batch in loader:
                        image = batch["image"].astype(np.float32)
                        if spoilt(loader.state()["next_batch"] - 1, orders):
                            image[0, 0, 0, 0] = math.nan
                        yield batch | {"image": image}

            return Spoilt()

        monkeypatch.setattr(loop, "_open_loader", opened)
        return orders

    return install


CONFIG = SMALL | {"log_every": 2}


def lines_of(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "eval_count" not in line]


def test_stop_names_step_stage_and_term(poison, tiny_config, cifar10, tmp_path):
    poison(lambda batch, orders: batch == 4)
    with pytest.raises(UserError, match=r"\(classification\) at step 5 of stage end_to_end"):
        loop.train(tiny_config(CONFIG), str(tmp_path))
    assert folders.find(str(tmp_path)).name == "3"


def test_skip_leaves_the_step_out(poison, tiny_config, cifar10, tmp_path):
    poison(lambda batch, orders: batch == 4)
    figures = loop.train(tiny_config(CONFIG | {"on_nan": "skip"}), str(tmp_path))
    assert figures["step"] == 6
    lines = lines_of(tmp_path)
    assert [(line["step"], line["skipped"]) for line in lines] == [(2, 0), (4, 0), (6, 1)]
    assert all(math.isfinite(line["loss"]) and line["loss"] > 1 for line in lines)
    assert store.read_meta(folders.find(str(tmp_path)))["skipped"] == 1


def test_skip_has_a_limit_over_all_starts(poison, tiny_config, cifar10, tmp_path):
    config = tiny_config(CONFIG | {"on_nan": "skip", "nan_limit": 2})
    poison(lambda batch, orders: batch in (0, 4, 5))
    for _ in range(2):  # also where it goes on from step 3, with one skipped before it
        with pytest.raises(UserError, match=r"3 steps were left out.*nan_limit allows 2"):
            loop.train(config, str(tmp_path))
        assert folders.find(str(tmp_path)).name == "3"


def test_rollback_goes_on_with_another_order(poison, tiny_config, cifar10, tmp_path, flat):
    orders = poison(lambda batch, orders: batch == 4 and orders[-1] == orders[0])
    config = tiny_config(CONFIG | {"on_nan": "rollback"})
    assert loop.train(config, str(tmp_path / "a"))["step"] == 6
    assert len(set(orders)) == len(orders) == 2
    assert [line["step"] for line in lines_of(tmp_path / "a")] == [2, 4, 6]
    end = folders.find(str(tmp_path / "a"))
    assert store.read_meta(end)["rollbacks"] == 1
    assert store.read_meta(end)["data"]["seed"] == orders[1]
    # The same again, to the bit.
    orders.clear()
    loop.train(config, str(tmp_path / "b"))
    found = flat(store._read(folders.find(str(tmp_path / "b")), "variables"))
    for name, value in flat(store._read(end, "variables")).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_rollback_has_a_limit(poison, tiny_config, cifar10, tmp_path):
    orders = poison(lambda batch, orders: batch == 4)
    config = tiny_config(CONFIG | {"on_nan": "rollback", "nan_limit": 2})
    with pytest.raises(UserError, match="no finite number"):
        loop.train(config, str(tmp_path))
    assert len(set(orders)) == len(orders) == 3
    assert folders.find(str(tmp_path)).name == "3"


def skipping_step(trainer):
    return jax.jit(
        make_train_step(
            trainer.model,
            trainer.stage.settings,
            trainer.settings.losses,
            trainer.optimizer,
            trainer.labels,
            seed=7,
            skip_bad=True,
        )
    )


def test_a_skipped_step_changes_no_bit(make_trainer, flat):
    trainer = make_trainer("end_to_end", ONE_BRANCH)
    state = trainer.run(1)[0]
    batch = trainer.batch(1)
    batch["image"] = batch["image"].astype(np.float32)
    step = skipping_step(trainer)
    good, parts = step(state, batch)
    assert parts["skipped"] == 0
    plain, plain_parts = trainer.jit_step(state, batch)
    np.testing.assert_allclose(parts["loss"], plain_parts["loss"], rtol=1e-6)
    assert any((flat(good)[name] != value).any() for name, value in flat(state).items())
    batch["image"][3, 2, 1, 0] = np.inf
    bad, parts = step(state, batch)
    assert parts["skipped"] == 1
    assert set(map(float, (parts["loss"], parts["classification"]))) == {0.0}
    assert int(bad.step) == int(state.step) + 1 == int(plain.step)
    before, after = flat(state), flat(bad)
    for name, value in before.items():
        if name != "step":
            assert after[name].tobytes() == value.tobytes(), name
