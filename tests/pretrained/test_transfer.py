"""From a full-resolution network to WAE: what is taken, what is adopted, and the slimmed branch."""

import dataclasses

import jax
import numpy as np
import pytest
import safetensors.numpy
import seeded
from flax.traverse_util import flatten_dict, unflatten_dict
from test_pytorch import FIXTURE

from configs import resnet50
from wae_jax.checkpoints import folders
from wae_jax.config import InputSettings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.models.backbones import VGG, ResNet
from wae_jax.models.classifier import build_model, variable_shapes
from wae_jax.pretrained import Imported, checkpoint
from wae_jax.pretrained.slim import slim
from wae_jax.pretrained.transfer import adopt, start_from, with_unit_variance
from wae_jax.training.loop import train

SIZE = 32


def build(settings, seed=0, classes=10, size=SIZE):
    """(model, random variables)."""
    model = build_model(settings, num_classes=classes, image_size=size)
    rng = np.random.default_rng(seed)

    def draw(path, x):
        noise = rng.standard_normal(x.shape, np.float32)
        return 0.5 + np.abs(noise) if path[-1].key == "var" else 0.3 * noise

    return model, jax.tree.map_with_path(draw, variable_shapes(model, size))


def model_of(tiny_config, **changes):
    config = tiny_config({f"model.{key}": value for key, value in changes.items()})
    return settings_from_config(config).model


def imported_from(config, **fields):
    model, variables = build(config, seed=1, classes=fields.get("num_classes", 10))
    fields = {"origin": "test network", "num_classes": 10, "image_size": SIZE} | fields
    return model, Imported(model=config, variables=variables, **fields)


FULL = {"frontend.name": "identity"}
CAFFE = FULL | {
    "input.channel_order": "BGR",
    "input.mean": [104.0, 117.0, 124.0],
    "input.std": [1.0, 1.0, 1.0],
}


def test_input_scale_goes_into_the_first_conv(tiny_config):
    model, imported = imported_from(model_of(tiny_config, **CAFFE))
    scaled = with_unit_variance(imported)
    assert scaled.model.input.std == (57.375, 57.12, 58.395)
    other = build_model(scaled.model, num_classes=10, image_size=SIZE)
    images = seeded.images(2, SIZE)
    expected = np.asarray(model.apply(imported.variables, images).scores)
    found = np.asarray(other.apply(scaled.variables, images).scores)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert with_unit_variance(scaled) is scaled


def test_the_input_convention_is_taken_over_and_told(tiny_config):
    _, imported = imported_from(model_of(tiny_config, **CAFFE))
    config = model_of(tiny_config, **{"backbone.pool_rounding": "down"})
    adopted, lines = adopt(config, imported)
    assert adopted.input == InputSettings("BGR", (104.0, 117.0, 124.0), (1.0, 1.0, 1.0))
    assert adopted.frontend == config.frontend
    assert adopted.backbone.pool_rounding == "down"
    assert len(lines) == 3
    assert "config.model.input.channel_order is 'BGR' (not 'RGB')" in lines[0]
    assert adopt(adopted, imported)[1] == []


def test_the_weights_fit_where_features_are_halved_after_the_stem(tiny_config):
    _, imported = imported_from(model_of(tiny_config, **FULL))
    stem = model_of(tiny_config, **FULL | {"backbone.halve_after_stem": True})
    adopted, lines = adopt(stem, imported)
    assert adopted == stem and lines == []
    model, variables = build(adopted)
    started, _ = start_from(imported, variables, model, light="fresh")
    jax.tree.map(np.testing.assert_array_equal, started["params"], imported.variables["params"])


def test_another_backbone_is_a_mistake(tiny_config):
    _, imported = imported_from(model_of(tiny_config, **FULL))
    with pytest.raises(UserError, match=r"plan '8 M 8 M', not '8 M 16 M'"):
        adopt(model_of(tiny_config, **{"backbone.plan": "8 M 16 M"}), imported)


def test_backbone_and_fitting_head_are_taken(tiny_config):
    _, imported = imported_from(model_of(tiny_config, **FULL))
    model, variables = build(model_of(tiny_config))
    started, lines = start_from(imported, variables, model, light="fresh")
    jax.tree.map(
        np.testing.assert_array_equal,
        started["params"]["backbone"],
        imported.variables["params"]["backbone"],
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        started["params"]["head_low"],
        imported.variables["params"]["head_low"],
    )
    for part in ("frontend", "light", "head_fused"):
        jax.tree.map(
            np.testing.assert_array_equal, started["params"][part], variables["params"][part]
        )
    assert lines[1:] == [
        "pretrained: head_low/scores",
        "freshly initialised: frontend, head_fused, light",
    ]


FC = {
    "head.kind": "fc",
    "head.hidden_single": [6, 5],
    "head.hidden_low": [6, 5],
    "head.hidden_fused": [4],
}


