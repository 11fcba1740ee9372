"""One HTML page of a training run or of a study, complete in itself.

    wae-jax report --workdir=runs/quickstart --out=report.html

Curves of every stage, figures, costs by part, photos with their sub-images, the hardest and the
most confused classes, config, environment and a model card; of a study also its table and accuracy
against measured time. Needs no network and no JavaScript to be read. A run that still trains gives
a report of what there is. Prints the file that was written.
"""

import argparse
from collections.abc import Sequence

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, check_out, names, whole_number

SKIPPED = ("evaluation", "times")


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax report", description=__doc__)
    parser.add_argument("--workdir", required=True, help="folder of a run, or of a study")
    parser.add_argument("--out", default="report.html", help="the page; default: report.html")
    parser.add_argument("--data_dir", default="", help="where the data set is; default: as the run")
    parser.add_argument(
        "--count",
        type=whole_number(1, 64),
        default=8,
        metavar="N",
        help="how many photos of each run; default: 8",
    )
    parser.add_argument(
        "--seconds",
        type=whole_number(1),
        default=2,
        metavar="N",
        help="how long the parts of each network are timed; default: 2",
    )
    parser.add_argument(
        "--skip",
        type=_skipped,
        default=(),
        help=f"what to leave out, comma-separated, of {', '.join(SKIPPED)}: the evaluation of a "
        "run that has no record of a study, and the times of a network's parts",
    )
    options = parser.parse_args(argv)
    start(lambda: _report(options))


def _skipped(text: str) -> tuple[str, ...]:
    found = names(text)
    for name in found:
        if name not in SKIPPED:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SKIPPED)}")
    return found


def _report(options) -> None:
    check_out("--out", options.out, (".html", ".htm"))
    from wae_jax.runtime import process

    process.call_on_own_thread()
    from wae_jax.report.page import write_report
    from wae_jax.report.sections import Options

    write_report(
        options.workdir,
        options.out,
        Options(
            photos=options.count,
            seconds=0 if "times" in options.skip else options.seconds,
            evaluate="evaluation" not in options.skip,
            data_dir=options.data_dir,
        ),
    )
    print(options.out)
