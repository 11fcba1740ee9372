"""What a checkpoint costs the steps beside it: one run in blocks of steps, one in turn with a save.

    python tools/checkpoint_cost.py --config=configs/quickstart.py

A block begins with the step after which the checkpoint is due, so that its writing in the
background is in the block. Prints one JSON object: the time of a step, how much longer a block with
a checkpoint takes than the mean of its two neighbours (median and 95 % interval), and what share of
50 steps that is.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from wae_jax.runtime import process  # noqa: E402

process.configure()

from wae_jax.training import loop, saving  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", str(ROOT / "configs" / "quickstart.py"))
_WORKDIR = flags.DEFINE_string("workdir", "/tmp/checkpoint_cost", "Removed before and after.")
_EVERY = flags.DEFINE_integer("every", 10, "Steps in a block.")
_BLOCKS = flags.DEFINE_integer("blocks", 49, "How many blocks.")


class _EverySecond(saving.Wishes):
    """Saves after every second block, and notes when each step was on its way."""

    times: list[float] = []  # noqa: RUF012

    def look(self, step: int) -> bool:
        self.times.append(time.perf_counter())
        return step % (2 * _EVERY.value) == _EVERY.value


def main(_) -> None:
    """Measures, and prints what was found."""
    logging.set_verbosity(logging.ERROR)
    shutil.rmtree(_WORKDIR.value, ignore_errors=True)
    config, every = _CONFIG.value, _EVERY.value
    stage = config.run_stages[-1]
    config.run_stages = (stage,)
    config.stages[stage].steps = every * (_BLOCKS.value + 1)
    config.data.eval_split = "test[:100]"
    config.checkpoint_every = config.log_every = 10**9
    loop.Wishes = _EverySecond
    try:
        loop.train(config, _WORKDIR.value)
    finally:
        shutil.rmtree(_WORKDIR.value, ignore_errors=True)
    blocks = 1000 * np.diff(_EverySecond.times[every - 1 :: every])
    saved, plain = blocks[0::2], blocks[1::2]  # the first block, with compilation, is no part
    count = min(len(saved) - 1, len(plain) - 1)
    costs = saved[1 : count + 1] - (plain[:count] + plain[1 : count + 1]) / 2
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(costs, (10_000, count)), axis=1)
    step = float(np.median(plain)) / every
    low, cost, high = (
        float(x)
        for x in (np.percentile(medians, 2.5), np.median(costs), np.percentile(medians, 97.5))
    )
    figures = {
        "ms_per_step": round(step, 2),
        "batch_size": config.stages[stage].batch_size,
        "checkpoints": count,
        "ms_per_checkpoint": round(cost, 1),
        "interval": [round(low, 1), round(high, 1)],
        "share_of_50_steps": round(cost / (50 * step), 4),
        "share_interval": [round(low / (50 * step), 4), round(high / (50 * step), 4)],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
