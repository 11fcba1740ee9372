"""wae-jax export --int8, in process, on a network that was trained for some seconds."""

import json
import re

import numpy as np
import onnx
import pytest

from configs import quickstart
from wae_jax import data
from wae_jax.export import checkpoint
from wae_jax.export.runtimes import open_onnxruntime
from wae_jax.methods import set_method
from wae_jax.training.loop import train


@pytest.fixture(scope="module")
def taught(tmp_path_factory, cifar10):
    """A small network of low resolution that has learned something."""
    config = set_method(quickstart.get_config("lowres"), "lowres")
    config.model.backbone.plan = "16 M 32"
    config.data.update(train_split="train[:2000]", eval_split="test[:300]")
    config.stages.end_to_end.update(steps=60, batch_size=64, learning_rate=0.1)
    config.parallel.devices = 1
    workdir = tmp_path_factory.mktemp("taught")
    return workdir, train(config, str(workdir))


@pytest.fixture
def options(taught, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    return "export", f"--checkpoint={taught[0]}", "--format=onnx", "--int8"


@pytest.mark.parametrize("batch", ["1", "dynamic"])
def test_int8(batch, options, taught, command, as_described, tmp_path):
    out = tmp_path / "net.onnx"
    status, stdout, stderr = command(
        *options, f"--out={out}", f"--batch={batch}", "--calibration_images=40"
    )
    assert (status, stdout) == (0, f"{out}\n"), stderr
    calibrated, layers, top1, scores, _ = stderr.splitlines()
    assert calibrated == "calibrated on 40 photos of cifar10, train[:2000]"
    assert layers.startswith("2 of 3 layers in int8; float32 stay: ")
    found = [float(x) / 100 for x in re.findall(r"([0-9.]+) %", top1)]
    assert found[1] == pytest.approx(taught[1]["top1"], abs=0.005) and found[1] > 0.2
    assert abs(found[0] - found[1]) < 0.03 and found[2] > 0.9
    assert 1e-4 < float(re.findall(r"[0-9.]+e-?\d+", scores)[0]) < 0.2
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    model = onnx.load(out)
    weights = {array.name: array for array in model.graph.initializer}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    makers = {name: node for node in model.graph.node for name in node.output}
    assert len(convs) == 2
    for conv in convs:
        dequantize = makers[conv.input[1]]
        assert dequantize.op_type == "DequantizeLinear"
        integers, scales = (onnx.numpy_helper.to_array(weights[n]) for n in dequantize.input[:2])
        assert integers.dtype == np.int8 and len(scales) == len(integers) > 1
        assert np.abs(integers).max() <= 64
    held = {entry.key: entry.value for entry in model.metadata_props}
    as_described(held, "An exported file")
    assert json.loads(held["class_names"])[3] == "cat"
    assert json.loads(held["int8"])["calibration"] == "40 photos of cifar10, train[:2000]"
    # The figure is that of the file itself.
    split = list(data.sample_batches(quickstart.get_config().data, "test[:300]", 300, 1))
    call = open_onnxruntime(out).call
    right = [np.argmax(call(b["image"])["scores"]) == b["label"][0] for b in split]
    assert np.mean(right) == pytest.approx(found[0], abs=1e-4)


def test_other_split_for_calibration(options, succeed, tmp_path):
    out = tmp_path / "net.onnx"
    succeed(*options, f"--out={out}", "--calibrate=test[300:320]", "--eval_images=20")
    held = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(held["int8"])["calibration"] == "20 photos of cifar10, test[300:320]"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--int8", "--format=stablehlo", "--out=a.stablehlo"], ["--int8", "onnx"]),
        (["--calibrate=train", "--format=onnx", "--out=a.onnx"], ["--calibrate needs --int8"]),
        (["--int8", "--format=onnx", "--out=a.onnx", "--calibrate=night"], ["night"]),
        (["--int8", "--format=onnx", "--out=a.onnx", "--eval_images=0"], ["--eval_images"]),
    ],
)
def test_mistakes(arguments, words, taught, refuse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse(words, "export", f"--checkpoint={taught[0]}", *arguments)
    assert not list(tmp_path.iterdir())
