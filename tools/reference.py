"""Reference pages, made from the code: config keys, commands with their options, public names."""

import argparse
import ast
import dataclasses
import importlib
import io
import re
import tokenize
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import wae_jax
from wae_jax import config
from wae_jax.__main__ import COMMANDS
from wae_jax.commands.options import Parser

NOT_OURS = ("absl.app", "absl.flags", "absl.logging")


def config_keys() -> str:
    """A section for each part of the config, with a table of its keys."""
    comments = _comments(Path(config.__file__).read_text())
    sections = [_section("Run", "", config.Settings(), comments)]
    for title, prefix, settings in _parts(config.Settings(), ""):
        sections.append(_section(title, prefix, settings, comments))
    return "\n".join(sections)


def _parts(settings: Any, prefix: str) -> Iterator[tuple[str, str, Any]]:
    """``(title, prefix of its keys, settings)`` of all groups below ``settings``."""
    for field in dataclasses.fields(settings):
        value, key = getattr(settings, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield f"config.{key}", f"{key}.", value
            yield from _parts(value, f"{key}.")
        elif isinstance(value, Mapping) and value:
            yield f"config.{key}", f"{key}.STAGE.", value


def _section(title: str, prefix: str, settings: Any, comments: dict) -> str:
    lines = [f"## {title}", ""]
    if isinstance(settings, Mapping):
        lines += _stages(settings)
        settings = type(next(iter(settings.values())))()
    kind = type(settings)
    if kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("):
        lines += [_plain(kind.__doc__), ""]
    lines += ["| key | values | default | meaning |", "|---|---|---|---|"]
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) or (isinstance(value, Mapping) and value):
            continue
        cells = (
            f"`{prefix}{field.name}`",
            _values(hints[field.name]),
            f"`{value!r}`" if value != "" else "",
            comments[kind.__name__, field.name],
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join((*lines, ""))


def _stages(stages: Mapping[str, Any]) -> list[str]:
    """What the stages of the default config change."""
    fresh = type(next(iter(stages.values())))()
    lines = [
        "STAGE is the name of a stage; a config may add its own. Those of the default config:",
        "",
    ]
    for name, stage in stages.items():
        changes = [
            f"`{field.name}={getattr(stage, field.name)!r}`"
            for field in dataclasses.fields(stage)
            if getattr(stage, field.name) != getattr(fresh, field.name)
        ]
        lines.append(f"- `{name}`: {', '.join(changes)}")
    return [*lines, ""]


def _values(hint: Any) -> str:
    ranges = getattr(hint, "__metadata__", ())
    base = typing.get_args(hint)[0] if ranges else hint
    name = getattr(base, "__name__", str(base)) if not typing.get_args(base) else str(base)
    named = next((found.names for found in ranges if hasattr(found, "names")), None)
    if named:
        return ", ".join(f"`{choice}`" if choice else "empty" for choice in named)
    return f"{name} {', '.join(map(str, ranges))}".strip().replace("typing.", "")


def _comments(source: str) -> dict[tuple[str, str], str]:
    """The comment of each field, by class and field: the lines above it, and the one behind it."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {t.start[0]: t for t in tokens if t.type == tokenize.COMMENT}
    alone = {line for line, token in found.items() if not token.line[: token.start[1]].strip()}
    texts = {}
    for kind in ast.parse(source).body:
        for field in kind.body if isinstance(kind, ast.ClassDef) else ():
            if isinstance(field, ast.AnnAssign):
                first = field.lineno
                while first - 1 in alone:
                    first -= 1
                lines = [line for line in range(first, field.end_lineno + 1) if line in found]
                text = " ".join(found[line].string.lstrip("# ") for line in lines)
                texts[kind.name, field.target.id] = text
    return texts


def commands() -> str:
    """A section for each command: what it does, examples, and a table of its options."""
    sections = []
    for command, summary in COMMANDS.items():
        module = importlib.import_module(f"wae_jax.commands.{command.replace('-', '_')}")
        sections += [f"## {command}", "", f"*{summary}*", "", module.__doc__.strip(), ""]
        for title, rows in options_of(module):
            sections += [f"### {title}", ""] * bool(title)
            sections += ["| option | default | meaning |", "|---|---|---|"]
            sections += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
            sections.append("")
    return "\n".join(sections)


def options_of(module: ModuleType) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """``(name of the subcommand or empty, [(option, default, meaning)])`` of a command's module."""
    if hasattr(module, "FLAGS"):
        flags = (module.FLAGS[name] for name in module.FLAGS)
        needed = getattr(module, "REQUIRED", ())
        return [("", [_flag(flag, flag.name in needed) for flag in flags])]
    parser = parser_of(module)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [(name, _actions(each)) for name, each in action.choices.items()]
    return [("", _actions(parser))]


class _MadeError(Exception):
    """Carries a parser out of the command that made it."""


def parser_of(module: ModuleType) -> argparse.ArgumentParser:
    """The parser that a command makes, before it parses anything."""

    def leave(parser, *_):
        raise _MadeError(parser)

    with mock.patch.object(Parser, "parse_args", leave):
        try:
            module.main([])
        except _MadeError as made:
            return made.args[0]
    raise AssertionError(f"{module.__name__} has neither FLAGS nor a Parser")


def _flag(flag: Any, needed: bool) -> tuple[str, str, str]:
    choices = getattr(flag.parser, "enum_values", None)
    option = f"--{flag.name}" + (f"={{{','.join(choices)}}}" if choices else "")
    default = flag.default
    if isinstance(default, list):
        default = ",".join(default)
    shown = "" if default in (None, "", False) else str(default)
    said = re.sub(r"^<\S+>: ", "", flag.help)  # absl puts the choices before it
    return option, "needed" if needed else shown, said


def _actions(parser: argparse.ArgumentParser) -> list[tuple[str, str, str]]:
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        option = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.choices:
            option += f"={{{','.join(map(str, action.choices))}}}"
        shown = action.default not in (None, "", (), False, argparse.SUPPRESS)
        shown = shown and "default:" not in (action.help or "") and action.dest != "workers"
        default = action.default
        if isinstance(default, tuple | list):
            default = ",".join(map(str, default))
        needed = "needed" if action.required else ""
        rows.append((option, str(default) if shown else needed, action.help or ""))
    return rows


def _cell(text: str) -> str:
    text = _plain(text).replace("|", "\\|").replace("<", "&lt;")
    return f"`{text}`" if text.startswith("--") else text


def _plain(text: str) -> str:
    return " ".join(text.split())


def public_names() -> str:
    """mkdocstrings' directive of each name of ``wae_jax``."""
    homes = [f"wae_jax.{wae_jax._HOMES[name]}.{name}" for name in wae_jax.__all__]
    return "\n".join(f"::: {home}\n" for home in (*homes, "wae_jax.export.load"))
