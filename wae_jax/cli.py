"""What all programs here do with a user's mistake: one line on stderr, exit status 2."""

import logging
import sys
from collections.abc import Callable, Sequence

from absl import flags

from wae_jax import runtime
from wae_jax.errors import UserError


def fail(message: str) -> None:
    """Prints the message as one line on stderr and exits with status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def start(main: Callable[[], None]) -> None:
    """Sets up XLA and logging and runs ``main``; turns UserError into exit status 2."""
    runtime.configure()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    for noisy in ("absl", "orbax", "jax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        main()
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None


def run_with_flags(main: Callable[[], None], argv: Sequence[str] | None = None) -> None:
    """Parses absl flags (with their config file) and starts ``main``."""
    argv = list(sys.argv if argv is None else argv)
    # Overrides must follow the config they change: let users write them in any order. The config
    # flag looks for its overrides in sys.argv.
    argv = argv[:1] + sorted(argv[1:], key=lambda a: not a.startswith(("--config=", "-config=")))
    sys.argv = list(argv)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        fail(str(error))
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # A config file that is not there, has no such variant, or no such key.
        fail(f"config: {error.args[0] if error.args else error}"
             if not isinstance(error, OSError) else f"config: {error}")
    if flags.FLAGS["help"].value if "help" in flags.FLAGS else False:
        print(sys.modules["__main__"].__doc__)
        print(flags.FLAGS.main_module_help())
        raise SystemExit(0)
    if rest[1:]:
        fail(f"unexpected argument {rest[1]!r}; options look like --name=value")
    start(main)
