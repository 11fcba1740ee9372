"""A checkpoint as a file for other programs: ONNX, or StableHLO for jax alone.

    wae-jax export --checkpoint=runs/quickstart --format=onnx --out=quickstart.onnx

The file is loaded back and compared with the checkpoint on real photos before it gets its name.
Prints the file that was written. With --int8 its layers compute in int8:

    wae-jax export --checkpoint=runs/quickstart --format=onnx --int8 --out=quickstart-int8.onnx

calibrated on photos of the run's training split and evaluated, in ONNX Runtime, on its evaluation
split, beside the same file in float32.
"""

from collections.abc import Sequence
from pathlib import Path

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, add_checkpoint, check_out, whole_number

SUFFIXES = {"onnx": (".onnx",), "stablehlo": (".stablehlo",)}
ANY = "dynamic"
# Options of --int8 -> what they are called below the command line.
INT8_OPTIONS = {
    "calibrate": "calibrate",
    "calibration_images": "calibration_photos",
    "eval_images": "evaluated_photos",
}


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
    parser.add_argument(
        "--weights",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="type that weights are kept in, onnx only; the file computes in float32 all the same",
    )
    parser.add_argument("--int8", action="store_true", help="layers in int8, onnx only")
    parser.add_argument(
        "--calibrate",
        metavar="SPLIT",
        help="with --int8: whose photos set the ranges; default: the run's training split",
    )
    parser.add_argument(
        "--calibration_images",
        type=whole_number(1),
        metavar="N",
        help="with --int8: how many of them; default: 256",
    )
    parser.add_argument(
        "--eval_images",
        type=whole_number(1),
        metavar="N",
        help="with --int8: how many photos judge the file; default: 1000",
    )
    options = parser.parse_args(argv)
    if options.int8 and options.format != "onnx":
        parser.error("--int8 needs --format=onnx")
    if options.weights != "float32" and (options.int8 or options.format != "onnx"):
        parser.error(f"--weights={options.weights} needs --format=onnx, and no --int8")
    given = [name for name in INT8_OPTIONS if getattr(options, name) is not None]
    if given and not options.int8:
        parser.error(f"--{given[0]} needs --int8")
    start(lambda: _export(options))


def _batch(text: str) -> int | None:
    return None if text == ANY else whole_number(1, 4096)(text)


def _export(options) -> None:
    check_out("--out", options.out, SUFFIXES[options.format])
    from wae_jax.export.checkpoint import Trial, export_checkpoint
    from wae_jax.export.int8 import Int8Trial, export_int8
    from wae_jax.runtime.console import say

    out = Path(options.out)
    trial: Trial | Int8Trial
    if options.int8:
        given = {
            argument: getattr(options, name)
            for name, argument in INT8_OPTIONS.items()
            if getattr(options, name) is not None
        }
        trial = export_int8(options.checkpoint, out, batch=options.batch, **given)
    else:
        trial = export_checkpoint(
            options.checkpoint,
            out,
            kind=options.format,
            batch=options.batch,
            weights=options.weights,
        )
    for line in trial.lines():
        say(line)
    print(options.out)
