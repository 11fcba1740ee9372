"""Picture of what a checkpoint's front end makes of photos.

    wae-jax visualize --checkpoint=runs/quickstart --out=sub_images.png photos/ cat.jpg

A column per photo, a row per part: the image I, I_L, I_H (amplified by the factor beside it), the
image rebuilt from both, its error, and the log power spectra of I_L and I_H. Over each photo stand
the PSNR, the energy of I_H over that of I_L, and the correlation of I_L with the half-resolution
image. Without photos it takes the first of the run's evaluation split. Prints the file that was
written.
"""

from collections.abc import Sequence

from wae_jax.commands.flags import start
from wae_jax.commands.options import (
    PICTURES,
    Parser,
    add_checkpoint,
    add_data,
    check_out,
    whole_number,
)


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax visualize", description=__doc__)
    add_checkpoint(parser)
    add_data(parser)
    parser.add_argument(
        "--count",
        type=whole_number(1),
        default=8,
        metavar="N",
        help="how many photos at most; default: 8",
    )
    parser.add_argument(
        "--out",
        default="sub_images.png",
        help=f"the picture, {', '.join(PICTURES)}; default: sub_images.png",
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE_OR_FOLDER", help="photos; default: those of --split"
    )
    options = parser.parse_args(argv)
    if options.files and (options.data or options.data_dir or options.split):
        parser.error("photos are named, so --data, --data_dir and --split have no place")
    start(lambda: _visualize(options))


def _visualize(options) -> None:
    check_out("--out", options.out, PICTURES)
    from wae_jax.checkpoints import folders
    from wae_jax.study.sub_images import draw_sub_images

    draw_sub_images(
        folders.find(options.checkpoint),
        options.out,
        files=options.files,
        count=options.count,
        split=options.split,
        data_dir=options.data_dir,
        data_name=options.data,
    )
    print(options.out)
