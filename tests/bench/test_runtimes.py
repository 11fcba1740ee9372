"""The networks of a benchmark in other runtimes, in processes of their own."""

import functools
import importlib.util
import json

import jax
import numpy as np
import pytest

from wae_jax.bench import report, runtimes
from wae_jax.bench.measure import model_job
from wae_jax.bench.networks import build_network
from wae_jax.bench.run import Options, run_benchmark
from wae_jax.bench.worker import Worker
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.methods import set_method

METHODS = ("full", "wae-fast")


@pytest.fixture(scope="module")
def settings(tiny_config):
    return {m: settings_from_config(set_method(tiny_config(), m)) for m in METHODS}


@pytest.fixture(scope="module")
def results(settings):
    return run_benchmark(
        settings,
        Options(batch_sizes=(1, 3), seconds=0.05, runtimes=("jax", "onnxruntime", "openvino")),
    )


def test_every_runtime_has_its_rows(results):
    found = [(row.runtime, row.batch_size, row.method) for row in results.rows]
    assert found == [
        (runtime, batch, method)
        for runtime in ("jax", "onnxruntime", "openvino")
        for batch in (1, 3)
        for method in METHODS
    ]
    for row in results.rows:
        assert row.latency_ms > 0 and row.compile_s > 0
        assert row.speedup_low <= row.speedup <= row.speedup_high
        assert (row.xla_flops is None) == (row.runtime != "jax")
    # Costs are the network's, not the runtime's.
    assert len({(row.method, row.macs, row.params) for row in results.rows}) == 2


def test_tables_name_the_runtimes(results):
    text = report.as_text(results)
    version = results.environment["onnxruntime"]
    assert f"### network alone: batch 3, float32, ONNX Runtime {version}" in text
    (side,) = [b for b in text.split("\n\n") if b.startswith("| method") and "OpenVINO" in b]
    assert len(side.splitlines()) == 2 + 4
    assert {row["runtime"] for row in json.loads(report.as_json(results))["rows"]} == {
        "jax",
        "onnxruntime",
        "openvino",
    }


def test_other_scores_are_not_timed(settings, monkeypatch):
    network = build_network("full", settings["full"], "float32", platform="cpu")
    job = model_job(network, 1, jax.devices()[0])
    wrong = np.asarray(job.call()) * 1.001
    monkeypatch.setattr(runtimes, "Worker", lambda title: FakeWorker(wrong))
    with (
        pytest.raises(
            UserError, match=r"ONNX Runtime and JAX do not give the same scores for full"
        ),
        runtimes.elsewhere(("onnxruntime",), [job]),
    ):
        pass


class FakeWorker:
    def __init__(self, scores):
        self.scores = scores

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def add(self, key, make):
        return 0.1

    def run(self, key):
        return self.scores


def test_what_cannot_be_had_is_said_first(settings, monkeypatch):
    with pytest.raises(UserError, match=r"--runtimes: there is no 'onnx'; there are: jax, onnxr"):
        run_benchmark(settings, Options(runtimes=("onnx",)))
    with pytest.raises(UserError, match=r"--runtimes compares on the CPU"):
        runtimes.check_runtimes(("jax", "openvino"), "gpu")
    there = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "openvino" else there(name)
    )
    with pytest.raises(UserError, match=r"needs the package openvino: pip install .*\[openvino\]"):
        runtimes.check_runtimes(("openvino",), "cpu")


def test_a_process_tells_what_went_wrong_in_it():
    with Worker("some runtime") as worker, pytest.raises(UserError, match="there are: jax"):
        worker.add("a", functools.partial(runtimes.check_runtimes, ("none",), "cpu"))
    with Worker("some runtime") as worker, pytest.raises(RuntimeError, match="ZeroDivisionError"):
        worker.add("a", functools.partial(divmod, 1, 0))
    with Worker("some runtime") as worker, pytest.raises(RuntimeError, match=r"died .*status 3"):
        worker.add("a", functools.partial(__import__("os")._exit, 3))
