"""The plan for many chips: what it counts is what a compiled step sends, and its limits."""

import dataclasses
import math
import re

import jax
import pytest

from tests.networks import ONE_BRANCH
from tools import scale
from wae_jax.config import ParallelSettings, settings_from_config
from wae_jax.models import layers
from wae_jax.runtime.devices import Parallel

NORMS = ONE_BRANCH | {"model.backbone.batch_norm": True, "model.backbone.plan": "8 M 16"}
CHIP = scale.Chip(flops=1e12, link=1e9, latency=1e-6, per_host=4, cores=10)
JOB = scale.Job(
    macs=10**9, gradient_bytes=10**8, statistics_bytes=10**5, norms=10, checkpoint_bytes=10**9
)
ASSUMED = scale.Assumed(
    batch_per_chip=50,
    utilisation=0.5,
    overlap=0.5,
    jitter=0.0,
    images_per_core=1e6,
    checkpoint_every=100,
    write_rate=1e9,
    background=True,
)


def reduced(program: str) -> list[int]:
    """Bytes of the all-reduces in a compiled program."""
    found = re.findall(r"= (.*?) all-reduce(?:-start)?\(", program)
    return [
        sum(
            4 * math.prod(map(int, filter(None, dims.split(","))))
            for dims in re.findall(r"f32\[([\d,]*)\]", shapes)
        )
        for shapes in found
    ]


@pytest.mark.slow
def test_what_is_counted_is_what_four_devices_exchange(make_trainer, tiny_config, monkeypatch):
    # As on GPU and TPU: sums that are faster on a CPU exchange more.
    monkeypatch.setattr(layers, "_sums_by_product", lambda x: x.sum(0))
    trainer, parallel = make_trainer("end_to_end", NORMS), Parallel(ParallelSettings())
    step = parallel.compile_train_step(trainer.train_step())
    state = parallel.put_state(trainer.new_state())
    batch = parallel.put_train_batch(trainer.batch(0))
    program = step.compiled.lower(state, batch, None).compile().as_text()
    job = scale.count(settings_from_config(tiny_config(NORMS)), 10)
    assert job.norms == 2
    assert job.gradient_bytes == 4 * sum(x.size for x in jax.tree.leaves(state.params))
    # The gradients of norms' scales come out of what the backward pass exchanges for the norm.
    counted = job.gradient_bytes + job.statistics_bytes
    assert sum(reduced(program)) == pytest.approx(counted, rel=0.05)
    assert len(reduced(program)) == 2 * job.norms + 1


def test_a_checkpoint_has_the_bytes_that_are_counted(make_trainer, tiny_config):
    trainer = make_trainer("end_to_end", NORMS)
    job = scale.count(settings_from_config(tiny_config(NORMS)), 10)
    assert job.checkpoint_bytes == sum(x.nbytes for x in jax.tree.leaves(trainer.new_state()))


def step_ms(chips, job=JOB, **changes):
    assumed = dataclasses.replace(ASSUMED, **changes)
    return scale.simulate(job, CHIP, chips, assumed, 300)["step_ms"]


def test_one_chip_only_computes():
    assert step_ms(1) == pytest.approx(1e3 * 2 * 1e9 * 50 / 0.5e12)


def test_chips_also_exchange():
    """By the formula of a ring; half of the gradients' time is hidden."""
    bytes_sent = 2 * 15 / 16 * (0.5 * 1e8 + 1e5) / 1e9
    hops = (0.5 * 1 + 20) * 4 * (4 - 1) * 1e-6
    assert step_ms(16) == pytest.approx(200 + 1e3 * (bytes_sent + hops), rel=1e-6)


def test_hosts_wait_for_slow_input_and_for_the_slowest_of_them():
    reads = 1e3 * 50 * 4 / (20 * 10)  # four chips of a host, 20 images a second on each core
    assert step_ms(16, images_per_core=20) == pytest.approx(reads, rel=0.02)
    assert step_ms(16) < 300
    assert step_ms(256, jitter=0.05) > step_ms(16, jitter=0.05) > step_ms(16)


def test_checkpoints_cost_what_they_take_unless_in_the_background():
    assert step_ms(1, background=False) - step_ms(1) == pytest.approx(1e3 * 1.0 / 100)


@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
def test_the_command_as_documented(capsys, tmp_path):
    table = tmp_path / "scale.csv"
    scale.main(
        ["--config=configs/quickstart.py:lowres", "--classes=10", "--chips=64", f"--csv={table}"]
    )
    out = capsys.readouterr().out
    assert "all-reduced in a step" in out
    assert [line.split()[1] for line in out.splitlines()[-3:]] == ["1", "8", "64"]
    assert len(table.read_text().splitlines()) == 4


def test_a_disk_is_measured(tmp_path):
    assert scale.measure_disk(tmp_path, megabytes=2, rounds=1) > 0
    assert not list(tmp_path.iterdir())
