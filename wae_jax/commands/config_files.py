"""Config files, read so that every mistake in one is a line."""

import difflib
import importlib.util
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from wae_jax.errors import UserError


def load_config_file(path: str) -> ModuleType:
    """The module of a config file.

    Raises:
        UserError: There is no such file, it fails, or it has no ``get_config``.
    """
    if not path:
        raise UserError("--config is empty; name a config file, as --config=configs/quickstart.py")
    if not Path(path).is_file():
        raise UserError(f"no config file {path}{_other_file(path)}")
    spec = importlib.util.spec_from_file_location("config_file", path)
    if spec is None or spec.loader is None:
        raise UserError(f"the config file {path} does not end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"the config file {path} fails: {words(error)}") from error
    if not hasattr(module, "get_config"):
        raise UserError(f"the config file {path} has no get_config function")
    return module


def make_config(config: str) -> ConfigDict:
    """The config that ``FILE.py:VARIANT`` names.

    Raises:
        UserError: The file cannot be used, or has no such variant.
    """
    path, colon, variant = config.partition(":")
    module = load_config_file(path)
    try:
        made = module.get_config(*([variant] if colon else []))
    except ValueError as error:
        raise UserError(str(error)) from error
    except Exception as error:
        raise UserError(f"get_config of {path} fails: {words(error)}") from error
    if not isinstance(made, ConfigDict):
        kind = type(made).__name__
        raise UserError(f"get_config of {path} returns {kind}; it must return a ConfigDict")
    return made


def words(error: Exception) -> str:
    """An exception of a user's own code, in a line."""
    return f"{type(error).__name__}: {error}"


def _other_file(path: str) -> str:
    """A file of almost that name beside it."""
    folder = Path(path).parent
    if Path(path).is_dir():
        return ": it is a folder"
    names = [file.name for file in folder.glob("*.py")] if folder.is_dir() else []
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    return f" (did you mean {folder / close[0]}?)" if close else ""
