"""``import-weights --source=caffe`` refuses what is not the network, and writes nothing then."""

import functools
import sys

import numpy as np
import pytest

from tests.pretrained.caffe_files import resnet50, write_caffemodel
from wae_jax import __main__ as program
from wae_jax.models import classifier
from wae_jax.pretrained import network


@pytest.fixture(scope="module")
def arrays():
    return resnet50(224).random_arrays()


@pytest.fixture(scope="module", autouse=True)
def shapes_once():
    """The same network is built for each file: its shapes are found once."""
    once = functools.cache(classifier.variable_shapes)
    with pytest.MonkeyPatch.context() as patch:
        for module in (classifier, network):
            patch.setattr(module, "variable_shapes", once)
        yield


@pytest.fixture
def refusal(monkeypatch, capsys, tmp_path):
    """Function that runs the command on a file's content and returns the one line it prints."""

    def run(content, model="resnet50"):
        file, out = tmp_path / "net.caffemodel", tmp_path / "out"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            write_caffemodel(file, content)
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "wae_jax",
                "import-weights",
                "--source=caffe",
                f"--model={model}",
                f"--in={file}",
                f"--out={out}",
            ],
        )
        with pytest.raises(SystemExit) as stop:
            program.main()
        printed = capsys.readouterr()
        assert stop.value.code == 2
        assert printed.out == ""
        lines = printed.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ")
        assert str(file) in lines[0]
        assert list(tmp_path.iterdir()) == [file]
        return lines[0]

    return run


def without(arrays, layer, *kept):
    return {name: blobs for name, blobs in arrays.items() if name != layer} | (
        {layer: list(kept)} if kept else {}
    )


def test_a_missing_layer(arrays, refusal):
    line = refusal(without(arrays, "bn3a_branch1"))
    assert "missing: bn3a_branch1[0], bn3a_branch1[1], bn3a_branch1[2]" in line


def test_a_batch_norm_without_its_factor(arrays, refusal):
    assert "missing: bn_conv1[2]" in refusal(without(arrays, "bn_conv1", *arrays["bn_conv1"][:2]))


def test_a_layer_too_many(arrays, refusal):
    line = refusal(arrays | {"aux_fc": [np.ones((2, 3), np.float32)]})
    assert "not of this network: aux_fc[0]" in line


def test_a_renamed_layer(arrays, refusal):
    line = refusal(without(arrays, "fc1000") | {"fc_new": arrays["fc1000"]})
    assert "missing: fc1000[0], fc1000[1]" in line
    assert "not of this network: fc_new[0], fc_new[1]" in line


def test_wrong_shapes(arrays, refusal):
    kernel, factor = arrays["res2a_branch2b"][0], np.ones(2, np.float32)
    line = refusal(
        arrays
        | {
            "res2a_branch2b": [kernel[:, :32]],
            "bn2a_branch2b": [*arrays["bn2a_branch2b"][:2], factor],
        }
    )
    assert "res2a_branch2b[0] (64, 32, 3, 3) for params/backbone/stage1_block1/conv2/kernel" in line
    assert "bn2a_branch2b[2] (2,)" in line


def test_nan(arrays, refusal):
    broken = arrays["scale5c_branch2c"][1].copy()
    broken[7] = np.nan
    line = refusal(without(arrays, "scale5c_branch2c", arrays["scale5c_branch2c"][0], broken))
    assert "with NaN or infinite values: scale5c_branch2c[1]" in line


def test_all_problems_in_one_line(arrays, refusal):
    nan = np.full(1000, np.nan, np.float32)
    line = refusal(
        without(arrays, "res2c_branch2a") | {"extra": [nan], "fc1000": [arrays["fc1000"][0].T, nan]}
    )
    for words in (
        "missing: res2c_branch2a[0]",
        "not of this network: extra[0]",
        "NaN",
        "fc1000[0] (2048, 1000)",
    ):
        assert words in line


def test_a_truncated_file(arrays, refusal, tmp_path):
    content = write_caffemodel(tmp_path / "net.caffemodel", arrays).read_bytes()
    assert "or is cut short" in refusal(content[: len(content) // 2])


def test_another_network(arrays, refusal):
    line = refusal(arrays, model="wae-vgg16")
    assert "is not a caffe wae-vgg16: arrays missing: bn_CA[0]" in line
    assert "not of this network: " in line


def test_a_model_that_there_is_not(refusal, monkeypatch, capsys, tmp_path):
    (tmp_path / "net.caffemodel").touch()
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "wae_jax",
            "import-weights",
            "--source=caffe",
            "--model=googlenet",
            f"--in={tmp_path / 'net.caffemodel'}",
            f"--out={tmp_path / 'out'}",
        ],
    )
    with pytest.raises(SystemExit):
        program.main()
    assert "there are: wae-vgg16, vgg16, resnet50" in capsys.readouterr().err
