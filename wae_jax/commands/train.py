"""Trains a classifier, all stages of its config; run again, it continues where it stopped.

    python train.py --config=configs/quickstart.py --workdir=runs/quickstart
    wae-jax train --config=configs/quickstart.py --workdir=runs/quickstart     (the same)

Any config key can be set as a flag: --config.stages.joint.epochs=3. The last line on stdout is a
JSON object with the results; progress goes to stderr, metrics.jsonl and TensorBoard files to the
workdir.
"""

import json
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from wae_jax.commands.flags import run_with_flags

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, as configs/vgg16.py:wae.", flag_values=FLAGS
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder for checkpoints, metrics and results.",
    required=True,
    flag_values=FLAGS,
)
flags.mark_flag_as_required("config", flag_values=FLAGS)


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    run_with_flags(_train, ["wae-jax train", *argv], FLAGS)


def _train() -> None:
    from wae_jax.training.loop import train

    print(json.dumps(train(_CONFIG.value, _WORKDIR.value)), flush=True)
