"""Parts and layers of a network: output shapes, parameters and MACs, before anything is trained.

    wae-jax summary --config=configs/resnet50.py:wae-fast --depth=2
    wae-jax summary --checkpoint=runs/quickstart

The table has the network as it trains, the decoder included; a line of a part is the sum of those
in it. Below are the totals of the inference form, as the benchmark counts them, and how many MACs
full resolution takes. No weight is allocated. Config keys can be set as for train.py.
"""

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
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "In place of a config: a workdir or one checkpoint step.", flag_values=FLAGS
)
_DEPTH = flags.DEFINE_integer(
    "depth",
    None,
    "How deep to go, 1: the parts alone; default: down to the layers.",
    lower_bound=1,
    flag_values=FLAGS,
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    0,
    "Classes of the network; 0: as many as the config's data set, or the checkpoint, has.",
    lower_bound=0,
    flag_values=FLAGS,
)


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    run_with_flags(_summary, ["wae-jax summary", *argv], FLAGS)


def _summary() -> None:
    if (_CONFIG.value is None) == (_CHECKPOINT.value is None):
        raise UserError("name either --config or --checkpoint")
    from wae_jax.bench.networks import class_count
    from wae_jax.bench.summary import summarise

    if _CHECKPOINT.value is None:
        settings = settings_from_config(_CONFIG.value)
        num_classes = _NUM_CLASSES.value or class_count(settings.data)
    else:
        from wae_jax.checkpoints import folders, store

        meta = store.read_meta(folders.find(_CHECKPOINT.value))
        settings = settings_from_config(meta["config"])
        num_classes = _NUM_CLASSES.value or meta["num_classes"]
    print(summarise(settings, num_classes).as_text(_DEPTH.value))
