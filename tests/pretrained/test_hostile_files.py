"""Files of weights that are damaged or mean harm: refused in a line, soon and with little memory.

What the fuzzers of tests/fuzz found, and what is beyond their reach.
"""

import io
import json
import os
import struct

import h5py
import numpy as np
import pytest

from wae_jax.errors import UserError
from wae_jax.pretrained import caffemodel, h5
from wae_jax.pretrained.files import read_arrays, read_keras


def layers_model(folder, *, shape=(3,), paths=("a.bin",), text=None):
    (folder / "a.bin").write_bytes(bytes(12))
    content = {
        "modelTopology": {"config": {"layers": []}},
        "weightsManifest": [
            {
                "paths": list(paths),
                "weights": [{"name": "w", "dtype": "float32", "shape": list(shape)}],
            }
        ],
    }
    (folder / "model.json").write_text(text or json.dumps(content))
    return folder / "model.json"


def test_the_layers_model_is_right_but_for_what_is_changed(tmp_path):
    assert read_keras(layers_model(tmp_path)).arrays["w"].shape == (3,)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"shape": (-1, -3)}, "negative"),
        ({"shape": (float("inf"),)}, "OverflowError"),
        ({"shape": (10**15, 10**15)}, "are needed"),
        ({"paths": ("a\0.bin",)}, "null byte"),
        ({"paths": ("../a.bin",)}, "not beside it"),
        ({"paths": ("a.bin", "a.bin"), "shape": (6,)}, "or twice"),
        ({"paths": ("pipe",)}, "no regular file"),
        ({"paths": (".",)}, "not beside it"),
        ({"paths": ("..",)}, "it is a folder"),
        ({"text": "[" * 100_000}, "nested too deeply"),
        ({"text": "{}"}, "KeyError"),
    ],
)
def test_layers_models(changes, words, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # read, it would wait for ever
    model = layers_model(tmp_path, **changes)
    with pytest.raises(UserError, match=words) as error:
        read_keras(model)
    assert "\n" not in str(error.value)


def h5_file(path, fill, config='{"config": {"layers": []}}'):
    with h5py.File(path, "w") as file:
        file["model_weights/conv/conv/kernel:0"] = np.ones((2, 2), np.float32)
        file.attrs["model_config"] = config
        fill(file)
    return path


def claims_much(file):
    file.create_dataset("model_weights/big", (200_000, 200_000), "f4", chunks=(100, 100))


def packed_well(file):
    """A terabyte of zeros, of which a few are in the file."""
    big = file.create_dataset(
        "model_weights/big", (500_000, 500_000), "f4", chunks=(100, 100), compression="gzip"
    )
    big[:100, :100] = 0


def elsewhere(file):
    kinds = [("/etc/hostname", 0, 4)]
    file.create_dataset("model_weights/other", (1,), "i4", external=kinds)


def text(file):
    file["model_weights/words"] = ["a", "b"]


@pytest.mark.parametrize(
    "fill, words",
    [
        (claims_much, "claims 160000000000 bytes"),
        (packed_well, "claims 1000000000000 bytes"),
        (elsewhere, "in other files"),
        (text, "no numbers"),
    ],
)
def test_h5(fill, words, tmp_path):
    with pytest.raises(UserError, match=words) as error:
        read_keras(h5_file(tmp_path / "w.h5", fill))
    assert "\n" not in str(error.value)


def test_h5_links_to_other_files_are_not_followed(tmp_path):
    h5_file(tmp_path / "other.h5", lambda file: None)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink("other.h5", "/model_weights")
    assert not read_keras(tmp_path / "w.h5").arrays


@pytest.mark.parametrize("kind", ["hangs", "crashes"])
def test_h5_on_which_the_library_hangs_or_crashes(kind, tmp_path, monkeypatch):
    path = h5_file(tmp_path / "w.h5", lambda file: None, config="{}")
    monkeypatch.setattr(h5, "TRIAL_S", 3.0)
    if kind == "hangs":
        content = bytearray(path.read_bytes())
        at = content.index(b"GCOL") + 24  # the size of the first object in the heap of texts
        content[at : at + 8] = bytes(8)
        path.write_bytes(content)
        words = "has not read it in 3 s"
    else:
        crash = tmp_path / "crash.py"
        crash.write_text("import os\nos.abort()\n")
        monkeypatch.setattr(h5, "_program", lambda: str(crash))
        words = "crashes on it"
    with pytest.raises(UserError, match=words):
        read_keras(path)


def caffe_file(path, shape, numbers):
    net = caffemodel._net_parameter_class()()
    net.layers.add(name=b"conv").blobs.add(data=[bytes(4 * numbers)]).shape.dim.extend(shape)
    path.write_bytes(net.SerializeToString())
    return path


@pytest.mark.parametrize(
    "shape, numbers", [([1] * 100, 1), ([0, 2**62, 2**62], 0), ([-1, -2], 2), ([2**40], 1)]
)
def test_caffemodels(shape, numbers, tmp_path):
    assert caffemodel.read_caffemodel(caffe_file(tmp_path / "w.caffemodel", [2], 2))
    with pytest.raises(UserError, match="shape") as error:
        caffemodel.read_caffemodel(caffe_file(tmp_path / "w.caffemodel", shape, numbers))
    assert "\n" not in str(error.value)


def test_safetensors_that_claim_more_than_they_hold(tmp_path):
    end = 2**40
    header = json.dumps({"w": {"dtype": "F32", "shape": [end // 4], "data_offsets": [0, end]}})
    content = io.BytesIO(struct.pack("<Q", len(header)) + header.encode() + bytes(16))
    (tmp_path / "w.safetensors").write_bytes(content.getvalue())
    with pytest.raises(UserError, match="not a readable safetensors file"):
        read_arrays(tmp_path / "w.safetensors")
