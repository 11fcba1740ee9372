"""Records of runs that nobody trained."""

import numpy as np
import pytest

from wae_jax.study import runs


def make_run(variant: str, seed: int = 0, *, right, **changes) -> runs.Run:
    """A run whose network has the images right that ``right`` (N,) says; all labels are 0."""
    right = np.asarray(right, bool)
    config = {"data": {"image_size": 224}, "model": {}}
    fields = {
        "variant": variant,
        "seed": seed,
        "finished": "2026-01-01",
        "top1": float(right.mean()),
        "macs": 100,
        "figures": {},
        "stages": [{"name": "joint", "steps": 10, "batch_size": 8, "images_per_s": 40.0}],
        "images_seen": 80,
        "hours": 1 / 360,  # 10 s, of which steps take 2
        "resumed_from_step": 0,
        "teacher": None,
        "load": {"warning": ""},
        "machine": {},
        "differs": {},
        "config": config,
        "labels": runs.as_text(np.zeros(len(right), int)),
        "predicted": runs.as_text(np.where(right, 0, 1)),
    }
    return runs.Run(**fields | changes)


@pytest.fixture(scope="session")
def run_of():
    """Factory of records: ``run_of(variant, seed, right=(N,) bool, **fields)``."""
    return make_run
