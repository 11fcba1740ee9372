"""Picture of a checkpoint's sub-images: I, I_L, I_H and the image rebuilt from them.

    wae-jax visualize --checkpoint=runs/quickstart --out=sub_images.png

Prints the file that was written.
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
    parser.add_argument("--count", type=whole_number(1), default=8, help="how many images")
    parser.add_argument(
        "--out", default="sub_images.png", help=f"the picture: {', '.join(PICTURES)}"
    )
    options = parser.parse_args(argv)
    start(lambda: _visualize(options))


def _visualize(options) -> None:
    check_out("--out", options.out, PICTURES)
    from wae_jax.checkpoints import folders
    from wae_jax.study.sub_images import draw_sub_images

    draw_sub_images(
        folders.find(options.checkpoint),
        options.out,
        count=options.count,
        split=options.split,
        data_dir=options.data_dir,
        data_name=options.data,
    )
    print(options.out)
