"""Command lines that cannot be understood: what is wrong in them, and what was probably meant."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from wae_jax.schema.fields import hint

KEYS = "--config."
_ILLEGAL = re.compile(r"flag --([^=]+)=(.*?): (.*)", re.S)
# What Python and absl say of a value -> what it should be.
_WANTED = {
    "could not convert string to float": "a number",
    "invalid literal for int()": "a whole number",
    "Non-boolean argument": "true or false",
}


def unknown_option(option: str, options: Collection[str]) -> str:
    """What is said of an option that a command lacks.

    Args:
        option: as it was typed, with its dashes.
        options: those of the command, with theirs.
    """
    name = option.partition("=")[0]
    meant = hint(name, options, shown=str)
    if not meant and "--config" in options:
        meant = next((f" (did you mean {key}?)" for key in _keys_named(name.lstrip("-"))), "")
    return f"there is no option {name}{meant}"


def _keys_named(name: str) -> Iterable[str]:
    """Flags of the config keys that end so."""
    from wae_jax.commands.completion import config_keys

    keys = [key for key, _ in config_keys()]
    for key in sorted(keys, key=lambda key: not key.startswith("stages.")):
        if f".{key}".endswith(f".{name}"):
            yield KEYS + re.sub(r"^stages\.\w+(?=\.)", "stages.STAGE", key)


def missing(names: Sequence[str]) -> str:
    """What is said where these options, without their dashes, were forgotten."""
    return f"the following arguments are required: {', '.join(f'--{name}' for name in names)}"


def none_of(value: Any, choices: Iterable[Any]) -> str:
    """What is said of a value that is none of a few."""
    names = list(map(str, choices))
    return f"{str(value)!r} is none of: {', '.join(names)}{hint(str(value), names)}"


def illegal_value(error: flags.Error, values: flags.FlagValues) -> str:
    """What is said where absl refuses a flag's value."""
    found = _ILLEGAL.fullmatch(str(error))
    if not found:
        return str(error)
    name, value, reason = found.groups()
    if name in values and (choices := getattr(values[name].parser, "enum_values", None)):
        return f"--{name}: {none_of(value, choices)}"
    wanted = next((words for said, words in _WANTED.items() if said in reason), "")
    return (
        f"--{name} is {value!r}; it must be {wanted}" if wanted else f"--{name}={value}: {reason}"
    )


def unknown_key(config: ConfigDict, override: str) -> str:
    """What is said of an override whose key the config lacks; empty where it has it.

    Args:
        config: before any override.
        override: as on the command line, ``--config.KEY=VALUE``.
    """
    path = f"--{override.lstrip('-')}".partition("=")[0].removeprefix(KEYS)
    group: Any = config
    known: list[str] = []
    for part in path.split("."):
        name = part.partition("[")[0]  # one of a sequence
        if not isinstance(group, ConfigDict):
            break
        if name not in group:
            options = [".".join((*known, other)) for other in group]
            meant = hint(".".join((*known, name)), options, shown=lambda key: f"config.{key}")
            return f"the config has no key {path}{meant}"
        group = group[name]
        known.append(name)
    return ""
