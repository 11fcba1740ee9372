"""Trains variants of a config with the same budget, and sets their accuracy and speed side by side.

    wae-jax study --config=configs/quickstart.py --variants=full,lowres,wae --workdir=runs/study

The first variant is what speed-ups are relative to; NAME+distill is NAME taught by the first. Run
again, it continues where it stopped.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser, check_out, names, whole_number
from wae_jax.config import Settings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.runtime import process


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax study", description=__doc__)
    parser.add_argument("--config", required=True, help="config file, without a variant")
    parser.add_argument("--variants", required=True, type=names, help="comma-separated")
    parser.add_argument("--seeds", default=(0,), type=_seeds, help="comma-separated; default: 0")
    parser.add_argument("--workdir", required=True, help="each run gets a folder in it")
    parser.add_argument(
        "--csv", default="", help="NAME.env.json goes beside it; default: WORKDIR/results.csv"
    )
    parser.add_argument(
        "--picture_of", default="", help="variant to draw, into WORKDIR/sub_images.png"
    )
    options = parser.parse_args(argv)
    start(lambda: _study(options))


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(map(whole_number(0), names(text)))
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"a seed is there twice in {text!r}")
    return seeds


def _study(options) -> None:
    if options.csv:
        check_out("--csv", options.csv)
    process.call_on_own_thread()
    from wae_jax.bench.environment import environment, pick_device
    from wae_jax.checkpoints import folders
    from wae_jax.study import study
    from wae_jax.study.sub_images import check_two_sub_images, draw_sub_images

    module = load_config_file(options.config)
    variants = {
        variant: _settings(module, variant.removesuffix(study.DISTILLED))
        for variant in options.variants
    }
    if options.picture_of:
        if options.picture_of not in variants:
            raise UserError(f"--picture_of={options.picture_of} is none of --variants")
        check_two_sub_images(
            variants[options.picture_of].model, f"--picture_of: {options.picture_of}"
        )
    record = environment(pick_device(""))
    rows = study.run_study(variants, options.seeds, options.workdir)
    csv = Path(options.csv or Path(options.workdir) / "results.csv")
    study.write_csv(rows, record, csv)
    if options.picture_of:
        run = study.folder_of(options.workdir, options.picture_of, options.seeds[0])
        picture = Path(options.workdir) / "sub_images.png"
        draw_sub_images(folders.find(run), str(picture))
        print(f"sub-images of {options.picture_of}: {picture}")
    print(f"figures: {csv}\n\n{study.table(rows)}")


def load_config_file(path: str) -> ModuleType:
    """The module of a config file.

    Raises:
        UserError: There is no such file, it fails, or it has no ``get_config``.
    """
    if not Path(path).is_file():
        raise UserError(f"no config file {path}")
    spec = importlib.util.spec_from_file_location("study_config", path)
    if spec is None or spec.loader is None:
        raise UserError(f"the config file {path} does not end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"the config file {path} fails: {_words(error)}") from error
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} has no get_config function")
    return module


def _settings(module: ModuleType, variant: str) -> Settings:
    """Of one variant; all that can be wrong in a config is found here."""
    try:
        config = module.get_config(variant)
    except ValueError as error:
        raise UserError(f"--variants: {error}") from error
    except Exception as error:
        raise UserError(f"the config of {variant} fails: {_words(error)}") from error
    return settings_from_config(config)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
