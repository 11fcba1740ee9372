"""The folder for what can be had again: downloads, prepared data sets, compiled programs."""

import logging
import os
import sys
from pathlib import Path

from wae_jax.errors import UserError
from wae_jax.runtime.machine import cpu_kind, cpu_threads

SWITCH = "WAE_JAX_COMPILATION_CACHE"
# jax's options, by their environment variables.
COMPILED = "JAX_COMPILATION_CACHE_DIR"
MIN_COMPILE_TIME = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# jax's own bound of 1 s leaves out half of what is worth keeping of a small run's start.
_WORTH_KEEPING_S = 0.2


def cache_root(cache_dir: str | os.PathLike = "") -> Path:
    """The absolute path of the cache folder, which is created if missing.

    Args:
        cache_dir: the folder; empty: the environment variable ``WAE_JAX_CACHE``, else
            ``.cache/wae_jax`` under the current directory.

    Raises:
        UserError: the folder cannot be created.
    """
    root = Path(cache_dir or os.environ.get("WAE_JAX_CACHE") or Path(".cache") / "wae_jax")
    root = root.expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the cache folder {root} ({error.strerror}); set WAE_JAX_CACHE to a "
            "folder that can be written"
        ) from error
    return root


def keep_compiled() -> None:
    """Has jax keep compiled programs in the cache folder, and take them from there.

    Not where the user has named a folder or said no, with ``WAE_JAX_COMPILATION_CACHE=0``.
    """
    if os.environ.get(SWITCH) == "0" or compiled_folder():
        return
    # A program for another kind of CPU may not run here, and one for other threads is slower.
    # Versions, XLA's flags and the device are part of jax's own key.
    try:
        folder = cache_root() / "compiled" / f"{cpu_kind()}-{cpu_threads()}-threads"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, UserError) as error:
        logging.getLogger("wae_jax").info("compiled programs are not kept: %s", error)
        return
    _set_jax_option(COMPILED, str(folder))
    if MIN_COMPILE_TIME not in os.environ:
        _set_jax_option(MIN_COMPILE_TIME, _WORTH_KEEPING_S)


def compile_afresh() -> None:
    """Keeps no compiled programs and takes none, for programs that measure compiling.

    Call it before the first jax computation.
    """
    os.environ[SWITCH] = "0"
    os.environ.pop(COMPILED, None)
    if "jax" in sys.modules:
        sys.modules["jax"].config.update(COMPILED.lower(), None)


def compiled_folder() -> str:
    """Where compiled programs are kept; empty where they are not."""
    return os.environ.get(COMPILED) or _jax_folder()


def _jax_folder() -> str:
    if "jax" not in sys.modules:
        return ""
    return sys.modules["jax"].config.jax_compilation_cache_dir or ""


def _set_jax_option(name: str, value: str | float) -> None:
    """jax reads its environment variables when it is imported."""
    os.environ[name] = str(value)
    if "jax" in sys.modules:
        sys.modules["jax"].config.update(name.lower(), value)