@pytest.mark.parametrize(
    "changes, classes, taken",
    [
        # At half the resolution the first layer has fewer inputs: the others have nothing to read.
        ({}, 10, set()),
        ({"frontend.name": "identity"}, 10, {"fc1", "fc2", "scores"}),
        ({"frontend.name": "identity"}, 7, {"fc1", "fc2"}),
        ({"frontend.name": "identity", "head.hidden_single": [6, 4]}, 10, {"fc1"}),
        ({"frontend.name": "identity", "head.kind": "pool"}, 10, set()),
    ],
)
def test_a_head_is_taken_up_to_the_first_layer_that_does_not_fit(
    changes, classes, taken, tiny_config
):
    _, imported = imported_from(model_of(tiny_config, **FULL | FC))
    model, variables = build(model_of(tiny_config, **FC | changes), classes=classes)
    started, lines = start_from(imported, variables, model, light="fresh")
    theirs = imported.variables["params"]["head_low"]
    fresh = next((line for line in lines if line.startswith("freshly initialised")), "")
    for name, layer in started["params"]["head_low"].items():
        is_theirs = name in theirs and np.array_equal(layer["kernel"], theirs[name]["kernel"])
        assert is_theirs == (name in taken), name
        assert (f"head_low/{name}" in fresh) == (name not in taken), name


TRUNKS = {
    "vgg": VGG(plan="8 8 M 16", width=1.0),
    "vgg, norms": VGG(plan="8 M 16", batch_norm=True),
    "basic": ResNet(kind="basic", blocks=(2, 1), width=0.125),
    "bottleneck": ResNet(kind="bottleneck", blocks=(1, 2), width=0.125, stem="small"),
}


@pytest.mark.parametrize("name", TRUNKS)
def test_a_slimmed_trunk_computes_what_its_filters_did(name):
    """In a trunk that has its first filters at 0, the others are all that matters."""
    wide, rng = TRUNKS[name], np.random.default_rng(0)
    narrow = wide.clone(width=wide.width / 4)
    images = rng.normal(size=(2, 17, 17, 3)).astype(np.float32)
    small = narrow.init(jax.random.key(0), images, train=False)
    sizes = {path: x.shape for path, x in flatten_dict(small["params"], sep="/").items()}

    def cut(path, x):
        path = "/".join(str(key.key) for key in path)
        kind, _, path = path.partition("/")
        x = np.array(rng.normal(size=x.shape), np.float32) * 0.3
        if path.endswith("var"):
            return np.abs(x) + 0.5
        if kind == "params":
            x[..., : -sizes[path][-1]] = 0
            if x.ndim == 4 and x.shape[2] != 3:
                x[:, :, : -sizes[path][2]] = 0
        elif path.endswith("mean"):
            x[..., : -sizes[path.replace("mean", "scale")][-1]] = 0
        return x

    shapes = jax.eval_shape(lambda: wide.init(jax.random.key(0), images, train=False))
    variables = jax.tree.map_with_path(cut, shapes)
    params, stats = slim(
        flatten_dict(variables["params"], sep="/"),
        flatten_dict(variables.get("batch_stats", {}), sep="/"),
        flatten_dict(small["params"], sep="/"),
    )
    assert {path: x.shape for path, x in params.items()} == sizes
    expected = np.asarray(wide.apply(variables, images, train=False))
    found = np.asarray(
        narrow.apply(
            {
                "params": unflatten_dict(params, sep="/"),
                "batch_stats": unflatten_dict(stats, sep="/"),
            },
            images,
            train=False,
        )
    )
    count = found.shape[-1]
    assert count * 4 == expected.shape[-1]
    np.testing.assert_allclose(found, expected[..., -count:], atol=1e-5 * np.abs(expected).max())
    assert np.abs(found).max() > 0 and not expected[..., :-count].any()


def test_slimming_keeps_the_norm_of_each_filter():
    rng = np.random.default_rng(0)
    params = {
        "conv1_1/kernel": rng.normal(size=(3, 3, 3, 8)),
        "conv1_1/bias": np.zeros(8),
        "conv1_2/kernel": rng.normal(size=(3, 3, 8, 8)),
        "conv1_2/bias": np.arange(8),
    }
    narrow = {"conv1_1/kernel": np.zeros((3, 3, 9, 2)), "conv1_2/kernel": np.zeros((3, 3, 2, 2))}
    cut, _ = slim(params, {}, narrow)
    norms = np.linalg.norm(params["conv1_2/kernel"].reshape(-1, 8), axis=0)
    best = np.sort(np.argsort(-norms)[:2])
    np.testing.assert_allclose(
        np.linalg.norm(cut["conv1_2/kernel"].reshape(-1, 2), axis=0), norms[best]
    )
    np.testing.assert_array_equal(cut["conv1_2/bias"], best)
    # It reads another number of channels, so it stays as initialised.
    assert not cut["conv1_1/kernel"].any()


