"""How long the rest of a study takes."""

import json

import pytest

from wae_jax.checkpoints import store
from wae_jax.config import Settings
from wae_jax.schema.trees import changed
from wae_jax.study import left

STAGES = [
    {"name": "first", "steps": 10, "batch_size": 8, "images_per_s": 40.0},  # 2 s
    {"name": "second", "steps": 20, "batch_size": 8, "images_per_s": 80.0},  # 2 s
]
TEN_SECONDS = 10 / 3600


@pytest.fixture
def at_step(tmp_path):
    """Function that makes the folder of a run stopped after so many steps."""

    def make(step):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
        return str(tmp_path)

    return make


def test_another_seed_takes_as_long(run_of):
    like = run_of("wae", right=[True], stages=STAGES, hours=TEN_SECONDS)
    # 4 s in steps, 6 s around them.
    assert left.seconds_left(Settings(), "nowhere", like) == pytest.approx(10)
    # Of a run that was stopped, the time around its steps is not known.
    resumed = run_of("wae", right=[True], stages=STAGES, hours=TEN_SECONDS, resumed_from_step=5)
    assert left.seconds_left(Settings(), "nowhere", resumed) == pytest.approx(4)


@pytest.mark.parametrize("step, seconds", [(5, 3), (10, 2), (20, 1), (30, 0)])
def test_a_stopped_run_has_the_rest_of_its_steps_left(run_of, at_step, step, seconds):
    like = run_of("wae", right=[True], stages=STAGES, hours=TEN_SECONDS)
    assert left.seconds_left(Settings(), at_step(step), like) == pytest.approx(seconds + 6)


def test_a_stopped_run_tells_by_its_own_log(monkeypatch, at_step):
    settings = changed(Settings(), {"run_stages": ("end_to_end",)})
    stage = settings.stages["end_to_end"]
    steps = stage.epochs * 100 / stage.batch_size
    monkeypatch.setattr(store, "read_meta", lambda folder: {"data": {"num_examples": 100}})
    folder = at_step(10)
    log = left.Path(folder) / "metrics.jsonl"
    log.write_text(json.dumps({"stage": "end_to_end", "images_per_s": 50.0}))
    expected = (-(-steps // 1) - 10) * stage.batch_size / 50
    assert left.seconds_left(settings, folder, None) == pytest.approx(expected)
    # A stage that has not begun cannot be estimated.
    assert left.seconds_left(Settings(), folder, None) is None


def test_what_is_not_known_is_said(run_of):
    like = run_of("wae", right=[True], stages=STAGES, hours=TEN_SECONDS)
    pending = [("wae", Settings(), "a"), ("stem", Settings(), "b"), ("wae", Settings(), "c")]
    assert left.shown(pending, [like]) == (
        "time left: about 20s, and an unknown time for stem, not measured yet"
    )
    assert left.shown(pending[::2], [like]) == "time left: about 20s"
    assert left.shown(pending, []) == "time left: unknown, no such run was measured yet"
