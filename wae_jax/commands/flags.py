"""How all programs start: flags, XLA's settings, and exit status 2 with a line for a mistake."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from wae_jax.errors import UserError
from wae_jax.runtime import process
from wae_jax.runtime.console import fail


def start(main: Callable[[], None]) -> None:
    """Sets up XLA and logging and runs ``main``; turns UserError into exit status 2."""
    process.configure()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    for noisy in ("absl", "orbax", "jax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        main()
    except UserError as error:
        if os.environ.get("WAE_JAX_TRACEBACK") == "1":
            traceback.print_exception(error.__cause__ or error)
        fail(str(error))
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None


def run_with_flags(
    main: Callable[[], None],
    argv: Sequence[str] | None = None,
    flag_values: flags.FlagValues | None = None,
) -> None:
    """Parses absl flags (with their config file) and starts ``main``.

    flag_values: the flags, where they are not the program's own.
    """
    argv = list(sys.argv if argv is None else argv)
    if {"--help", "-help", "-h"} & set(argv):
        known = flag_values.get_help() if flag_values else flags.FLAGS.main_module_help()
        print(f"{sys.modules[main.__module__].__doc__}\n{known}")
        raise SystemExit(0)
    # Overrides must follow the config they change: let users write them in any order. The config
    # flag looks for its overrides in sys.argv.
    argv = argv[:1] + sorted(argv[1:], key=lambda a: not a.startswith(("--config=", "-config=")))
    sys.argv = list(argv)
    for argument in argv[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        path = value.partition(":")[0]
        if name == "config" and value and not Path(path).is_file():
            fail(f"no config file {path}")
    try:
        rest = (flag_values or flags.FLAGS)(argv)
    except flags.Error as error:
        # The config flag puts the whole traceback of a failing config file into its message.
        fail(str(error).strip().splitlines()[-1].removeprefix("ValueError: "))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        key = error.args[0] if isinstance(error, KeyError) else error
        key = str(key).strip("\"'")
        fail(f"the config has no such key, or the value is of another type: {key}")
    if rest[1:]:
        fail(f"unexpected argument {rest[1]!r}; options look like --name=value")
    start(main)
