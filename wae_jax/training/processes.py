"""What the processes of one run must have in common."""

import json

import jax
import numpy as np
from jax.experimental import multihost_utils

from wae_jax.config import Settings, as_dict, settings_from_config
from wae_jax.errors import UserError
from wae_jax.schema.trees import differences

# Keys that say where a process is and what it has; all others must be alike in all of them.
OWN_KEYS = ("parallel.process_id", "data.data_dir", "data.cache_dir", "data.workers")


def check_same_settings(settings: Settings) -> None:
    """Compares this process's settings with those of process 0, in all processes at once.

    Raises:
        UserError: those of any process differ; in every process, so that none waits for the others.
    """
    if jax.process_count() == 1:
        return
    own = np.frombuffer(json.dumps(as_dict(settings)).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(own)))).reshape(-1)
    padded = np.pad(own, (0, int(sizes.max()) - len(own)))
    texts = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    every = [
        settings_from_config(json.loads(text[:size].tobytes()))
        for text, size in zip(texts, sizes, strict=True)
    ]
    wrong = []
    for process, theirs in enumerate(every):
        for key, (first, other) in differences(every[0], theirs).items():
            if key not in OWN_KEYS:
                wrong.append(f"{key} ({first!r} in process 0, {other!r} in process {process})")
    if wrong:
        raise UserError(
            f"the processes of this run have different configs: {', '.join(wrong[:3])}; start all "
            "with the same"
        )


def all_arrived(where: str) -> None:
    """Waits until every process of the run has called this."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)