def test_a_light_branch_of_another_kind_cannot_be_slimmed(tiny_config):
    _, imported = imported_from(model_of(tiny_config, **FULL))
    for changes in ({"light.name": "resnet18"}, FULL):
        model, variables = build(model_of(tiny_config, **changes))
        with pytest.raises(UserError, match=r"config\.init\.light"):
            start_from(imported, variables, model, light="slim")


@pytest.mark.slow
def test_resnet50_with_wae_starts_with_the_pretrained_features(base_model, tmp_path):
    """As train.py --config=configs/resnet50.py:wae --config.init.pretrained=FILE starts."""
    shapes = FIXTURE["computed"]["torchvision resnet50"]["shapes"]
    file = tmp_path / "resnet50.safetensors"
    safetensors.numpy.save_file(
        {
            name: seeded.weights(name, tuple(shape))
            for name, shape in shapes.items()
            if "num_b" not in name
        },
        file,
    )
    config = resnet50.get_config("wae")
    config.init.update(pretrained=str(file), source="torchvision", light="slim")
    settings, imported = checkpoint.adopt_pretrained(settings_from_config(config))
    assert imported.report == ()  # the config has torchvision's convention already
    model = build_model(settings.model, num_classes=50, image_size=224)
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variable_shapes(model, 224))
    started, lines = start_from(imported, variables, model, light="slim")
    assert lines[-1] == "freshly initialised: frontend, head_fused"
    original = build_model(imported.model, num_classes=50, image_size=224)
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)

    def features(model, variables):
        def backbone(variables, images):
            return model.apply(variables, images, method=lambda m, x: m.backbone(x, train=False))

        return np.asarray(jax.jit(backbone)(variables, images))

    np.testing.assert_array_equal(features(model, started), features(original, imported.variables))
    assert features(model, started).std() > 0.1


SMALL = {
    "model.backbone.plan": "4 M",
    "data.image_size": 32,
    "data.train_split": "train[:64]",
    "data.eval_split": "test[:64]",
    "data.eval_batch_size": 64,
    "parallel.devices": 1,
    "stages.autoencoder.steps": 2,
    "stages.end_to_end.steps": 2,
}


@pytest.mark.slow
def test_training_starts_from_a_checkpoint_and_goes_on(
    tiny_config, cifar10, tmp_path, capsys, flat
):
    full = tiny_config(
        SMALL
        | {
            "model.frontend.name": "identity",
            "run_stages": ("end_to_end",),
            "model.input.mean": (1.0, 2.0, 3.0),
        }
    )
    train(full, str(tmp_path / "full"))
    wae = tiny_config(
        SMALL
        | {
            "init.pretrained": str(tmp_path / "full"),
            "init.light": "slim",
            "run_stages": ("autoencoder",),
        }
    )
    capsys.readouterr()
    train(wae, str(tmp_path / "wae"))
    told = capsys.readouterr().err
    assert "config.model.input.mean is (1.0, 2.0, 3.0)" in told
    assert "pretrained: backbone (5 arrays)" in told
    model, variables = checkpoint.load_step(folders.find(str(tmp_path / "wae")))[:2]
    _, theirs, _ = checkpoint.load_step(folders.find(str(tmp_path / "full")))
    assert model.mean == (1.0, 2.0, 3.0)
    # The first stage trains the auto-encoder alone.
    for kind in ("params", "batch_stats"):
        for path, array in flat(theirs[kind]["backbone"]).items():
            np.testing.assert_array_equal(flat(variables[kind]["backbone"])[path], array)
    train(wae, str(tmp_path / "wae"))
    assert "is complete" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"init.pretrained": "nowhere"}, "nowhere"),
        ({"init.pretrained": __file__}, r"config\.init\.source"),
        ({"init.pretrained": "nowhere", "init.source": "keras"}, "nowhere"),
        ({"init.pretrained": "nowhere", "init.source": "kears"}, "kears"),
        ({"init.pretrained": "x", "restore": "y"}, "exclude"),
    ],
)
def test_mistakes_end_before_the_workdir_is_made(changes, word, tiny_config, tmp_path):
    with pytest.raises(UserError, match=word):
        train(tiny_config(changes), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_pretrained_weights_need_one_branch(tiny_config, cifar10, tmp_path, base_settings):
    config = model_of(tiny_config)
    _, imported = imported_from(config)
    checkpoint.write_checkpoint(
        dataclasses.replace(imported, image_size=SIZE), base_settings, str(tmp_path / "wae")
    )
    with pytest.raises(UserError, match="two"):
        train(tiny_config({"init.pretrained": str(tmp_path / "wae")}), str(tmp_path / "run"))
