# PYTHON_ARGCOMPLETE_OK
"""The commands of the package: ``wae-jax COMMAND``, or ``python -m wae_jax COMMAND``."""

import importlib
import sys

from wae_jax import __version__
from wae_jax.runtime import signals

# Each has its module in wae_jax.commands, with dashes as underscores.
COMMANDS = {
    "train": "train a classifier, all stages of its config",
    "evaluate": "accuracy of a checkpoint on a whole split",
    "predict": "classes of image files",
    "summary": "parts, layers, parameters and MACs of a network",
    "export": "a checkpoint as an ONNX or StableHLO file",
    "compress": "a smaller network: filters removed, or convs decomposed",
    "recommend": "what each method would gain here, before any training",
    "bench": "cost and speed of methods against full resolution",
    "study": "train variants of a config and compare them",
    "visualize": "picture of what a front end makes of photos",
    "report": "one HTML page of a run or a study",
    "import-weights": "weights of other libraries as a checkpoint",
    "prepare": "write a data set in TFDS's ArrayRecord layout",
    "data-bench": "speed of the input pipeline",
}


# They save before they end; the others have nothing that a signal would lose.
SAVING = ("train", "study")


def run() -> None:
    """The program, in a process of its own, whose signals it handles."""
    if sys.argv[1:2] and sys.argv[1] in SAVING:
        signals.install()  # before what takes long to import
    main()


def main() -> None:
    """Runs the command that the command line names; imports only what it needs."""
    from wae_jax.commands import completion
    from wae_jax.runtime.console import fail
    from wae_jax.schema.fields import hint

    if completion.wanted():
        completion.complete_commands(COMMANDS, lambda name: _module(name).main([]))
    if not sys.argv[1:]:
        fail(f"name a command, one of: {', '.join(COMMANDS)}; see wae-jax --help")
    name, *arguments = sys.argv[1:]
    if name == "--version":
        print(f"wae-jax {__version__}")
        return
    if name in ("--help", "-help", "-h", "help"):
        print("usage: wae-jax COMMAND [OPTIONS]\n\ncommands:")
        for command, summary in COMMANDS.items():
            print(f"  {command:<15} {summary}")
        print("\nwae-jax COMMAND --help shows the options of one, with an example.")
        return
    if name not in COMMANDS:
        meant = hint(name, COMMANDS, shown=str)
        fail(f"no command {name!r}{meant}; there are: {', '.join(COMMANDS)}; see wae-jax --help")
    _module(name).main(arguments)


def _module(command: str):
    return importlib.import_module(f"wae_jax.commands.{command.replace('-', '_')}")


if __name__ == "__main__":
    run()
