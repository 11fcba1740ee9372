"""Every key of the configs is known, read, and has its default in one place."""

import ast
import dataclasses
import importlib
import inspect
import json
import re

import pytest

from configs import common
from wae_jax import config as settings_module
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError


def plain(config) -> dict:
    """As the entry points pass it down: a nested dict of JSON's types."""
    return json.loads(json.dumps(config.to_dict()))


def dataclasses_of_settings() -> list[type]:
    return [
        cls
        for _, cls in inspect.getmembers(settings_module, inspect.isclass)
        if dataclasses.is_dataclass(cls) and cls.__module__ == settings_module.__name__
    ]


def fields_of(cls) -> dict[str, object]:
    return {field.name: field.type for field in dataclasses.fields(cls)}


def compare(cls, values: dict, where: str) -> None:
    """Keys of the config and fields of the dataclass are the same sets, all the way down."""
    fields = fields_of(cls)
    assert values.keys() == fields.keys(), where
    for name, kind in fields.items():
        if dataclasses.is_dataclass(kind):
            compare(kind, values[name], f"{where}.{name}")


def test_keys_of_the_config_are_the_fields_of_the_settings():
    config = plain(common.get_config())
    run_stages, stages = config.pop("run_stages"), config.pop("stages")
    compare(settings_module.Settings, config | {"stages": ()}, "config")
    assert set(run_stages) <= stages.keys()
    for name, stage in stages.items():
        compare(settings_module.StageSettings, stage | {"name": name}, f"config.stages.{name}")


def test_settings_have_no_defaults_of_their_own():
    for cls in dataclasses_of_settings():
        for field in dataclasses.fields(cls):
            assert field.default is dataclasses.MISSING, (cls, field.name)
            assert field.default_factory is dataclasses.MISSING, (cls, field.name)


def test_values_arrive_as_they_were_set():
    config = common.get_config()
    config.update_from_flattened_dict(
        {
            "model.frontend.channels": 5,
            "model.head.hidden_low": (7, 8),
            "stages.joint.learning_rate": 3.0,
            "run_stages": ("joint",),
            "ema_decay": 0.25,
        }
    )
    found = settings_from_config(plain(config))
    assert found.model.frontend.channels == 5
    assert found.model.head.hidden_low == (7, 8)
    assert [stage.name for stage in found.stages] == ["joint"]
    assert found.stages[0].learning_rate == 3.0
    assert found.ema_decay == 0.25
    assert hash(found.model.frontend)


def test_whole_numbers_become_floats_where_floats_are_due():
    config = plain(common.get_config())
    config["stages"]["joint"]["epochs"] = 3
    value = settings_from_config(config).stages[-1].epochs
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

    config = plain(common.get_config())
    branch(config)["surplus"] = 1
    with pytest.raises(UserError, match="unknown surplus"):
        settings_from_config(config)
    config = plain(common.get_config())
    missing = next(name for name, value in branch(config).items() if not isinstance(value, dict))
    del branch(config)[missing]
    with pytest.raises((UserError, KeyError), match=missing):
        settings_from_config(config)


def test_config_is_locked_against_unknown_keys():
    with pytest.raises(AttributeError):
        common.get_config().surplus = 1
    with pytest.raises(AttributeError):
        common.get_config().model.frontend.surplus = 1


FRONTEND_OF = {
    "full": "identity",
    "lowres": "downsample",
    "wavelet-cdf97": "wavelet",
    "wavelet-haar": "wavelet",
}
CONFIGS = ("quickstart", "vgg16", "resnet50")


@pytest.mark.parametrize("method", ["", *common.METHODS])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_variant_of_every_config_is_whole(name, method):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config(method) if method else module.get_config()
    found = settings_from_config(plain(config))
    assert found.model.frontend.name == FRONTEND_OF.get(method, "wae")
    compare(settings_module.ModelSettings, plain(config)["model"], "config.model")


@pytest.mark.parametrize("name", CONFIGS)
def test_unknown_variants_are_refused(name):
    with pytest.raises(ValueError, match="nonsense"):
        importlib.import_module(f"configs.{name}").get_config("nonsense")


def test_every_config_file_is_tested(root):
    names = {path.stem for path in (root / "configs").glob("*.py")} - {"common", "__init__"}
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
        for path, tree in trees.items()
        if path != "config.py"
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


def test_defaults_of_config_keys_live_in_common_only(trees):
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
