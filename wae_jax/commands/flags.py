"""How all programs start: flags, XLA's settings, and exit status 2 with a line for a mistake."""

import argparse
import codecs
import io
import logging
import os
import re
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict, config_flags

from wae_jax.commands import completion, mistakes
from wae_jax.commands.config_files import make_config
from wae_jax.errors import LostProcessError, UserError
from wae_jax.runtime import process, signals
from wae_jax.runtime.console import fail

NOT_OURS = ("flagfile", "undefok")  # absl's own flags


def start(main: Callable[[], None]) -> None:
    """Sets up XLA and logging and runs ``main``; turns UserError into exit status 2."""
    process.configure()
    _print_any_file_name()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    for noisy in ("absl", "orbax", "jax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        _end_if_reader_left()
        raise
    except LostProcessError as error:
        from wae_jax.runtime import joining

        joining.end(str(error))
    except UserError as error:
        _refuse(error)
    except signals.Stopped as stopped:
        print(f"{stopped}; saved; the same command continues", file=sys.stderr)
        raise SystemExit(stopped.status) from None
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None


def _refuse(error: UserError) -> NoReturn:
    if os.environ.get("WAE_JAX_TRACEBACK") == "1":
        traceback.print_exception(error.__cause__ or error)
    try:
        fail(str(error))
    finally:
        _leave_others(2)


def _leave_others(status: int) -> None:
    """Ends a process that is one of several: they are not waited for."""
    joining = sys.modules.get("wae_jax.runtime.joining")  # else it has joined nobody
    if joining:
        joining.fail(status)


def _print_any_file_name() -> None:
    """Lets stdout take names with bytes that are no text: as they are, or escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _end_if_reader_left() -> None:
    """Ends the program quietly where nobody reads its stdout any more, as in ``... | head -1``."""
    stdout = sys.stdout.fileno()
    poll = select.poll()
    poll.register(stdout, 0)
    if poll.poll(0):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)  # Python flushes it once more at the end
        raise SystemExit(141) from None  # as a program that SIGPIPE ends


def run_with_flags(
    main: Callable[[], None],
    argv: Sequence[str],
    flag_values: flags.FlagValues,
    required: Sequence[str] = (),
) -> None:
    """Parses absl flags (with their config file) and starts ``main``.

    Args:
        main: What to do. The docstring of its module is the help's beginning.
        argv: The command line; begins with the program's name.
        flag_values: The flags that ``main`` reads.
        required: Names of those that must be given.
    """
    if completion.wanted():
        completion.complete(parser_of(flag_values, required))
    program = argv[0]
    if {"--help", "-help", "-h"} & set(argv):
        parser_of(
            flag_values,
            required,
            prog=program,
            description=sys.modules[main.__module__].__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        ).print_help()
        raise SystemExit(0)
    # Overrides must follow the config they change: let users write them in any order. The config
    # flag looks for its overrides in sys.argv.
    options = sorted(_joined(argv[1:]), key=lambda option: not _is_config(option))
    _parse(flag_values, [program, *options])
    forgotten = [name for name in required if flag_values[name].value is None]
    if forgotten:
        fail(f"{mistakes.missing(forgotten)}; see {program} --help")
    start(main)


def parser_of(
    flag_values: flags.FlagValues, required: Sequence[str] = (), **options: Any
) -> argparse.ArgumentParser:
    """A parser with the options that absl's flags are, for help and completion.

    Args:
        flag_values: The flags.
        required: Names of those that must be given.
        options: The parser's.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, **options)
    for name in flag_values:
        if name in NOT_OURS:
            continue
        flag = flag_values[name]
        default = flag.default_as_str and flag.default_as_str.strip("'")
        shown = f" (default: {default})" if flag.default not in (None, "", [], False) else ""
        said = re.sub(r"^<\S+>: ", "", flag.help)  # absl puts the choices before it
        text = f"{said}{shown}{' (needed)' if name in required else ''}".replace("%", "%%")
        if flag.boolean:
            parser.add_argument(f"--{name}", action="store_true", help=text)
            parser.add_argument(f"--no{name}", action="store_true", help=argparse.SUPPRESS)
        else:
            choices = getattr(flag.parser, "enum_values", None)
            parser.add_argument(f"--{name}", choices=choices, metavar=_metavar(flag), help=text)
    return parser


def _metavar(flag: flags.Flag) -> str | None:
    """What stands for the value; None: its choices."""
    if getattr(flag.parser, "enum_values", None):
        return None
    kinds = {int: "N", float: "NUMBER", list: "A,B"}
    return next((text for kind, text in kinds.items() if isinstance(flag.default, kind)), "VALUE")


def _is_config(option: str) -> bool:
    return option.startswith(("--config=", "-config="))


def _joined(options: Sequence[str]) -> list[str]:
    """The command line with ``--config FILE`` as one word, as the config flag needs it."""
    joined: list[str] = []
    for option in options:
        if joined and joined[-1] in ("--config", "-config") and not option.startswith("-"):
            joined[-1] += f"={option}"
        else:
            joined.append(option)
    if {"--config", "-config"} & set(joined):
        fail("--config needs a value, as --config=configs/quickstart.py")
    return joined


def read_config(config: str, overrides: Sequence[str]) -> ConfigDict:
    """A config as the other commands read it, for those without absl's flags.

    Ends the program with a line where a key does not exist.

    Args:
        config: its file, and a variant behind a colon.
        overrides: as on the command line, ``--config.KEY=VALUE``.
    """
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    before = sys.argv
    try:
        _parse(values, [before[0], f"--config={config}", *overrides])
    finally:
        sys.argv = before
    return holder.value


def _parse(flag_values: flags.FlagValues, argv: list[str]) -> None:
    """Parses a command line; leaves it in ``sys.argv``, where the config flag looks for keys."""
    sys.argv = argv
    try:
        _check_config(argv[1:])
        rest = flag_values(argv)
    except UserError as error:
        _refuse(error)
    except flags.UnrecognizedFlagError as error:
        options = [f"--{name}" for name in flag_values if name not in NOT_OURS]
        unknown = mistakes.unknown_option(f"--{error.flagname}", options)
        fail(f"{unknown}; see {argv[0]} --help")
    except flags.Error as error:
        fail(mistakes.illegal_value(error, flag_values))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        fail(f"a config key cannot have that value: {error}")
    if rest[1:]:
        fail(f"unexpected argument {rest[1]!r}; options look like --name=value")


def _check_config(options: Sequence[str]) -> None:
    """Reads the config file that is named, and looks for the keys that are set.

    The config flag reads it again; by then all that can be wrong in it has been told.

    Raises:
        UserError: The file cannot be used, or a key is not there.
    """
    named = next((o.partition("=")[2] for o in options if _is_config(o)), None)
    if named is None:
        return
    config = make_config(named)
    for option in options:
        if option.startswith((mistakes.KEYS, mistakes.KEYS[1:])) and (
            unknown := mistakes.unknown_key(config, option)
        ):
            raise UserError(unknown)
