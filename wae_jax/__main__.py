"""python -m wae_jax COMMAND: evaluate, visualize, study."""

import argparse
import json
import sys
from pathlib import Path

from wae_jax import cli


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option as one line."""

    def error(self, message):
        cli.fail(f"{message}; see {self.prog} --help")


def _evaluate(args) -> None:
    from wae_jax.evaluate import evaluate_checkpoint

    print(json.dumps(evaluate_checkpoint(args.checkpoint, split=args.split,
                                         data_dir=args.data_dir)))


def _visualize(args) -> None:
    from wae_jax import checkpoints
    from wae_jax.visualize import draw_sub_images

    draw_sub_images(checkpoints.find(args.checkpoint), args.out, count=args.count,
                    split=args.split)
    print(args.out)


def _study(args) -> None:
    from wae_jax import checkpoints, study
    from wae_jax.visualize import draw_sub_images

    variants = args.variants.split(",")
    rows = study.run_study(args.config, variants, [int(s) for s in args.seeds.split(",")],
                           args.workdir)
    csv = Path(args.csv or Path(args.workdir) / "results.csv")
    csv.parent.mkdir(parents=True, exist_ok=True)
    study.write_csv(rows, csv)
    if args.picture_of:
        run = Path(args.workdir) / f"{args.picture_of}-{args.seeds.split(',')[0]}"
        picture = Path(args.workdir) / "sub_images.png"
        draw_sub_images(checkpoints.find(str(run)), str(picture))
        print(f"sub-images of {args.picture_of}: {picture}")
    print(f"figures: {csv}\n\n{study.table(rows)}")


def main() -> None:
    """Parses the command line and runs one command."""
    parser = _Parser(prog="python -m wae_jax", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    command = commands.add_parser("evaluate", help="accuracy of a checkpoint on a whole split")
    command.add_argument("--checkpoint", required=True, help="a workdir or one checkpoint step")
    command.add_argument("--split", default="", help="default: the run's evaluation split")
    command.add_argument("--data_dir", default="", help="where the TFDS data sets are")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("visualize", help="picture of a checkpoint's sub-images")
    command.add_argument("--checkpoint", required=True, help="a workdir or one checkpoint step")
    command.add_argument("--out", default="sub_images.png", help="the PNG to write")
    command.add_argument("--count", type=int, default=8, help="how many images")
    command.add_argument("--split", default="", help="default: the run's evaluation split")
    command.set_defaults(run=_visualize)

    command = commands.add_parser("study", help="train variants of a config and compare them")
    command.add_argument("--config", required=True, help="config file, without a variant")
    command.add_argument("--variants", required=True, help="comma-separated; the first is the base")
    command.add_argument("--seeds", default="0", help="comma-separated")
    command.add_argument("--workdir", required=True, help="each run gets a folder in it")
    command.add_argument("--csv", default="", help="default: WORKDIR/results.csv")
    command.add_argument("--picture_of", default="", help="variant to draw, into sub_images.png")
    command.set_defaults(run=_study)

    args = parser.parse_args()
    cli.start(lambda: args.run(args))


if __name__ == "__main__":
    sys.exit(main())
