"""Every key of the configs is known, read, and has its default in one place."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
import sys

import pytest
from absl import flags
from flax import traverse_util
from ml_collections import config_flags

from configs import grocery
from wae_jax import config as settings_module
from wae_jax.config import (
    DataSettings,
    Fraction,
    Settings,
    StageSettings,
    as_dict,
    default_config,
    fill,
    settings_from_config,
)
from wae_jax.errors import UserError
from wae_jax.methods import METHODS
from wae_jax.schema.trees import build, merge, plain
from wae_jax.training.stages import trainable_labels


def dataclasses_of_settings() -> list[type]:
    return [
        cls
        for _, cls in inspect.getmembers(settings_module, inspect.isclass)
        if dataclasses.is_dataclass(cls) and cls.__module__ == settings_module.__name__
    ]


def fields_of(cls) -> dict[str, object]:
    return {field.name: field.type for field in dataclasses.fields(cls)}


def leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    """{"model.head.kind": "fc", ...}."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def test_defaults_go_to_the_config_and_back():
    assert settings_from_config(default_config()) == Settings()
    assert settings_from_config(json.loads(json.dumps(as_dict(Settings())))) == Settings()


def test_a_new_key_is_one_field():
    """Nothing but the field is needed for the config, its check, and older checkpoints."""

    @dataclasses.dataclass(frozen=True)
    class Longer(DataSettings):
        novelty: Fraction = 0.25

    assert plain(Longer())["novelty"] == 0.25
    assert build(Longer, plain(Longer()), "config.data") == Longer()
    assert build(Longer, merge(plain(Longer()), plain(DataSettings())), "config.data") == Longer()
    with pytest.raises(UserError, match=r"config\.data\.novelty is 2.*between 0 and 1"):
        build(Longer, plain(Longer()) | {"novelty": 2}, "config.data")


# ml_collections loads config files so; only Python's next versions mind.
@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
def test_every_key_is_reached_by_a_flag(monkeypatch, tmp_path):
    file = tmp_path / "plain.py"
    file.write_text("from wae_jax.config import default_config as get_config\n")
    keys = {key: value for key, value in leaves(as_dict(Settings())).items() if value != {}}
    assert len(keys) > 120
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()
    }
    arguments = [f"--config.{key}={value}" for key, value in values.items()]
    # ml_collections looks for them in sys.argv.
    monkeypatch.setattr(sys, "argv", ["program", f"--config={file}", *arguments])
    found = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=found)
    found(sys.argv)
    assert found.find_module_defining_flag("config.stages.joint.epochs")
    assert settings_from_config(found.config) == Settings()


def test_a_checkpoint_that_lacks_keys_gets_their_defaults():
    old = as_dict(Settings(seed=3))
    del old["data"]["cutmix"], old["stages"]["autoencoder"]["clip_norm"], old["distill"]
    assert settings_from_config(fill(old)) == Settings(seed=3)
    old["stages"]["own"] = {"epochs": 2.0}
    assert settings_from_config(fill(old)).stages["own"] == StageSettings(epochs=2.0)


OUT_OF_RANGE = {
    "seed": -1,
    "losses.gamma": float("nan"),
    "losses.label_smoothing": 2.0,
    "ema_decay": 2.0,
    "stages.joint.momentum": 5.0,
    "stages.joint.learning_rate": -1.0,
    "stages.joint.clip_norm": -1.0,
    "stages.joint.warmup_epochs": -1.0,
    "stages.joint.epochs": float("inf"),
    "stages.joint.optimizer": "sdg",
    "stages.joint.schedule": "magic",
    "model.head.dropout": 2.0,
    "model.frontend.levels": 3,
    "model.frontend.activation": "gelu",
    "model.frontend.decoder_activation": "tanh",
    "model.frontend.padding": "same",
    "model.backbone.width": 0.0,
    "data.image_size": 20000,
    "data.crop_padding": -1,
    "data.min_crop_area": 0.0,
    "data.workers": -1,
    "data.eval_batch_size": 0,
    "data.bad_records": "ignore",
    "parallel.mode": "xmap",
    "log_every": 0,
    "checkpoint_every": 0,
    "keep_checkpoints": 0,
    "distill.temperature": 0.0,
    "distill.weight": 1.5,
    "run_stages": (),
    "model.head.hidden_low": ("many",),
}


@pytest.mark.parametrize("key", OUT_OF_RANGE)
def test_values_out_of_range_are_named(key):
    config = default_config()
    config.update_from_flattened_dict({key: OUT_OF_RANGE[key]})
    with pytest.raises(UserError, match=re.escape(f"config.{key}")) as error:
        settings_from_config(config)
    assert "\n" not in str(error.value)


def test_a_stage_that_does_not_exist_is_named():
    config = default_config()
    config.run_stages = ("joit",)
    with pytest.raises(UserError, match=r"run_stages is 'joit' \(did you mean 'joint'\?\)"):
        settings_from_config(config)


def test_values_arrive_as_they_were_set():
    config = default_config()
    config.update_from_flattened_dict(
        {
            "model.frontend.channels": 5,
            "model.head.hidden_low": (7, 8),
            "stages.joint.learning_rate": 3.0,
            "run_stages": ("joint",),
            "ema_decay": 0.25,
        }
    )
    found = settings_from_config(config)
    assert found.model.frontend.channels == 5
    assert found.model.head.hidden_low == (7, 8)
    assert [name for name, _ in found.running_stages] == ["joint"]
    assert found.running_stages[0][1].learning_rate == 3.0
    assert found.ema_decay == 0.25


