"""Measures the input pipeline that training with a config would use.

    wae-jax data-bench --config=configs/vgg16.py --config.data.name=photos_500x375

Prints images/s, MB/s of encoded images and the peak memory of the real loader, with threads and
with worker processes in turn, and the time of each part on one core. --peer=torchvision reads the
same photos through ImageFolder and DataLoader with Pillow, in the same run.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from wae_jax.commands.flags import run_with_flags
from wae_jax.commands.options import check_out
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, as for train.py.", flag_values=FLAGS
)
_SECONDS = flags.DEFINE_float("seconds", 40.0, "Measuring time, for all rows.", flag_values=FLAGS)
_WORKERS = flags.DEFINE_list(
    "workers",
    [],
    "Numbers of worker processes to measure, 0: threads. Default: 0 and the number of cores.",
    flag_values=FLAGS,
)
_PEER = flags.DEFINE_enum(
    "peer", None, ["torchvision"], "Also measure this one.", flag_values=FLAGS
)
_JSON = flags.DEFINE_string("json", None, "File for everything measured.", flag_values=FLAGS)
_CSV = flags.DEFINE_string(
    "csv", None, "File for the rows; NAME.env.json is written beside it.", flag_values=FLAGS
)
REQUIRED = ("config",)


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    run_with_flags(_data_bench, ["wae-jax data-bench", *argv], FLAGS, REQUIRED)


def _data_bench() -> None:
    for option, path in (("--json", _JSON.value), ("--csv", _CSV.value)):
        if path:
            check_out(option, path)
    if not _SECONDS.value > 0:
        raise UserError(f"--seconds is {_SECONDS.value:g}; it must be above 0")
    settings = settings_from_config(_CONFIG.value)
    import jax

    from wae_jax.bench.data_bench import as_text, run_data_bench
    from wae_jax.bench.environment import environment
    from wae_jax.runtime import tables
    from wae_jax.runtime.files import write_atomically
    from wae_jax.runtime.machine import usable_cores

    try:
        workers = tuple(int(n) for n in _WORKERS.value) or (0, usable_cores())
    except ValueError as error:
        raise UserError(f"--workers takes whole numbers: {error}") from error
    record = environment(jax.devices("cpu")[0])
    rows, parts = run_data_bench(
        settings.data,
        settings.running_stages[-1][1].batch_size,
        seconds=_SECONDS.value,
        workers=workers,
        peer=_PEER.value,
    )
    table = [dataclasses.asdict(row) for row in rows]
    if _JSON.value:
        everything = {
            "environment": record,
            "rows": table,
            "parts": [dataclasses.asdict(part) for part in parts],
        }
        write_atomically(Path(_JSON.value), json.dumps(everything, indent=1) + "\n")
    if _CSV.value:
        tables.write_csv(Path(_CSV.value), table, record)
    print(as_text(rows, parts), flush=True)
