"""Accuracy of a checkpoint on a whole split, in its inference form.

    wae-jax evaluate --checkpoint=runs/quickstart

The last line on stdout is a JSON object with the figures.
"""

import json
from collections.abc import Sequence

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, add_checkpoint, add_data


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax evaluate", description=__doc__)
    add_checkpoint(parser)
    add_data(parser)
    parser.add_argument(
        "--bad_records",
        default="",
        choices=("error", "skip"),
        help="stop at a record that cannot be read, or pass over it; default: as the run",
    )
    options = parser.parse_args(argv)
    start(lambda: _evaluate(options))


def _evaluate(options) -> None:
    from wae_jax.evaluation.evaluator import evaluate_checkpoint

    figures = evaluate_checkpoint(
        options.checkpoint,
        split=options.split,
        data_dir=options.data_dir,
        data_name=options.data,
        bad_records=options.bad_records,
    )
    print(json.dumps(figures))
