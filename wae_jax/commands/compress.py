"""A smaller network from a trained one: filters removed, or convs decomposed.

    wae-jax compress --checkpoint=runs/quickstart --method=taylor --macs=0.6 --out=runs/smaller

Prints what changed, layer by layer, and at last the folder that was written. It is a checkpoint
like any other; train it for a while, as the last line on stderr says, before you use it.
"""

import argparse
from collections.abc import Sequence

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, add_checkpoint, whole_number
from wae_jax.config import CompressSettings

IMAGES = 512


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax compress", description=__doc__)
    add_checkpoint(parser)
    parser.add_argument(
        "--method",
        required=True,
        help="taylor, thinet, thinet-0.5, thinet-gap, thinet-tiny (filters); "
        "tucker, cp, asymmetric (convs)",
    )
    parser.add_argument(
        "--macs",
        type=_fraction,
        help="fraction of the MACs to keep, as 0.5; tucker: default by variational Bayes",
    )
    parser.add_argument(
        "--ms",
        type=_milliseconds,
        default=0.0,
        help="in place of --macs: of a call with one image, measured here",
    )
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.add_argument(
        "--images",
        type=whole_number(1),
        default=IMAGES,
        help=f"of the training split, by which filters are judged; {IMAGES} by default",
    )
    parser.add_argument(
        "--streams",
        action="store_true",
        help="taylor: a ResNet's residual streams lose channels too, not only the convs in blocks",
    )
    options = parser.parse_args(argv)
    start(lambda: _compress(options))


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no fraction above 0 and at most 1")
    return value


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time in milliseconds")
    return value


def _compress(options) -> None:
    from wae_jax.compress.checkpoint import compress_checkpoint
    from wae_jax.runtime.console import say

    wanted = CompressSettings(
        method=options.method,
        macs=options.macs or 0.0,
        ms=options.ms,
        images=options.images,
        streams=options.streams,
    )
    report, flags = compress_checkpoint(options.checkpoint, options.out, wanted)
    before, after = report.parameters
    print(report.table())
    print(f"parameters: {before / 1e6:.3f} M before, {after / 1e6:.3f} M after")
    extra = "".join(f" {flag}" for flag in flags)
    say(f"train it on: train.py --config=THE_SAME --config.restore={options.out}{extra}")
    print(options.out)