def test_whole_numbers_become_floats_where_floats_are_due():
    config = default_config().to_dict()
    config["stages"]["joint"]["epochs"] = 3
    value = settings_from_config(config).running_stages[-1][1].epochs
    assert isinstance(value, float)
    assert value == 3


@pytest.mark.parametrize(
    "where", [[], ["model"], ["model", "frontend"], ["stages", "joint"]], ids=".".join
)
def test_a_key_too_many_or_too_few_is_named(where):
    def branch(config):
        for name in where:
            config = config[name]
        return config

    config = default_config().to_dict()
    branch(config)["surplus"] = 1
    with pytest.raises(UserError, match="unknown surplus"):
        settings_from_config(config)
    config = default_config().to_dict()
    missing = next(name for name, value in branch(config).items() if not isinstance(value, dict))
    del branch(config)[missing]
    with pytest.raises((UserError, KeyError), match=missing):
        settings_from_config(config)


def test_config_is_locked_against_unknown_keys():
    with pytest.raises(AttributeError):
        default_config().surplus = 1
    with pytest.raises(AttributeError):
        default_config().model.frontend.surplus = 1


FRONTEND_OF = {
    "full": "identity",
    "lowres": "downsample",
    "stem": "identity",
    "wavelet-cdf97": "wavelet",
    "wavelet-haar": "wavelet",
    "cdf97-early": "wavelet",
    "haar-early": "wavelet",
    "space-to-depth-early": "space-to-depth",
    "space-to-depth": "space-to-depth",
}
CONFIGS = ("quickstart", "vgg16", "resnet50", "grocery")


@pytest.mark.parametrize("method", ["", *METHODS])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_variant_of_every_config_is_whole(name, method):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config(method) if method else module.get_config()
    found = settings_from_config(config)
    assert found.model.frontend.name == FRONTEND_OF.get(method, "wae")


@pytest.mark.parametrize("variant, norms", [("lowres-bn", False), ("lowres-fixres", True)])
def test_variants_from_the_full_network_train_its_norms_and_head_or_nothing(variant, norms):
    settings = settings_from_config(grocery.get_config(variant))
    assert (
        settings.model.frontend == settings_from_config(grocery.get_config("lowres")).model.frontend
    )
    ((_, stage),) = settings.running_stages
    params = {
        "backbone": {
            "stem_conv": {"kernel": 0},
            "stem_norm": {"scale": 0},
            "stage1_block1": {"conv1": {"kernel": 0}, "shortcut_norm": {"bias": 0}},
        },
        "head_low": {"scores": {"kernel": 0}},
    }
    labels = trainable_labels(params, stage.trains, statistics=stage.statistics)
    trains = {
        name
        for name, label in traverse_util.flatten_dict(labels, sep="/").items()
        if label == "train"
    }
    assert trains == (
        {
            "backbone/stem_norm/scale",
            "backbone/stage1_block1/shortcut_norm/bias",
            "head_low/scores/kernel",
        }
        if norms
        else set()
    )
    # Norms that train move their statistics anyhow.
    assert stage.statistics != norms


@pytest.mark.parametrize("name", CONFIGS)
def test_unknown_variants_are_refused(name):
    with pytest.raises(ValueError, match="nonsense"):
        importlib.import_module(f"configs.{name}").get_config("nonsense")


def test_every_config_file_is_tested(root):
    names = {path.stem for path in (root / "configs").glob("*.py")} - {"__init__"}
    assert names == set(CONFIGS)


@pytest.fixture(scope="module")
def trees(root):
    """Parsed modules of the package, by path relative to it."""
    package = root / "wae_jax"
    return {
        str(path.relative_to(package)): ast.parse(path.read_text())
        for path in sorted(package.rglob("*.py"))
    }


def test_every_setting_is_read(trees):
    read = {
        node.attr
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    unread = {
        f"{cls.__name__}.{name}"
        for cls in dataclasses_of_settings()
        for name in fields_of(cls)
        if name not in read
    }
    assert not unread


def config_like(node: ast.expr) -> bool:
    return bool(re.search(r"config|settings|stage\b|\bmeta\b", ast.unparse(node)))


def hidden_defaults(tree: ast.AST):
    """Calls ``x.get(key, default)`` and ``getattr(x, name, default)`` on configs and settings."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "setdefault"):
            if len(node.args) + len(node.keywords) > 1 and config_like(node.func.value):
                yield ast.unparse(node)
        elif (
            isinstance(node.func, ast.Name)
            and node.func.id == "getattr"
            and len(node.args) > 2
            and config_like(node.args[0])
        ):
            yield ast.unparse(node)


def test_defaults_of_config_keys_live_in_the_settings_only(trees):
    found = {path: list(hidden_defaults(tree)) for path, tree in trees.items()}
    assert {path: calls for path, calls in found.items() if calls} == {}
    # config.py sees configs under other names.
    assert not re.search(r"\.get\(", ast.unparse(trees["config.py"]))


@pytest.mark.parametrize(
    "code, count",
    [
        ("config.get('seed', 0)", 1),
        ("settings.model.get('x', default=1)", 1),
        ("getattr(config, 'seed', 0)", 1),
        ("config['stages'].get(name, {})", 1),
        ("totals.get(name, 0.0)", 0),
        ("config.get('seed')", 0),
        ("getattr(settings, key)", 0),
    ],
)
def test_hidden_defaults_are_found(code, count):
    assert len(list(hidden_defaults(ast.parse(code)))) == count
