"""wae-jax export, in process."""

import json
import sys

import numpy as np
import onnx
import pytest

import wae_jax
import wae_jax.export
from wae_jax.export import checkpoint


@pytest.fixture
def options(trained):
    return "export", f"--checkpoint={trained[0]}"


@pytest.mark.parametrize("batch", ["1", "dynamic"])
def test_onnx(batch, options, command, trained, tmp_path):
    out = tmp_path / "net.onnx"
    status, stdout, stderr = command(*options, "--format=onnx", f"--out={out}", f"--batch={batch}")
    assert (status, stdout) == (0, f"{out}\n"), stderr
    first, second = stderr.splitlines()
    assert float(first.split()[3]) < 1e-5 and "(20 photos of cifar10, test[:96])" in first
    assert "batch 1:" in second and " ms in ONNX Runtime, " in second and "ms in jax" in second
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    found = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(found["class_names"])[3] == "cat"
    assert json.loads(found["preprocessing"])["as_is"] is True
    assert json.loads(found["config"])["model"]["frontend"]["name"] == "wae"
    assert len(found["checkpoint_sha256"]) == 64 and wae_jax.__version__ in found["version"]


def test_stablehlo(options, succeed, tmp_path):
    out = tmp_path / "net.stablehlo"
    succeed(*options, "--format=stablehlo", f"--out={out}", "--batch=3")
    network = wae_jax.export.load(out)
    found = network(np.zeros((3, 32, 32, 3), np.uint8))
    assert found["scores"].shape == (3, 10)
    assert found["probabilities"].sum(-1) == pytest.approx(1)
    assert network.metadata["class_names"][3] == "cat"


def test_a_file_with_wrong_scores_gets_no_name(options, refuse, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "TOLERANCE", 0.0)
    refuse(["not written", "ONNX Runtime"], *options, "--format=onnx", f"--out={tmp_path}/a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package, options, refuse, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.checker", None)
    words = [f"package {package}", "pip install 'wae-jax[onnx]'"]
    refuse(words, *options, "--format=onnx", f"--out={tmp_path}/a.onnx")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--out=a.onnx"], ["--format"]),
        (["--format=onnx"], ["--out"]),
        (["--format=tflite", "--out=a"], ["tflite", "stablehlo"]),
        (["--format=onnx", "--out=a.pb"], ["--out", ".onnx"]),
        (["--format=onnx", "--out=/nowhere/a.onnx"], ["no such folder"]),
        (["--format=onnx", "--out=a.onnx", "--batch=0"], ["--batch"]),
        (["--format=onnx", "--out=a.onnx", "--batch=any"], ["--batch", "any"]),
    ],
)
def test_mistakes(arguments, words, options, refuse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse(words, *options, *arguments)
