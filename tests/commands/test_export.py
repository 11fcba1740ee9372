"""wae-jax export, in process."""

import json
import re
import sys

import jax
import numpy as np
import onnx
import pytest

import wae_jax
import wae_jax.export
from tests.checkpoints.conftest import META
from tests.export.conftest import trained
from wae_jax.checkpoints import store
from wae_jax.checkpoints.state import new_state
from wae_jax.config import as_dict, settings_from_config
from wae_jax.data import open_source
from wae_jax.export import checkpoint
from wae_jax.methods import set_method
from wae_jax.models.classifier import build_model


@pytest.fixture(scope="module", params=["float32"])
def saved(request, tiny_config, tmp_path_factory, cifar10):
    """A checkpoint that was never trained, with the classes of CIFAR-10."""
    changes = {"data.image_size": 32, "data.eval_split": "test[:96]"}
    config = tiny_config(changes | {"model.dtype": request.param})
    settings = settings_from_config(set_method(config, "full"))
    model = build_model(settings.model, num_classes=10, image_size=32)
    names = list(open_source("cifar10", "test").info.classes.names)
    meta = META | {"config": as_dict(settings), "num_classes": 10, "class_names": names}
    variables = jax.tree.map(jax.numpy.asarray, trained(model, 32))
    workdir = tmp_path_factory.mktemp("saved")
    store.save(workdir, new_state(variables, ema=False), meta, keep=1)
    return workdir


@pytest.fixture
def options(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    return "export", f"--checkpoint={saved}"


@pytest.mark.parametrize("kind, most", [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_onnx_with_weights_in_16_bits(kind, most, options, command, tmp_path):
    out, plain = tmp_path / "half.onnx", tmp_path / "plain.onnx"
    for path, weights in ((out, kind), (plain, "float32")):
        status, _, stderr = command(
            *options, "--format=onnx", f"--out={path}", f"--weights={weights}"
        )
        assert status == 0, stderr
        difference = float(stderr.splitlines()[0].split()[3])
        assert difference < 1e-5 if weights == "float32" else 1e-5 < difference < most
    types = {onnx.TensorProto.DataType.Name(x.data_type) for x in onnx.load(out).graph.initializer}
    assert kind.upper() in types
    large = sum(
        onnx.numpy_helper.to_array(x).nbytes
        for x in onnx.load(plain).graph.initializer
        if np.prod(x.dims) >= 256
    )
    assert plain.stat().st_size - out.stat().st_size == pytest.approx(large / 2, rel=0.1)


@pytest.mark.parametrize("batch", ["1", "dynamic"])
def test_onnx(batch, options, command, tmp_path):
    out = tmp_path / "net.onnx"
    status, stdout, stderr = command(*options, "--format=onnx", f"--out={out}", f"--batch={batch}")
    assert (status, stdout) == (0, f"{out}\n"), stderr
    first, second = stderr.splitlines()
    assert float(first.split()[3]) < 1e-5 and "(20 photos of cifar10, test[:96])" in first
    assert "batch 1:" in second and " ms in ONNX Runtime, " in second and "ms in jax" in second
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    found = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(found["class_names"])[3] == "cat"
    preprocessing = json.loads(found["preprocessing"])
    assert preprocessing["centre_crop"] == 32 < preprocessing["resize_shorter_side"]
    assert preprocessing["as_is_if_of_that_size"] is True
    assert json.loads(found["config"])["model"]["frontend"]["name"] == "identity"
    assert len(found["checkpoint_sha256"]) == 64 and wae_jax.__version__ in found["version"]


@pytest.mark.parametrize("saved", ["bfloat16"], indirect=True)
def test_stablehlo_of_a_network_trained_in_bfloat16(options, succeed, tmp_path):
    out = tmp_path / "net.stablehlo"
    succeed(*options, "--format=stablehlo", f"--out={out}", "--batch=3")
    network = wae_jax.export.load(out)
    found = network(np.zeros((3, 32, 32, 3), np.uint8))
    assert found["scores"].shape == (3, 10) and found["scores"].dtype == np.float32
    assert found["probabilities"].sum(-1) == pytest.approx(1)
    assert network.metadata["class_names"][3] == "cat"


def test_the_examples_of_serving(options, succeed, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("onnx", "stablehlo"):
        succeed(*options, f"--format={kind}", f"--out=quickstart.{kind}")
    scope: dict = {}
    for example in re.findall(r"```py\n(.*?)```", (root / "docs/serving.md").read_text(), re.S):
        exec(example, scope)
    assert np.asarray(scope["probabilities"]).shape == (1, 10) and scope["names"][3] == "cat"


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
