"""How a process joins the others of its run."""

import jax
import pytest

from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.runtime import devices


@pytest.fixture
def joined(monkeypatch):
    """Arguments of each call of jax.distributed.initialize."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **limits: calls.append(args))
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    return calls


def test_one_process_joins_nobody(joined):
    devices.start(ParallelSettings())
    assert joined == []


def test_an_address_is_taken_as_it_is(joined):
    devices.start(ParallelSettings(coordinator="host:1234", num_processes=3, process_id=2))
    assert joined == [("host:1234", 3, 2)]


def test_auto_leaves_it_to_jax(joined):
    devices.start(ParallelSettings(coordinator="auto"))
    assert joined == [()]


@pytest.mark.parametrize("tasks, calls", [("4", [()]), ("1", [])])
def test_slurm_is_found_out(joined, monkeypatch, tasks, calls):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", tasks)
    devices.start(ParallelSettings())
    assert joined == calls


def test_a_tpu_host_is_found_out(joined, monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: name == "libtpu")
    monkeypatch.delenv("JAX_PLATFORMS")
    devices.start(ParallelSettings())
    assert joined == [()]
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    devices.start(ParallelSettings())
    assert joined == [()]


def test_a_second_call_changes_nothing(joined, monkeypatch):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    devices.start(ParallelSettings(coordinator="auto"))
    assert joined == []


def test_processes_that_cannot_be_found_are_one_line(monkeypatch):
    """jax's own words, as nothing here looks like a cluster."""
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)

    def fail(**limits):
        raise ValueError("coordinator_address should be defined.\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(UserError, match=r"cannot join .*auto.*should be defined\.; see") as error:
        devices.start(ParallelSettings(coordinator="auto"))
    assert "\n" not in str(error.value)
