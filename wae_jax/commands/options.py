"""What the options of the commands share: names, checks, and one line for a mistake."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from wae_jax.commands import completion, mistakes
from wae_jax.errors import UserError
from wae_jax.runtime.console import fail

PICTURES = (".png", ".pdf", ".svg")


class Parser(argparse.ArgumentParser):
    """Options of one command; ``description`` is shown as it stands, a mistake as one line."""

    def __init__(self, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args=None, namespace=None):
        """As every parser; where the shell asks for completions, it gets them instead."""
        if completion.wanted():
            completion.complete(self)
        return super().parse_args(args, namespace)

    def parse_known_args(self, args=None, namespace=None):
        """As every parser; an option that does not exist is told before what is missing."""
        for option in sys.argv[1:] if args is None else args:
            if option == "--" or (self._subparsers and not option.startswith("-")):
                break  # names of files, or the options of a subcommand, follow
            name = option.partition("=")[0]
            if name.startswith("--") and name not in self._option_string_actions:
                self.error(mistakes.unknown_option(name, self._option_string_actions))
        return super().parse_known_args(args, namespace)

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, mistakes.none_of(value, action.choices))

    def error(self, message: str) -> NoReturn:
        """Exit status 2."""
        fail(f"{message}; see {self.prog} --help")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """``--checkpoint``."""
    parser.add_argument("--checkpoint", required=True, help="a workdir or one checkpoint step")


def add_data(parser: argparse.ArgumentParser) -> None:
    """``--data``, ``--data_dir`` and ``--split``: other images than those of the run."""
    parser.add_argument(
        "--data",
        default="",
        help="another data set, as for config.data.name; default: the run's own",
    )
    parser.add_argument(
        "--data_dir",
        default="",
        help="where it is, as for config.data.data_dir; default: as the run",
    )
    parser.add_argument(
        "--split", default="", help="which photos; default: the run's evaluation split"
    )


def whole_number(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """A type of options: whole numbers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return parse


def names(text: str) -> tuple[str, ...]:
    """A type of options: different names, separated by commas."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"there is a name missing in {text!r}")
    for name in found:
        if found.count(name) > 1:
            raise argparse.ArgumentTypeError(f"{name!r} is there twice")
    return found


def check_out(option: str, path: str, kinds: Sequence[str] = ()) -> None:
    """Finds out before anything is computed whether the file of ``option`` can be written.

    Args:
        option: Its name, as "--csv".
        path: Its value.
        kinds: Suffixes that the file may have; none: any.

    Raises:
        UserError: It has another suffix, or is a folder, or its folder does not exist or may not be
            written to.
    """
    folder = Path(path).absolute().parent
    if kinds and Path(path).suffix.lower() not in kinds:
        raise UserError(f"{option} must end in {' or '.join(kinds)}, and {path} does not")
    if Path(path).is_dir():
        raise UserError(f"{option}: cannot write {path}: it is a folder")
    if not folder.is_dir():
        raise UserError(f"{option}: cannot write {path}: no such folder")
    if not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise UserError(f"{option}: cannot write {path}: permission denied")
