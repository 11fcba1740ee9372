"""Several processes: what they compare, and workers that end with their parent."""

import signal

import psutil
import pytest

from tests.faults.conftest import free_port
from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.runtime import devices

COMPARE = """
import sys
from wae_jax.config import default_config, settings_from_config
from wae_jax.errors import UserError
from wae_jax.runtime.devices import start
from wae_jax.training.processes import check_same_settings
process, port, rate, workers = sys.argv[1:]
config = default_config()
config.parallel.update(coordinator=f"localhost:{port}", num_processes=2, process_id=int(process))
config.stages.joint.learning_rate = float(rate)
config.data.workers = int(workers)
settings = settings_from_config(config)
start(settings.parallel)
try:
    check_same_settings(settings)
except UserError as error:
    print(error)
else:
    print("the same")
"""
# A loader with two workers, as a training has it.
LOADER = """
import psutil
from wae_jax import data
if __name__ == "__main__":
    records = data.DecodedRecords(data.open_source("cifar10", "train[:64]"))
    transform = data.make_transform("small", 32, train=True)
    loader = data.make_train_loader(records, transform, batch_size=8, seed=0, workers=2)
    next(loader)
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    for batch in loader:
        pass
"""


@pytest.mark.parametrize("rates, words", [((0.1, 0.1), "the same"), ((0.1, 0.2), "learning_rate")])
def test_processes_of_a_run_compare_their_configs(rates, words, start_script):
    port = free_port()
    runs = [start_script(COMPARE, i, port, rate, i) for i, rate in enumerate(rates)]
    for run in runs:
        assert run.end() == 0, run.stderr()
        assert words in run.out
        if words != "the same":
            assert "0.1 in process 0, 0.2 in process 1" in run.out
            assert "workers" not in run.out  # may differ


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"process_id": 5}, "process_id is 5"),
        ({"coordinator": "foo"}, "host:port"),
        ({"coordinator": "host:99999"}, "host:port"),
        ({"num_processes": 2}, "coordinator is empty"),
    ],
)
def test_keys_that_do_not_fit_each_other(keys, words):
    with pytest.raises(UserError, match=words):
        devices.start(ParallelSettings(**keys))


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_workers_end_with_their_parent(number, start_program, tmp_path, cifar10):
    script = tmp_path / "load.py"  # workers import it
    script.write_text(LOADER)
    run = start_program(str(script))
    children = [psutil.Process(int(pid)) for pid in run.process.stdout.readline().split()]
    assert len(children) >= 2, run.stderr()
    run.signal(number)
    run.end()
    assert not psutil.wait_procs(children, timeout=10)[1]
