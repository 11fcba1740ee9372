"""What a library user's one call does, and what the log says where it is missing or late."""

import logging
import os
import subprocess
import sys

import jax
import pytest

import wae_jax
from wae_jax.inference.fold import for_inference
from wae_jax.runtime import process


@pytest.fixture
def unconfigured(monkeypatch):
    """A process whose jax runs, and in which nothing was configured or said."""
    jax.devices()
    monkeypatch.setattr(process, "_configured", False)
    monkeypatch.setattr(process, "_said", set())
    flags = " ".join(f for f in os.environ["XLA_FLAGS"].split() if f != process.CPU_FLAG)
    monkeypatch.setenv("XLA_FLAGS", flags)
    return flags


def said(caplog) -> list[str]:
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return [record.getMessage() for record in caplog.records if record.name == "wae_jax"]


def test_a_late_call_says_so_once(unconfigured, caplog):
    assert wae_jax.configure() is None
    wae_jax.configure()
    (text,) = said(caplog)
    assert "after the first jax computation" in text
    assert os.environ["XLA_FLAGS"] == unconfigured  # results record what was in force


@pytest.mark.parametrize(
    "changes",
    [
        {"XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type=dot"},  # the user's own
        {"jaxlib": "0.0.1"},  # does not know the flag
        {"backend": "gpu"},  # has no use for it
    ],
    ids=str,
)
def test_a_late_call_that_loses_nothing_is_silent(changes, unconfigured, monkeypatch, caplog):
    if "XLA_FLAGS" in changes:
        monkeypatch.setenv("XLA_FLAGS", changes["XLA_FLAGS"])
    if "jaxlib" in changes:
        monkeypatch.setattr(process.importlib.metadata, "version", lambda name: changes["jaxlib"])
    if "backend" in changes:
        monkeypatch.setattr(jax, "default_backend", lambda: changes["backend"])
    wae_jax.configure()
    assert not said(caplog)


def test_a_cpu_network_in_an_unconfigured_process_says_so_once(unconfigured, make_trainer, caplog):
    trainer = make_trainer("joint")
    for_inference(trainer.model, trainer.variables, platform="tpu")
    assert not said(caplog)
    for _ in range(2):
        for_inference(trainer.model, trainer.variables, platform="cpu")
    (text,) = said(caplog)
    assert "wae_jax.configure()" in text


def test_a_cpu_network_in_a_configured_process_is_silent(unconfigured, make_trainer, caplog):
    wae_jax.configure()
    caplog.clear()
    trainer = make_trainer("joint")
    for_inference(trainer.model, trainer.variables, platform="cpu")
    assert not said(caplog)


EARLY = """
import os, sys
{imports}
import wae_jax
for _ in range(2):
    assert wae_jax.configure() is None
import jax
jax.numpy.ones(3).sum()
wae_jax.configure()
print(os.environ["XLA_FLAGS"].split().count("{flag}"))
"""


@pytest.mark.parametrize("imports", ["", "import jax"])
def test_an_early_call_sets_the_flag_once(imports, root, run_env):
    script = EARLY.format(imports=imports, flag=process.CPU_FLAG)
    env = run_env | {"PYTHONPATH": str(root), "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
