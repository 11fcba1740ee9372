"""How a process joins the others of its run."""

import jax
import pytest

from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.runtime import devices, joining


class NoPeers:
    """Stands in for connections to other processes."""

    local = "unix-abstract:here"

    def __init__(self, *where):
        self.where = where

    def open(self):
        pass


@pytest.fixture
def joined(monkeypatch):
    """Arguments of each call of jax.distributed.initialize."""
    calls = []
    monkeypatch.setattr(joining, "Peers", NoPeers)
    monkeypatch.setattr(joining, "_peers", None)
    monkeypatch.setattr(joining.atexit, "register", lambda function: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **limits: calls.append(args))
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    return calls


def test_one_process_joins_nobody(joined):
    devices.start(ParallelSettings())
    assert joined == []


def test_an_address_is_taken_as_it_is(joined):
    devices.start(ParallelSettings(coordinator="host:1234", num_processes=3, process_id=2))
    assert joining._peers.where == ("host:1234", 3, 2, 60)
    assert joined == [("unix-abstract:here", 3, 2)]


def test_one_process_with_an_address_has_no_peers(joined):
    devices.start(ParallelSettings(coordinator="host:1234"))
    assert joined == [("host:1234", 1, 0)]
    assert joining._peers is None


def test_auto_leaves_it_to_jax(joined):
    devices.start(ParallelSettings(coordinator="auto"))
    assert joined == [()]


@pytest.mark.parametrize("tasks, calls", [("4", [()]), ("1", [])])
def test_slurm_is_found_out(joined, monkeypatch, tasks, calls):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", tasks)
    devices.start(ParallelSettings())
    assert joined == calls


def test_what_slurm_says_is_read(joined, monkeypatch):
    said = {"STEP_NUM_TASKS": 8, "JOB_ID": 4097, "STEP_NODELIST": "node[007-008]"}
    said |= {"NTASKS": 8, "PROCID": 5, "LOCALID": 1}
    for name, value in said.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    devices.start(ParallelSettings(timeout_s=30))
    assert joining._peers.where == ("node007:61441", 8, 5, 30)
    assert joined == [("unix-abstract:here", 8, 5)]


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
