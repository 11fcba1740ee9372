"""Classes of image files, and of all images in folders.

wae-jax predict --checkpoint=runs/quickstart --top=3 photos/ cat.jpg
"""

from collections.abc import Sequence

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, add_checkpoint, whole_number


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax predict", description=__doc__)
    add_checkpoint(parser)
    parser.add_argument(
        "--top", type=whole_number(1), default=5, help="how many classes of each image"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per image")
    parser.add_argument("files", nargs="+", metavar="FILE_OR_FOLDER")
    options = parser.parse_args(argv)
    start(lambda: _predict(options))


def _predict(options) -> None:
    from wae_jax.evaluation.predict import predict_files

    for prediction in predict_files(options.checkpoint, options.files, top=options.top):
        print(prediction.as_json() if options.json else prediction.as_text(), flush=True)
