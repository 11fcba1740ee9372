"""One optimiser step of a method's last stage, as a job to time."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.bench.macs import count_macs
from wae_jax.bench.measure import Job, compile_ahead, count_params, random_images
from wae_jax.bench.networks import Network
from wae_jax.checkpoints.state import TrainState, new_state
from wae_jax.runtime.devices import compiler_options
from wae_jax.training.optim import make_optimizer
from wae_jax.training.stages import Stage, stage_labels
from wae_jax.training.steps import make_train_step

# However long a run is timed, its weights stay about where they were, and finite.
STILL = 1e-6


def example_batch(network: Network, batch_size: int) -> dict[str, np.ndarray]:
    """Random images and labels as the loaders give them."""
    labels = np.random.default_rng(1).integers(0, network.num_classes, batch_size)
    return {
        "image": random_images(batch_size, network.image_size),
        "label": labels.astype(np.int32),
        "mask": np.ones(batch_size, np.float32),
    }


def make_step(network: Network, *, learning_rate: float = STILL) -> tuple[Callable, TrainState]:
    """``(step, state)`` of the config's last stage, with a constant learning rate."""
    name, settings = network.settings.running_stages[-1]
    settings = dataclasses.replace(
        settings,
        learning_rate=learning_rate,
        rate_scaling="none",
        schedule="constant",
        warmup_epochs=0.0,
    )
    stage = Stage(name, settings, index=0, first_step=0, last_step=1, steps_per_epoch=1.0)
    variables = jax.tree.map(jnp.array, network.trained_variables)
    labels = stage_labels(variables["params"], stage.settings)
    optimizer = make_optimizer(stage, labels)
    state = new_state(variables, ema=network.settings.ema_decay > 0)
    step = make_train_step(
        network.trained_model,
        settings,
        network.settings.losses,
        optimizer,
        labels,
        seed=network.settings.seed,
        ema_decay=network.settings.ema_decay,
    )
    return step, state.replace(opt_state=optimizer.init(state.params))


@dataclasses.dataclass
class Trainer:
    """A compiled step and the state that it goes on with; calling it makes one step."""

    run: Callable
    state: TrainState
    batch: Any

    def __call__(self) -> dict[str, jax.Array]:
        """The step's metrics."""
        self.state, metrics = self.run(self.state, self.batch)
        return metrics


def train_job(network: Network, device: jax.Device) -> Job:
    """A training step with the stage's own batch size; its MACs are those of the step."""
    settings = network.settings.running_stages[-1][1]
    size = settings.batch_size
    step, state = make_step(network)
    state, batch = jax.device_put((state, example_batch(network, size)), device)
    options = compiler_options(device, settings.rematerialise)
    program = compile_ahead(step, state, batch, donate_argnums=0, compiler_options=options)
    macs = count_macs(step, state, batch).total // size
    return Job(
        "train_step",
        network,
        size,
        Trainer(program.run, state, batch),
        program,
        count_params(state.params),
        macs,
    )
