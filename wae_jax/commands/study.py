"""Trains variants of a config with the same budget, and sets their accuracy and speed side by side.

    wae-jax study --config=configs/quickstart.py --variants=full,lowres,wae --workdir=runs/study
    wae-jax study --workdir=runs/study --only=report --compare=lowres,wae

The first variant is what speed-ups are relative to; NAME+distill is NAME taught by the first of the
same seed, or by --teacher. NAME+taylor-2x is the run NAME made smaller and trained on (+thinet-0.5,
+tucker, +cp-3.4x and others: docs/compress.md), NAME+int8 is that of NAME quantised. Every finished
run leaves its record, WORKDIR/VARIANT-SEED.json. Run again, the study continues where it stopped;
with other variants or seeds it adds to the folder.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from wae_jax.commands.config_files import load_config_file, words
from wae_jax.commands.flags import read_config, start
from wae_jax.commands.options import Parser, check_out, names, whole_number
from wae_jax.config import Settings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.runtime import process

OVERRIDE = "--config."  # KEY=VALUE, for all variants alike
STEPS = ("train", "measure", "report")


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax study", description=__doc__)
    parser.add_argument(
        "--config",
        default="",
        help="config file, without a variant; its keys can be set as for train.py",
    )
    parser.add_argument(
        "--variants",
        default=(),
        type=names,
        help="what to train, comma-separated, as full,lowres,wae; default with --only=measure or "
        "report: all in the folder",
    )
    parser.add_argument(
        "--seeds",
        default=(),
        type=_seeds,
        help="comma-separated; default: 0, with --only=measure or report all in the folder",
    )
    parser.add_argument("--workdir", required=True, help="each run gets a folder in it")
    parser.add_argument(
        "--only",
        default="",
        choices=STEPS,
        help="train: no times and no table; measure: time all finished runs of the folder again, "
        "then report; report: the table from what the folder has",
    )
    parser.add_argument(
        "--teacher",
        default="",
        help="a checkpoint that teaches every NAME+distill; default: the first "
        "variant of the same seed",
    )
    parser.add_argument(
        "--seconds",
        type=whole_number(1),
        default=0,
        help="how long each batch size is timed; default: 4",
    )
    parser.add_argument(
        "--runtimes",
        default=("jax",),
        type=names,
        help="where networks are timed, comma-separated, of jax, onnxruntime, openvino; "
        "default: jax",
    )
    parser.add_argument(
        "--csv",
        default="",
        help="file for the table; NAME.env.json and the picture NAME.png go beside it; "
        "default: WORKDIR/results.csv",
    )
    parser.add_argument(
        "--compare", default=(), type=_pair, help="A,B: McNemar's test of two variants' errors"
    )
    parser.add_argument(
        "--picture_of", default="", help="variant to draw, into WORKDIR/sub_images.png"
    )
    overrides = [argument for argument in argv if argument.startswith(OVERRIDE)]
    options = parser.parse_args([argument for argument in argv if argument not in overrides])
    options.overrides = overrides
    if options.only in ("", "train"):
        for option in ("config", "variants"):
            if not getattr(options, option):
                parser.error(f"--{option} is needed for training")
    start(lambda: _study(options))


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(map(whole_number(0), names(text)))
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"a seed is there twice in {text!r}")
    return seeds


def _pair(text: str) -> tuple[str, ...]:
    pair = names(text)
    if len(pair) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} does not name two variants")
    return pair


def _study(options) -> None:
    if options.csv:
        check_out("--csv", options.csv)
    process.call_on_own_thread()
    from wae_jax.study import measure, runs

    if options.only in ("", "train"):
        _train(options)
        if options.only == "train":
            return
    found = runs.read_all(options.workdir)
    chosen = runs.select(found, options.variants, options.seeds, options.workdir)
    _check_names(options, chosen)
    if options.only == "report":
        times = measure.read_times(options.workdir)
    else:
        times = measure.measure(options.workdir, found, options.seconds, options.runtimes)
    _report(options, chosen, times)


def _train(options) -> None:
    """Checks all options against the variants, then trains what is not finished."""
    from wae_jax.study.study import run_study
    from wae_jax.study.sub_images import check_two_sub_images
    from wae_jax.study.variants import split, with_steps

    module = load_config_file(options.config)
    variants = {
        variant: with_steps(_settings(module, split(variant)[0], options), variant)
        for variant in options.variants
    }
    _check_names(options, variants)
    if options.picture_of:
        check_two_sub_images(
            variants[options.picture_of].model, f"--picture_of: {options.picture_of}"
        )
    options.seeds = options.seeds or (0,)
    run_study(variants, options.seeds, options.workdir, teacher=options.teacher)


def _check_names(options, variants) -> None:
    """Raises UserError where an option names a variant that is not there."""
    if options.picture_of and options.picture_of not in variants:
        raise UserError(f"--picture_of={options.picture_of} is none of --variants")
    for name in options.compare:
        if name not in variants:
            raise UserError(f"--compare: {name} is none of --variants")


def _report(options, chosen, times) -> None:
    """Writes and prints what is asked for of the chosen runs."""
    from wae_jax.checkpoints import folders
    from wae_jax.study import report
    from wae_jax.study.plot import plot_rows
    from wae_jax.study.rows import make_rows
    from wae_jax.study.sub_images import draw_sub_images

    rows = make_rows(chosen, times)
    warnings = report.warnings(chosen, times)
    last = next(reversed(chosen.values()))[-1]
    record = times.environment if times else last.machine
    csv = Path(options.csv or Path(options.workdir) / "results.csv")
    report.write_csv(rows, {**record, "warnings": warnings}, csv)
    if times and any(row.variant in times.timed_as for row in rows):
        plot_rows(rows, csv.with_suffix(".png"))
        print(f"accuracy against time: {csv.with_suffix('.png')}")
    if options.picture_of:
        picture = Path(options.workdir) / "sub_images.png"
        run = chosen[options.picture_of][0]
        draw_sub_images(folders.find(str(Path(options.workdir) / run.name)), str(picture))
        print(f"sub-images of {options.picture_of}: {picture}")
    print(f"figures: {csv}\n\n{report.table(rows)}")
    notes = report.compare(chosen, *options.compare) if options.compare else []
    for note in (*notes, *(f"WARNING: {text}" for text in warnings)):
        print(f"\n{note}")


def _settings(module: ModuleType, variant: str, options) -> Settings:
    """Of one variant; all that can be wrong in a config is found here."""
    try:
        config = module.get_config(variant)
    except ValueError as error:
        raise UserError(f"--variants: {error}") from error
    except Exception as error:
        raise UserError(f"the config of {variant} fails: {words(error)}") from error
    if options.overrides:
        config = read_config(f"{options.config}:{variant}", options.overrides)
    return settings_from_config(config)
