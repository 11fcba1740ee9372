"""Shell completion of commands, options, their values and config keys, through argcomplete.

The shell starts the program with the command line in its environment; nothing else runs then.
"""

import argparse
import dataclasses
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_WORDS = "_ARGCOMPLETE"  # set by the shell: how many words the program's own name takes
_LINE, _POINT = "COMP_LINE", "COMP_POINT"
_KEYS = "--config."


def wanted() -> bool:
    """Whether the shell asks for completions, and nothing else."""
    return _WORDS in os.environ


def complete_commands(commands: Iterable[str], run: Callable[[str], None]) -> None:
    """Completes a command's name; behind one ``run(command)`` is to complete its options."""
    words, _ = _typed()
    if len(words) > 1:
        if words[1] in commands:
            os.environ[_WORDS] = str(int(os.environ[_WORDS]) + 1)  # the command is one of its words
            run(words[1])
        raise SystemExit(0)
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=tuple(commands))
    complete(parser)


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers for the options of a parser, and ends the program.

    Where there is a ``--config``, its keys are options too.
    """
    import argcomplete

    words, begun = _typed()
    takes_config = any("--config" in action.option_strings for action in parser._actions)
    # Some two hundred: only for those who ask.
    if takes_config and any(word.startswith(_KEYS) for word in (*words, begun)):
        for key, names in config_keys():
            parser.add_argument(f"{_KEYS}{key}", choices=names)
    argcomplete.autocomplete(parser)


def config_keys() -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Every config key, dotted, and the values that it may have, where they are few."""
    from wae_jax.config import Settings

    yield from _keys_of(Settings(), "")


def _keys_of(settings: Any, prefix: str) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    from wae_jax.schema.fields import OneOf

    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value, key = getattr(settings, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _keys_of(value, f"{key}.")
        elif isinstance(value, Mapping):
            for name, part in value.items():
                yield from _keys_of(part, f"{key}.{name}.")
        else:
            ranges = getattr(hints[field.name], "__metadata__", ())
            named = next((r.names for r in ranges if isinstance(r, OneOf)), None)
            yield key, ("True", "False") if isinstance(value, bool) else named


def _typed() -> tuple[list[str], str]:
    """The whole words before the cursor, from the program's name on, and the one begun there."""
    from argcomplete.lexers import split_line

    line = os.environ.get(_LINE, "")
    _, begun, _, words, _ = split_line(line, int(os.environ.get(_POINT, len(line))))
    return words[int(os.environ[_WORDS]) - 1 :], begun
