"""A checkpoint as a file for other programs: ONNX, or StableHLO for jax alone.

    wae-jax export --checkpoint=runs/quickstart --format=onnx --out=quickstart.onnx

The file is loaded back and compared with the checkpoint on real photos before it gets its name.
Prints the file that was written.
"""

from collections.abc import Sequence
from pathlib import Path

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, add_checkpoint, check_out, whole_number

SUFFIXES = {"onnx": (".onnx",), "stablehlo": (".stablehlo",)}
ANY = "dynamic"


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax export", description=__doc__)
    add_checkpoint(parser)
    parser.add_argument("--format", required=True, choices=tuple(SUFFIXES))
    parser.add_argument("--out", required=True, metavar="FILE", help="ends in .onnx or .stablehlo")
    parser.add_argument(
        "--batch_size",
        "--batch",
        dest="batch",
        type=_batch,
        default=1,
        metavar=f"N|{ANY}",
        help=f"images in a call, 1 by default; {ANY}: any number, which can be slower",
    )
    options = parser.parse_args(argv)
    start(lambda: _export(options))


def _batch(text: str) -> int | None:
    return None if text == ANY else whole_number(1, 4096)(text)


def _export(options) -> None:
    check_out("--out", options.out, SUFFIXES[options.format])
    from wae_jax.export.checkpoint import export_checkpoint
    from wae_jax.runtime.console import say

    trial = export_checkpoint(
        options.checkpoint, Path(options.out), kind=options.format, batch=options.batch
    )
    for line in trial.lines():
        say(line)
    print(options.out)
