"""Trains a classifier, all stages of its config; run again, it continues where it stopped.

    python train.py --config=configs/quickstart.py --workdir=runs/quickstart
    wae-jax train --config=configs/quickstart.py --workdir=runs/quickstart     (the same)

What stands behind the colon of a config file picks a method, as configs/quickstart.py:wae-early.
Any config key can be set as a flag: --config.stages.joint.epochs=3. The last line on stdout is a
JSON object with the results; progress goes to stderr, metrics.jsonl and TensorBoard files to the
workdir.
"""

import json
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from wae_jax.commands.flags import run_with_flags
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file, and behind a colon the method, as configs/vgg16.py:wae.",
    flag_values=FLAGS,
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder for checkpoints, metrics and results.",
    flag_values=FLAGS,
)
_CHANGES = flags.DEFINE_bool(
    "continue_with_changes",
    False,
    "Go on although settings of stages that are not finished have changed; they are logged.",
    flag_values=FLAGS,
)
REQUIRED = ("config", "workdir")


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    run_with_flags(_train, ["wae-jax train", *argv], FLAGS, REQUIRED)


def _train() -> None:
    if not _WORKDIR.value:
        raise UserError("--workdir is empty; name a folder for the run")
    from wae_jax.compress.pipeline import train

    settings = settings_from_config(_CONFIG.value)
    figures = train(settings, _WORKDIR.value, continue_with_changes=_CHANGES.value)
    print(json.dumps(figures), flush=True)
