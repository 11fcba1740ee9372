"""python -m wae_jax import-weights and predict, in process: what they write, and mistakes."""

import json
import pickle
import shutil
import sys

import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
import seeded
from test_pytorch import FIXTURE

import wae_jax
from wae_jax import __main__ as program
from wae_jax.checkpoints import folders, store

SHAPES = FIXTURE["computed"]["torchvision resnet18"]["shapes"]
CLASSES = 50


def resnet18() -> dict[str, np.ndarray]:
    return {
        name: seeded.weights(name, tuple(shape))
        for name, shape in SHAPES.items()
        if "num_batches" not in name
    }


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["wae_jax", *map(str, arguments)])
    program.main()


def import_weights(monkeypatch, file, out, model="resnet18", *more, source="torchvision"):
    command(
        monkeypatch,
        "import-weights",
        f"--source={source}",
        f"--model={model}",
        f"--in={file}",
        f"--out={out}",
        *more,
    )


def check_mistake(monkeypatch, capsys, words, *arguments):
    """Exit status 2, one line on stderr with the words; nothing written at the last argument."""
    with pytest.raises(SystemExit) as stop:
        command(monkeypatch, *arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
    for word in words:
        assert word in captured.err
    return captured


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    safetensors.numpy.save_file(resnet18(), file)
    return file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("imported")
    labels = folder / "labels.txt"
    labels.write_text("\n".join(f"class number {i}" for i in range(CLASSES)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        import_weights(monkeypatch, weights, folder / "net", "resnet18", f"--labels={labels}")
    return folder / "net"


def test_the_checkpoint_is_loaded_like_any_other(checkpoint):
    model, variables = wae_jax.load(str(checkpoint))
    kernel = np.asarray(variables["params"]["backbone"]["stem_conv"]["kernel"])
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), resnet18()["conv1.weight"])
    assert (model.channel_order, model.mean[0]) == ("RGB", 123.675)
    meta = store.read_meta(folders.find(str(checkpoint)))
    assert meta["class_names"][7] == "class number 7"
    assert (meta["num_classes"], meta["stage"]) == (CLASSES, "imported")


def test_nothing_else_is_left_beside_it(checkpoint):
    assert {path.name for path in checkpoint.parent.iterdir()} == {"net", "labels.txt"}


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


def bad_file(kind, weights, folder):
    """(file, model to import it as)."""
    file, arrays = folder / "bad.safetensors", resnet18()
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
def test_bad_files_are_one_line_and_write_nothing(kind, weights, monkeypatch, capsys, tmp_path):
    file, model = bad_file(kind, weights, tmp_path)
    out = tmp_path / "out"
    check_mistake(
        monkeypatch,
        capsys,
        [str(file), *BAD_FILES[kind]],
        "import-weights",
        "--source=torchvision",
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
        ({"--out": "no/folder"}, ["parent"]),
    ],
)
def test_mistakes(changes, words, weights, monkeypatch, capsys, tmp_path):
    options = {
        "--source": "torchvision",
        "--model": "resnet18",
        "--in": weights,
        "--out": tmp_path / "out",
    } | changes
    check_mistake(
        monkeypatch,
        capsys,
        words,
        "import-weights",
        *(f"{name}={value}" for name, value in options.items()),
    )
    assert not (tmp_path / "out").exists()


def test_pth_without_torch_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    file = tmp_path / "net.pth"
    file.write_bytes(b"")
    check_mistake(
        monkeypatch,
        capsys,
        ["pip install torch"],
        "import-weights",
        "--source=torchvision",
        "--model=resnet18",
        f"--in={file}",
        f"--out={tmp_path / 'out'}",
    )


def test_predict_prints_the_networks_own_classes(checkpoint, monkeypatch, capsys, tmp_path):
    image = seeded.images(1, 224)[0]
    folder = tmp_path / "photos"
    folder.mkdir()
    # 256 pixels with the image in the middle: evaluation crops it out without resizing.
    PIL.Image.fromarray(np.pad(image, ((16, 16), (16, 16), (0, 0)))).save(folder / "a.png")
    (folder / "notes.txt").write_text("not searched for")
    model, variables = wae_jax.load(str(checkpoint))
    scores = np.asarray(model.apply(variables, image[None]).scores)[0]
    odds = np.exp(scores - scores.max())

    command(monkeypatch, "predict", f"--checkpoint={checkpoint}", "--top=3", "--json", folder)
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["file"] == str(folder / "a.png")
    best = np.argsort(-scores)[:3]
    assert [c["class"] for c in found["classes"]] == list(best)
    assert found["classes"][0]["name"] == f"class number {best[0]}"
    assert [c["probability"] for c in found["classes"]] == pytest.approx(
        list((odds / odds.sum())[best]), abs=1e-4
    )

    command(monkeypatch, "predict", f"--checkpoint={checkpoint}", "--top=1", folder / "a.png")
    assert capsys.readouterr().out.splitlines()[1].endswith(f"class number {best[0]}")


def test_predict_names_unreadable_files_after_all_others(checkpoint, monkeypatch, capsys, tmp_path):
    PIL.Image.fromarray(seeded.images(1, 50)[0]).save(tmp_path / "z.png")
    (tmp_path / "a.jpg").write_text("no image")
    captured = check_mistake(
        monkeypatch,
        capsys,
        ["1 of 2 files", "a.jpg"],
        "predict",
        f"--checkpoint={checkpoint}",
        tmp_path,
    )
    assert "z.png" in captured.out


@pytest.mark.parametrize(
    "arguments, word",
    [(["nowhere.jpg"], "nowhere.jpg"), (["--top=0", __file__], "--top"), ([], "FILE_OR_FOLDER")],
)
def test_predict_mistakes(arguments, word, checkpoint, monkeypatch, capsys):
    check_mistake(monkeypatch, capsys, [word], "predict", f"--checkpoint={checkpoint}", *arguments)


def test_predict_wants_images_in_a_folder(checkpoint, monkeypatch, capsys, tmp_path):
    check_mistake(
        monkeypatch, capsys, [str(tmp_path)], "predict", f"--checkpoint={checkpoint}", tmp_path
    )


def test_evaluation_needs_data_with_the_same_classes(checkpoint, monkeypatch, capsys):
    check_mistake(
        monkeypatch,
        capsys,
        ["1000 classes", "50"],
        "evaluate",
        f"--checkpoint={checkpoint}",
        "--data=foolbox_photos",
    )


def test_out_may_be_an_empty_folder(checkpoint, weights, monkeypatch, tmp_path):
    import_weights(monkeypatch, weights, tmp_path)
    assert folders.find(str(tmp_path))
    shutil.rmtree(tmp_path)
