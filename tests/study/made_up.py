"""Runs that nobody trained, and times that nobody measured."""

import numpy as np

from wae_jax.bench.timing import Timings
from wae_jax.study.measure import Times
from wae_jax.study.runs import Run, as_text

ONE, BATCH = ("jax", 1), ("jax", 32)
RIGHT = {"full": 80, "lowres-112": 60, "lowres-160": 72, "wae": 74, "wae+distill": 76}
MS = {"full": 4.0, "lowres-112": 1.0, "lowres-160": 2.0, "wae": 1.5, "wae+distill": 1.5}


def make_run(variant: str, seed: int = 0, *, right, **changes) -> Run:
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
        "labels": as_text(np.zeros(len(right), int)),
        "predicted": as_text(np.where(right, 0, 1)),
    }
    return Run(**fields | changes)


def chosen_of(right: dict[str, int]) -> dict[str, list[Run]]:
    """A run of each variant, which has so many of 100 images right."""
    images = np.arange(100)
    return {name: [make_run(name, right=images < count)] for name, count in right.items()}


def times_of(ms: dict[str, float], warning: str = "") -> Times:
    """Times with these at batch 1, and a tenth of them per image at batch 32."""
    cells = {
        cell: Timings({name: np.full(4, factor * x) for name, x in ms.items()}, (2,))
        for cell, factor in ((ONE, 1.0), (BATCH, 3.2))
    }
    return Times({"load": {"jax": {"warning": warning}}}, {name: name for name in ms}, cells)
