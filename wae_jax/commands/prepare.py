"""Writes a data set in TFDS's ArrayRecord layout, and prints its folder.

    wae-jax prepare imagenet2012 --train=ILSVRC2012_img_train.tar --val=ILSVRC2012_img_val.tar
    wae-jax prepare tfrecord --in=OLD/imagenet2012/5.1.0 --out=NEW/imagenet2012/5.1.0
    wae-jax prepare folder --in=PHOTOS --name=birds

Stopped, it goes on when the same command is run again.
"""

import os
from collections.abc import Sequence

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, whole_number


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax prepare", description=__doc__)
    # The metavar is what an error calls it.
    kinds = parser.add_subparsers(
        dest="kind", required=True, metavar="{imagenet2012,tfrecord,folder}"
    )

    kind = kinds.add_parser("imagenet2012", help="from the official tars")
    kind.add_argument(
        "--train", default="", help="the tar of the training photos, ILSVRC2012_img_train.tar"
    )
    kind.add_argument(
        "--val", default="", help="the tar of the validation photos, ILSVRC2012_img_val.tar"
    )

    kind = kinds.add_parser("tfrecord", help="from a TFDS data set in TFRecord files")
    kind.add_argument("--in", dest="source", required=True, help="its folder: NAME/VERSION")
    kind.add_argument("--out", required=True, help="the folder to write, also NAME/VERSION")

    kind = kinds.add_parser("folder", help="from photos at IN/SPLIT/CLASS/PHOTO.jpg")
    kind.add_argument("--in", dest="source", required=True, help="the folder with the splits")
    kind.add_argument("--name", required=True, help="name of the data set, for config.data.name")

    for name, kind in kinds.choices.items():
        kind.description = __doc__
        if name != "tfrecord":
            kind.add_argument(
                "--data_dir",
                default="",
                help="where data sets are kept; default: TFDS_DATA_DIR, else ~/tensorflow_datasets",
            )
        kind.add_argument(
            "--workers",
            type=whole_number(1, 1024),
            default=os.cpu_count(),
            metavar="N",
            help="processes that write; default: one per CPU core",
        )
    options = parser.parse_args(argv)
    start(lambda: _prepare(options))


def _prepare(options) -> None:
    from wae_jax.data import prepare

    if options.kind == "imagenet2012":
        folder = prepare.prepare_imagenet2012(
            options.train, options.val, data_dir=options.data_dir, workers=options.workers
        )
    elif options.kind == "tfrecord":
        folder = prepare.convert_tfrecord(options.source, options.out, workers=options.workers)
    else:
        folder = prepare.prepare_folder(
            options.source, options.name, data_dir=options.data_dir, workers=options.workers
        )
    print(folder)
