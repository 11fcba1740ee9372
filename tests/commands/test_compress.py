"""wae-jax compress, in process: its checkpoint is one like any other, and mistakes."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import wae_jax
from tests.checkpoints.conftest import META
from tests.export.conftest import trained as drawn
from wae_jax.checkpoints import folders, store
from wae_jax.checkpoints.state import new_state
from wae_jax.config import as_dict, settings_from_config
from wae_jax.data import open_source
from wae_jax.methods import set_method
from wae_jax.models.classifier import build_model
from wae_jax.training.loop import train

DATA = {
    "data.image_size": 32,
    "data.train_split": "train[:64]",
    "data.eval_split": "test[:64]",
    "data.eval_batch_size": 64,
}
METHODS = [
    pytest.param("taylor --macs=0.6", marks=pytest.mark.slow),  # ten rounds, each compiled anew
    "thinet --macs=0.6",
    "thinet-0.5",
    "tucker --macs=0.6",
    pytest.param("asymmetric --macs=0.6", marks=pytest.mark.nightly),
]


def make_config(tiny_config, method="full"):
    config = tiny_config(DATA | {"model.backbone.plan": "8 12 M 12 M"})
    for stage in config.stages.values():
        stage.update(steps=2, batch_size=16)
    config.parallel.devices = 1
    return set_method(config, method)


@pytest.fixture(scope="module")
def saved(tiny_config, tmp_path_factory, cifar10):
    """A checkpoint of a network of full resolution that was never trained."""
    settings = settings_from_config(make_config(tiny_config))
    model = build_model(settings.model, num_classes=10, image_size=32)
    names = list(open_source("cifar10", "test").info.classes.names)
    meta = META | {"config": as_dict(settings), "num_classes": 10, "class_names": names}
    workdir = tmp_path_factory.mktemp("saved")
    variables = jax.tree.map(jax.numpy.asarray, drawn(model, 32))
    store.save(workdir, new_state(variables, ema=False), meta, keep=1)
    return workdir


@pytest.mark.parametrize("method", METHODS)
def test_the_checkpoint_is_one_like_any_other(method, saved, succeed, tmp_path):
    out = tmp_path / "small"
    options = (f"--method={method}".split(), f"--out={out}", "--images=32")
    text = succeed("compress", f"--checkpoint={saved}", *options[0], *options[1:])
    *table, parameters, folder = text.splitlines()
    assert folder == str(out) and parameters.startswith("parameters: ")
    assert [line.split("|")[1].strip() for line in table[2:]] == [
        "conv1_1",
        "conv1_2",
        "conv2_1",
        "head_low",
        "total",
    ]
    kept = float(table[-1].split("|")[-2].strip(" %"))
    assert kept <= 60.1
    model, _ = wae_jax.load(str(out))
    assert (
        model.backbone.ranks if method.startswith(("tucker", "asym")) else model.backbone.widths
    ) != ()
    assert len(table[2].split("|")) == 8
    meta = store.read_meta(folders.find(str(out)))
    assert (meta["stage"], meta["step"], meta["class_names"][3]) == ("compressed", 0, "cat")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.mark.slow
def test_training_goes_on_from_it(saved, succeed, tiny_config, tmp_path):
    """It takes the sizes of layers over, also where the run itself goes on."""
    out, workdir = tmp_path / "small", tmp_path / "run"
    succeed(
        *("compress", f"--checkpoint={saved}", "--method=thinet-0.5", "--images=16"), f"--out={out}"
    )
    config = make_config(tiny_config)
    config.restore = str(out)
    config.checkpoint_every = 1
    figures = train(config, str(workdir))
    assert (figures["step"], figures["eval_count"]) == (2, 64)
    small, tuned = (wae_jax.load(str(path)) for path in (out, workdir))
    assert tuned[0].backbone.widths == small[0].backbone.widths != ()
    name = ("params", "backbone", "conv1_1", "kernel")
    kernels = [
        jax.tree.map(np.asarray, v)[name[0]][name[1]][name[2]][name[3]] for _, v in (small, tuned)
    ]
    assert kernels[0].shape == kernels[1].shape and 0 < np.abs(kernels[0] - kernels[1]).max() < 0.5
    (out / "checkpoints").rename(tmp_path / "gone")
    assert train(config, str(workdir))["step"] == 2
    pretrained = make_config(tiny_config, "wae-early")
    pretrained.init.pretrained = str(workdir)
    for stage in pretrained.stages.values():
        stage.steps = 1
    train(pretrained, str(tmp_path / "early"))
    early, _ = wae_jax.load(str(tmp_path / "early"))
    assert early.fusion == "early" and early.backbone.widths == small[0].backbone.widths


@pytest.mark.nightly
@pytest.mark.parametrize("method", ["taylor", "asymmetric"])
def test_it_goes_where_others_go(method, saved, succeed, tmp_path):
    """Moved, with nothing of what it was made of: evaluated, predicted with, exported, shown."""
    made, moved = tmp_path / "made", tmp_path / "elsewhere" / "small"
    command = "compress", f"--checkpoint={saved}", f"--method={method}", "--macs=0.6"
    succeed(*command, "--images=16", f"--out={made}")
    moved.parent.mkdir()
    made.rename(moved)
    figures = json.loads(succeed("evaluate", f"--checkpoint={moved}").splitlines()[-1])
    assert figures["eval_count"] == 64
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(photo)
    named = succeed("predict", f"--checkpoint={moved}", str(photo))
    assert str(photo) in named
    file = tmp_path / "net.onnx"
    succeed("export", f"--checkpoint={moved}", f"--out={file}", "--format=onnx")
    assert file.exists()
    page = tmp_path / "report.html"
    succeed("report", f"--workdir={moved}", f"--out={page}", "--seconds=1", "--count=1")
    assert "Costs by part" in page.read_text()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--macs=0.5"], ["--method"]),
        (["--method=magic", "--macs=0.5"], ["--method=magic: no such", "taylor", "tucker"]),
        (["--method=taylor"], ["--macs"]),
        (["--method=taylor", "--macs=1.5"], ["--macs", "1.5"]),
        (["--method=taylor", "--macs=half"], ["--macs", "half"]),
        (["--method=taylor", "--macs=0.001"], ["taylor cannot", "0.001"]),
        (["--method=tucker", "--macs=0.001"], ["tucker cannot"]),
        (["--method=thinet-0.5", "--macs=0.5"], ["widths of its own"]),
        (["--method=thinet-gap"], ["vgg16"]),
        (["--method=tucker", "--images=0"], ["--images"]),
        (["--method=taylor", "--ms=0"], ["--ms", "'0'"]),
        (["--method=taylor", "--ms=soon"], ["--ms", "'soon'"]),
        (["--method=tucker", "--ms=1", "--macs=0.5"], ["--macs and --ms exclude"]),
        (["--method=thinet-0.5", "--ms=1"], ["takes no --ms"]),
        (["--method=thinet-0.5", "--streams"], ["--streams is for taylor"]),
        (["--method=asymmetric", "--macs=0.001"], ["asymmetric cannot"]),
    ],
)
def test_mistakes(arguments, words, saved, refuse, tmp_path):
    out = tmp_path / "out"
    refuse(words, "compress", f"--checkpoint={saved}", f"--out={out}", *arguments)
    assert not out.exists()


def test_no_checkpoint_or_no_room(saved, refuse, tmp_path):
    options = "compress", "--method=tucker"
    refuse(["no such directory"], *options, "--checkpoint=nowhere", f"--out={tmp_path}/out")
    refuse(["exists already"], *options, f"--checkpoint={saved}", f"--out={saved}")


def test_filters_go_before_products(saved, succeed, refuse, tmp_path):
    small = tmp_path / "small"
    succeed("compress", f"--checkpoint={saved}", "--method=tucker", "--macs=0.7", f"--out={small}")
    options = "compress", f"--checkpoint={small}", f"--out={tmp_path}/out"
    refuse(["products", "first"], *options, "--method=taylor", "--macs=0.5")
