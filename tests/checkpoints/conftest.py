"""Small checkpoints without a network, and ways to damage them."""

from pathlib import Path

import jax.numpy as jnp
import pytest

from wae_jax.checkpoints import store
from wae_jax.checkpoints.state import TrainState

META = {
    "config": {},
    "stage": "joint",
    "data": None,
    "train_seconds": 1.0,
    "ema": False,
    "teacher": None,
    "origin": None,
    "num_classes": 2,
    "class_names": ["cat", "dog"],
}


def make_state(step: int) -> TrainState:
    return TrainState(
        step=jnp.asarray(step, jnp.int32),
        params={"conv": {"kernel": jnp.full((3, 3, 4, 8), float(step))}},
        batch_stats={"norm": {"mean": jnp.arange(8.0)}},
        opt_state=(jnp.zeros(8), ()),
    )


@pytest.fixture(scope="session")
def checkpoint_meta() -> dict:
    """What describes a small checkpoint."""
    return META


@pytest.fixture(scope="session")
def save_step():
    """Function that saves a checkpoint of a step in a workdir; its directory."""

    def save_step(workdir: Path, step: int, keep: int = 100) -> Path:
        workdir.mkdir(parents=True, exist_ok=True)
        return store.save(workdir, make_state(step), META, keep=keep)

    return save_step


@pytest.fixture(scope="session")
def flip_a_byte():
    """Function that damages a step: one bit in the middle of its largest file of weights."""

    def flip_a_byte(step: Path) -> Path:
        victim = max(
            (p for p in (step / "variables").rglob("*") if p.is_file()),
            key=lambda p: p.stat().st_size,
        )
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
        return victim

    return flip_a_byte
