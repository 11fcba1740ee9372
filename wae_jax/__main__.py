"""python -m wae_jax COMMAND; see --help."""

import argparse
import json
import os
import sys
from pathlib import Path

from wae_jax.commands.flags import run_with_flags, start
from wae_jax.config import default_config, settings_from_config
from wae_jax.methods import set_method
from wae_jax.runtime.console import fail


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option as one line."""

    def error(self, message):
        fail(f"{message}; see {self.prog} --help")


def _evaluate(args) -> None:
    from wae_jax.evaluation.evaluator import evaluate_checkpoint

    print(
        json.dumps(
            evaluate_checkpoint(
                args.checkpoint,
                split=args.split,
                data_dir=args.data_dir,
                data_name=args.data,
                bad_records=args.bad_records,
            )
        )
    )


def _predict(args) -> None:
    from wae_jax.evaluation.predict import predict_files

    for prediction in predict_files(args.checkpoint, args.files, top=args.top):
        print(prediction.as_json() if args.json else prediction.as_text(), flush=True)


def _import_weights(args) -> None:
    from wae_jax.pretrained import checkpoint, import_network

    checkpoint.check_out(args.out)
    labels = checkpoint.read_labels(args.labels) if args.labels else ()
    settings = settings_from_config(set_method(default_config(), "full"))
    imported = import_network(args.source, args.model, args.file, settings.model)
    checkpoint.write_checkpoint(checkpoint.with_labels(imported, labels), settings, args.out)
    for line in imported.report:
        print(line, file=sys.stderr)
    print(args.out)


def _visualize(args) -> None:
    from wae_jax.checkpoints import folders
    from wae_jax.study.sub_images import draw_sub_images

    draw_sub_images(folders.find(args.checkpoint), args.out, count=args.count, split=args.split)
    print(args.out)


def _study(args) -> None:
    from wae_jax.checkpoints import folders
    from wae_jax.study import study
    from wae_jax.study.sub_images import draw_sub_images

    variants = args.variants.split(",")
    rows = study.run_study(
        args.config, variants, [int(s) for s in args.seeds.split(",")], args.workdir
    )
    csv = Path(args.csv or Path(args.workdir) / "results.csv")
    csv.parent.mkdir(parents=True, exist_ok=True)
    study.write_csv(rows, csv)
    if args.picture_of:
        run = Path(args.workdir) / f"{args.picture_of}-{args.seeds.split(',')[0]}"
        picture = Path(args.workdir) / "sub_images.png"
        draw_sub_images(folders.find(str(run)), str(picture))
        print(f"sub-images of {args.picture_of}: {picture}")
    print(f"figures: {csv}\n\n{study.table(rows)}")


def _prepare(args) -> None:
    from wae_jax.data import prepare

    if args.kind == "imagenet2012":
        folder = prepare.prepare_imagenet2012(
            args.train, args.val, data_dir=args.data_dir, workers=args.workers
        )
    elif args.kind == "tfrecord":
        folder = prepare.convert_tfrecord(args.source, args.out, workers=args.workers)
    else:
        folder = prepare.prepare_folder(
            args.source, args.name, data_dir=args.data_dir, workers=args.workers
        )
    print(folder)


def _add_prepare(commands) -> None:
    command = commands.add_parser("prepare", help="write a data set in TFDS's ArrayRecord layout")
    kinds = command.add_subparsers(dest="kind", required=True, parser_class=_Parser)

    kind = kinds.add_parser("imagenet2012", help="from the official tars")
    kind.add_argument("--train", default="", help="ILSVRC2012_img_train.tar")
    kind.add_argument("--val", default="", help="ILSVRC2012_img_val.tar")

    kind = kinds.add_parser("tfrecord", help="from a TFDS data set in TFRecord files")
    kind.add_argument("--in", dest="source", required=True, help="its folder: NAME/VERSION")
    kind.add_argument("--out", required=True, help="the folder to write, also NAME/VERSION")

    kind = kinds.add_parser("folder", help="from photos at IN/SPLIT/CLASS/PHOTO.jpg")
    kind.add_argument("--in", dest="source", required=True, help="the folder with the splits")
    kind.add_argument("--name", required=True, help="name of the data set, for config.data.name")

    for name, kind in kinds.choices.items():
        if name != "tfrecord":
            kind.add_argument(
                "--data_dir", default="", help="default: TFDS_DATA_DIR, else ~/tensorflow_datasets"
            )
        kind.add_argument(
            "--workers",
            type=int,
            choices=range(1, 1025),
            metavar="N",
            default=os.cpu_count(),
            help="default: one per CPU core",
        )
    command.set_defaults(run=_prepare)


def main() -> None:
    """Parses the command line and runs one command."""
    parser = _Parser(prog="python -m wae_jax", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    command = commands.add_parser("evaluate", help="accuracy of a checkpoint on a whole split")
    command.add_argument("--checkpoint", required=True, help="a workdir or one checkpoint step")
    command.add_argument("--split", default="", help="default: the run's evaluation split")
    command.add_argument("--data_dir", default="", help="where the TFDS data sets are")
    command.add_argument("--data", default="", help="another data set; default: the run's own")
    command.add_argument("--bad_records", default="", help="error or skip; default: as the run")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("predict", help="classes of image files")
    command.add_argument("--checkpoint", required=True, help="a workdir or one checkpoint step")
    command.add_argument("--top", type=int, default=5, help="how many classes of each image")
    command.add_argument("--json", action="store_true", help="one JSON object per image")
    command.add_argument("files", nargs="+", metavar="FILE_OR_FOLDER")
    command.set_defaults(run=_predict)

    command = commands.add_parser("import-weights", help="weights of other libraries: a checkpoint")
    command.add_argument("--source", required=True, help="torchvision, timm, keras or caffe")
    command.add_argument("--model", required=True, help="the source's name, as resnet50")
    command.add_argument("--in", required=True, dest="file", help="the file of weights")
    command.add_argument("--out", required=True, help="the folder to write")
    command.add_argument("--labels", default="", help="class names: a line each, or JSON")
    command.set_defaults(run=_import_weights)

    command = commands.add_parser("visualize", help="picture of a checkpoint's sub-images")
    command.add_argument("--checkpoint", required=True, help="a workdir or one checkpoint step")
    command.add_argument("--out", default="sub_images.png", help="the PNG to write")
    command.add_argument("--count", type=int, default=8, help="how many images")
    command.add_argument("--split", default="", help="default: the run's evaluation split")
    command.set_defaults(run=_visualize)

    command = commands.add_parser("study", help="train variants of a config and compare them")
    command.add_argument("--config", required=True, help="config file, without a variant")
    command.add_argument(
        "--variants",
        required=True,
        help="comma-separated; the first is the base, and teaches NAME+distill",
    )
    command.add_argument("--seeds", default="0", help="comma-separated")
    command.add_argument("--workdir", required=True, help="each run gets a folder in it")
    command.add_argument("--csv", default="", help="default: WORKDIR/results.csv")
    command.add_argument("--picture_of", default="", help="variant to draw, into sub_images.png")
    command.set_defaults(run=_study)

    _add_prepare(commands)

    commands.add_parser("data-bench", help="speed of the input pipeline", add_help=False)

    if sys.argv[1:2] == ["data-bench"]:
        from wae_jax.bench import data_bench

        # It takes --config.KEY=VALUE as train.py does.
        run_with_flags(data_bench.main, ["data-bench", *sys.argv[2:]], data_bench.FLAGS)
        return
    args = parser.parse_args()
    start(lambda: args.run(args))


if __name__ == "__main__":
    sys.exit(main())
