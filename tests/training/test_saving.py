"""When a run saves besides its fixed steps, and which checkpoint is the best."""

import pytest

from wae_jax.runtime import signals
from wae_jax.training import saving
from wae_jax.training.progress import MetricsLog


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    return now


def test_the_clock_asks_when_the_last_checkpoint_is_old(clock):
    wishes = saving.Wishes(minutes=10)
    clock[0] += 599
    assert not wishes.look(1)
    clock[0] += 1
    assert wishes.look(2)
    assert (wishes.stop, wishes.save) == (0, False)
    wishes.saved()
    assert not wishes.look(3)
    clock[0] += 600
    assert wishes.look(4)


def test_without_minutes_it_never_does(clock):
    wishes = saving.Wishes()
    clock[0] += 1e9
    assert not wishes.look(1)


def test_a_signal_is_a_wish(monkeypatch):
    monkeypatch.setattr(signals._asked, "save", True)
    wishes = saving.Wishes()
    assert wishes.look(1)
    assert wishes.save
    assert not wishes.look(2)
    monkeypatch.setattr(signals._asked, "stop", 15)
    assert wishes.look(3)
    assert wishes.stop == 15


@pytest.mark.parametrize("asked", ["this one", "another", "none"])
def test_processes_end_together_after_any_checkpoint(asked, monkeypatch):
    """Also where one was asked after they agreed: it may not end alone."""
    votes = []

    def gather(own):
        votes.append(int(own))
        return [int(own), 15 if asked == "another" else 0]

    monkeypatch.setattr(saving.jax, "process_count", lambda: 2)
    monkeypatch.setattr(saving.multihost_utils, "process_allgather", gather)
    monkeypatch.setattr(signals._asked, "stop", 15 if asked == "this one" else 0)
    monkeypatch.setattr(signals._asked, "deferred", True)
    wishes = saving.Wishes()
    assert not wishes.look(9)  # they agree at 10
    if asked == "none":
        wishes.at_once()
    else:
        with pytest.raises(signals.Stopped) as stopped:
            wishes.at_once()
        assert stopped.value.status == 143
    assert votes == [15 if asked == "this one" else 0]
    assert not signals._asked.deferred


def test_processes_agree_every_few_steps(monkeypatch):
    """What one of them was asked, all do, after the same step."""
    votes = []

    def gather(own):
        votes.append(own.tolist())
        return [[0, 0, 0], [15, 1, 0]]

    monkeypatch.setattr(saving.jax, "process_count", lambda: 2)
    monkeypatch.setattr(saving.multihost_utils, "process_allgather", gather)
    wishes = saving.Wishes()
    found = [step for step in range(1, 21) if wishes.look(step) and wishes.stop == 15]
    assert found == [10, 20]
    assert votes == [[0, 0, 0]] * 2


def test_the_best_is_the_latest_of_equals_also_after_a_restart(tmp_path):
    log = MetricsLog(tmp_path, resume_step=0)
    assert log.best is None
    for step, top1 in ((1, 0.5), (2, 0.7), (3, 0.7), (4, 0.6)):
        log.write({"stage": "joint", "step": step, "eval_count": 9, "top1": top1})
    assert log.best == 3
    log.close()
    log = MetricsLog(tmp_path, resume_step=2)
    assert log.best == 2
    log.close()
