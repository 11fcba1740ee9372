"""Classes of image files, and of all images in folders, by a checkpoint or an exported file.

    wae-jax predict --checkpoint=runs/quickstart --top=3 photos/ cat.jpg
    find photos -name '*.jpg' | wae-jax predict --input=quickstart.onnx --csv -

Prints a result for each image as soon as it is there. A file that cannot be read is named on
stderr and passed over. Photos are turned upright as their Exif says.
"""

import contextlib
import csv
import dataclasses
import sys
from collections.abc import Sequence

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, whole_number

STDIN = "-"
_PATIENCE = 0.1  # seconds that a batch waits for the next line of a list


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax predict", description=__doc__)
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--checkpoint", help="a workdir or one checkpoint step")
    network.add_argument(
        "--input",
        metavar="FILE",
        help="in its place: a file of wae-jax export, .onnx or .stablehlo",
    )
    parser.add_argument(
        "--top",
        type=whole_number(1),
        default=5,
        metavar="N",
        help="how many classes of each image; default: 5",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per image")
    form.add_argument(
        "--csv",
        action="store_true",
        help="one row per image: file, then number, name and probability of each class",
    )
    parser.add_argument(
        "--batch_size",
        type=whole_number(1, 4096),
        metavar="N",
        help="images in a call of the network; default: 16, or what the exported file takes",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit status 1 where a file was passed over"
    )
    parser.add_argument(
        "--exif_orientation",
        choices=("true", "false"),
        help="whether photos are turned upright; default: as the network was trained",
    )
    parser.add_argument(
        "--max_pixels",
        type=whole_number(1),
        metavar="N",
        help="larger images are refused; default: as the network's config says",
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE_OR_FOLDER",
        help="images, or folders that are searched for them; -: a list on stdin, one a line",
    )
    options = parser.parse_args(argv)
    start(lambda: _predict(options))


def _predict(options) -> None:
    from wae_jax.evaluation import predict
    from wae_jax.runtime.console import progress_bar, say

    listed = STDIN in options.files
    if listed and len(options.files) > 1:
        from wae_jax.errors import UserError

        raise UserError("- takes all files from stdin: name no others beside it")
    # Before the network is loaded: what is wrong with them is told at once.
    found = [] if listed else predict.find_images(options.files)
    predictor = _predictor(options, None if listed else len(found))
    write = _writer(options)
    skipped = 0
    results = predict.predict(
        predictor,
        predict.find_listed(_lines()) if listed else found,
        top=options.top,
        patience=_PATIENCE if listed else None,
    )
    # Where results scroll by, or lines are kept of what was passed over, a bar would be in the way.
    shown = not listed and sys.stderr.isatty() and not sys.stdout.isatty()
    bar = progress_bar("predicting", len(found), unit="photo") if shown else None
    with bar or contextlib.nullcontext():
        for result in results:
            if isinstance(result, predict.Skipped):
                say(result.as_text())
                skipped += 1
            else:
                write(result)
            if bar:
                bar.update()
    if skipped and options.strict:
        sys.stdout.flush()
        raise SystemExit(1)


def _predictor(options, count: int | None):
    """Of the checkpoint or file; ``count``: how many photos there are, where that is known."""
    from wae_jax.evaluation.predictor import BATCH_SIZE, of_checkpoint

    if options.checkpoint:
        batch_size = options.batch_size or BATCH_SIZE
        predictor = of_checkpoint(
            options.checkpoint, batch_size=min(batch_size, count or batch_size)
        )
    else:
        from wae_jax.export.predictor import of_file

        predictor = of_file(options.input, batch_size=options.batch_size)
    reading = predictor.reading
    if options.exif_orientation:
        reading = dataclasses.replace(reading, exif_orientation=options.exif_orientation == "true")
    if options.max_pixels:
        reading = dataclasses.replace(reading, max_pixels=options.max_pixels)
    return dataclasses.replace(predictor, reading=reading)


def _writer(options):
    """Function that prints a prediction in the form that was asked for."""
    if options.json:
        return lambda prediction: print(prediction.as_json(), flush=True)
    if not options.csv:
        return lambda prediction: print(prediction.as_text(), flush=True)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    headings: list[str] = []

    def write(prediction) -> None:
        if not headings:
            headings.append("file")
            for place in range(1, len(prediction.classes) + 1):
                headings.extend((f"class_{place}", f"name_{place}", f"probability_{place}"))
            rows.writerow(headings)
        rows.writerow(prediction.as_row())
        sys.stdout.flush()

    return write


def _lines():
    """Of stdin, as they come. Not by ``sys.stdin``: a thread that waits in it cannot be left."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        yield from stdin
