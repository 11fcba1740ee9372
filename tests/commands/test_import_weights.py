"""wae-jax import-weights, in process: what it writes, and mistakes."""

import pickle
import shutil
import sys

import numpy as np
import pytest
import safetensors.numpy

import wae_jax
from wae_jax.checkpoints import folders, store

OPTIONS = ("import-weights", "--source=torchvision", "--model=resnet18")


def test_the_checkpoint_is_loaded_like_any_other(imported, arrays):
    model, variables = wae_jax.load(str(imported))
    kernel = np.asarray(variables["params"]["backbone"]["stem_conv"]["kernel"])
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), arrays["conv1.weight"])
    assert (model.channel_order, model.mean[0]) == ("RGB", 123.675)
    meta = store.read_meta(folders.find(str(imported)))
    assert meta["class_names"][7] == "class number 7"
    assert (meta["num_classes"], meta["stage"]) == (50, "imported")


def test_nothing_else_is_left_beside_it(imported):
    assert {path.name for path in imported.parent.iterdir()} == {"net", "labels.txt"}


BAD_FILES = {
    "missing, extra and NaN": [
        "missing: fc.bias",
        "not of this network: fc.bais",
        "values: layer1.0.bn1.bias",
    ],
    "wrong shape": ["conv1.weight (64, 3, 5, 5)"],
    "truncated": ["not a readable safetensors file"],
    "pickle": ["not a readable safetensors file"],
    "deeper": ["missing: layer1.2.bn1.bias"],
    "shallower": ["not of this network", "layer1.2.bn1.bias"],
}


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def bad_file(kind, weights, arrays, folder):
    """(file, model to import it as)."""
    file = folder / "bad.safetensors"
    if kind == "truncated":
        file.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "pickle":
        file.write_bytes(pickle.dumps({"fc.weight": Bomb()}))
    elif kind == "deeper":
        return weights, "resnet34"
    else:
        if kind == "missing, extra and NaN":
            arrays["fc.bais"] = arrays.pop("fc.bias")
            arrays["layer1.0.bn1.bias"][3] = np.nan
        elif kind == "wrong shape":
            arrays["conv1.weight"] = np.zeros((64, 3, 5, 5), np.float32)
        elif kind == "shallower":
            arrays["layer1.2.bn1.bias"] = np.zeros(64, np.float32)
        safetensors.numpy.save_file(arrays, file)
    return file, "resnet18"


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_one_line_and_write_nothing(kind, weights_file, arrays, refuse, tmp_path):
    file, model = bad_file(kind, weights_file, arrays, tmp_path)
    out = tmp_path / "out"
    refuse(
        [str(file), *BAD_FILES[kind]],
        *OPTIONS[:2],
        f"--model={model}",
        f"--in={file}",
        f"--out={out}",
    )
    assert not out.exists()
    assert [path for path in tmp_path.iterdir() if path != file] == []


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"--model": "resnet20"}, ["resnet20", "resnet152"]),
        ({"--source": "pytorch"}, ["pytorch", "torchvision"]),
        ({"--in": "nowhere.safetensors"}, ["nowhere.safetensors"]),
        ({"--in": __file__}, [".safetensors"]),
        ({"--source": "keras", "--model": "resnet50"}, ["model.json"]),
        ({"--labels": "nowhere.txt"}, ["nowhere.txt"]),
        ({"--labels": __file__}, ["labels", "50 classes"]),
        ({"--out": "."}, ["exists already"]),
        ({"--out": f"{__file__}/net"}, ["cannot write", "File exists"]),
    ],
)
def test_mistakes(changes, words, weights_file, refuse, tmp_path):
    options = {
        "--source": "torchvision",
        "--model": "resnet18",
        "--in": weights_file,
        "--out": tmp_path / "out",
    } | changes
    refuse(words, OPTIONS[0], *(f"{name}={value}" for name, value in options.items()))
    assert not (tmp_path / "out").exists()


def test_pth_without_torch_says_what_to_install(monkeypatch, refuse, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    file = tmp_path / "net.pth"
    file.write_bytes(b"")
    refuse(["pip install torch"], *OPTIONS, f"--in={file}", f"--out={tmp_path / 'out'}")


def test_out_may_be_an_empty_folder(weights_file, succeed, tmp_path):
    assert succeed(*OPTIONS, f"--in={weights_file}", f"--out={tmp_path}") == f"{tmp_path}\n"
    assert folders.find(str(tmp_path))
    # Or one that is not there, as runs/net in a new clone.
    new = tmp_path / "runs" / "net"
    assert succeed(*OPTIONS, f"--in={weights_file}", f"--out={new}") == f"{new}\n"
    assert folders.find(str(new))
    shutil.rmtree(tmp_path)
