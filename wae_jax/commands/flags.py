"""How all programs start: flags, XLA's settings, and exit status 2 with a line for a mistake."""

import codecs
import io
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from wae_jax.commands import completion
from wae_jax.errors import LostProcessError, UserError
from wae_jax.runtime import process, signals
from wae_jax.runtime.console import fail


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
        if os.environ.get("WAE_JAX_TRACEBACK") == "1":
            traceback.print_exception(error.__cause__ or error)
        try:
            fail(str(error))
        finally:
            _leave_others(2)
    except signals.Stopped as stopped:
        print(f"{stopped}; saved; the same command continues", file=sys.stderr)
        raise SystemExit(stopped.status) from None
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None


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
    main: Callable[[], None], argv: Sequence[str], flag_values: flags.FlagValues
) -> None:
    """Parses absl flags (with their config file) and starts ``main``.

    Args:
        main: What to do. The docstring of its module is the help's beginning.
        argv: The command line; begins with the program's name.
        flag_values: The flags that ``main`` reads.
    """
    if completion.wanted():
        completion.complete_flags(flag_values)
    if {"--help", "-help", "-h"} & set(argv):
        print(f"{sys.modules[main.__module__].__doc__}\n{flag_values.get_help()}")
        raise SystemExit(0)
    # Overrides must follow the config they change: let users write them in any order. The config
    # flag looks for its overrides in sys.argv.
    options = sorted(argv[1:], key=lambda a: not a.startswith(("--config=", "-config=")))
    sys.argv = [argv[0], *options]
    for argument in options:
        name, _, value = argument.lstrip("-").partition("=")
        path = value.partition(":")[0]
        if name == "config" and value and not Path(path).is_file():
            fail(f"no config file {path}")
    _parse(flag_values)
    start(main)


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
    sys.argv = [before[0], f"--config={config}", *overrides]
    try:
        _parse(values)
    finally:
        sys.argv = before
    return holder.value


def _parse(flag_values: flags.FlagValues) -> None:
    """Parses ``sys.argv``, where the config flag looks for its overrides."""
    try:
        rest = flag_values(sys.argv)
    except flags.Error as error:
        # The config flag puts the whole traceback of a failing config file into its message.
        fail(str(error).strip().splitlines()[-1].removeprefix("ValueError: "))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        key = error.args[0] if isinstance(error, KeyError) else error
        key = str(key).strip("\"'")
        fail(f"the config has no such key, or the value is of another type: {key}")
    if rest[1:]:
        fail(f"unexpected argument {rest[1]!r}; options look like --name=value")
