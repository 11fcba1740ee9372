"""The same networks in PyTorch, timed in the same run as ours.

PyTorch runs eagerly with channels_last tensors, under ``inference_mode``, from the same weights of
the same inference form, with as many threads as XLA has. Both must give the same scores (or the
same losses of two training steps) before anything is timed. The two libraries have thread pools of
their own, and OpenMP's threads spin for a while after their work, so every call waits 10 ms first.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from wae_jax.bench.environment import cpu_threads
from wae_jax.bench.measure import BASE, Job, compile_ahead, random_images
from wae_jax.bench.networks import Network
from wae_jax.bench.timing import time_in_passes
from wae_jax.bench.torch_network import TorchTwin, has_twin, import_torch
from wae_jax.bench.training import Trainer, example_batch, make_step
from wae_jax.errors import UserError
from wae_jax.progress import say

__all__ = ["PeerRow", "compare", "import_torch"]

PAUSE = 0.01  # seconds before each call
SCORES_TOLERANCE = 1e-4  # of the largest score
LOSS_TOLERANCE = 1e-3
CHECK_RATE = 0.01  # learning rate of the training steps that must agree


@dataclasses.dataclass(frozen=True)
class PeerRow:
    """scope: "model" or "train_step". Times are medians of a call with the whole batch.

    ratio: JAX time over PyTorch time with its 95 % interval; below 1 ours is faster.
    difference: largest, relative to the largest score (or to the loss).
    """

    scope: str
    method: str
    batch_size: int
    threads: int
    jax_ms: float
    torch_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    difference: float


def compare(jobs: Sequence[Job], device: jax.Device, *, seconds: float) -> list[PeerRow]:
    """Times each float32 job of scope "model", and the training step of "full", in both libraries.

    seconds: for each job.

    Raises:
        UserError: PyTorch is missing, the device is no CPU, or the two do not compute the same.
    """
    torch = import_torch()
    if device.platform != "cpu":
        raise UserError("--peer compares on the CPU; add --devices=cpu")
    torch.set_num_threads(cpu_threads())
    cells, differences = {}, {}
    for job in jobs:
        network = job.network
        if network.dtype != "float32":
            continue
        if not has_twin(network.model):
            say(f"no PyTorch twin of {network.method}: left out of the comparison")
            continue
        key = job.scope, network.method, job.batch_size
        if job.scope == "model":
            cells[key], differences[key] = _inference(job)
        elif job.scope == "train_step" and network.method == BASE:
            cells[key], differences[key] = _training(network, job.batch_size, device)
    timings = time_in_passes(cells, seconds=seconds, pause=PAUSE)
    return [PeerRow(*key, cpu_threads(), timing.median("jax"), timing.median("torch"),
                    *timing.speedup("jax", "torch"), differences[key])
            for key, timing in timings.items()]


def _inference(job: Job) -> tuple[dict[str, Callable], float]:
    """(calls of both, largest relative difference of their scores)."""
    torch, network = import_torch(), job.network
    twin = TorchTwin(network.model, network.variables)
    images = torch.from_numpy(random_images(job.batch_size, network.image_size))

    def run():
        with torch.inference_mode():
            return twin(images)

    ours, theirs = np.asarray(job.call()), run().numpy()
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    _check(network.method, "scores", difference, SCORES_TOLERANCE)
    return {"jax": job.call, "torch": run}, difference


def _check(method: str, what: str, difference: float, tolerance: float) -> None:
    if not difference <= tolerance:  # also where it is no number
        raise UserError(f"PyTorch and JAX do not compute the same {what} for {method}: relative "
                        f"difference {difference:.1e}, allowed {tolerance:.0e}; not timed")


def _training(network: Network, batch_size: int,
              device: jax.Device) -> tuple[dict[str, Callable], float]:
    """As :func:`_inference`, for training steps; without dropout, which no two libraries share."""
    head = network.trained_model.head_low.clone(dropout=0.0)
    network = dataclasses.replace(network,
                                  trained_model=network.trained_model.clone(head_low=head))
    step, state = make_step(network, learning_rate=CHECK_RATE)
    state, batch = jax.device_put((state, example_batch(network, batch_size)), device)
    run = compile_ahead(step, state, batch, donate_argnums=0).run
    ours, theirs = Trainer(run, state, batch), _torch_trainer(network, batch_size)
    difference = 0.0
    for _ in range(2):  # the second loss shows whether gradients and optimiser agree
        a, b = float(ours()["loss"]), float(theirs())
        difference = max(difference, abs(a - b) / abs(b))
    _check(network.method, "losses", difference, LOSS_TOLERANCE)
    return {"jax": ours, "torch": theirs}, difference


def _torch_trainer(network: Network, batch_size: int) -> Callable:
    """Function that makes one step and returns its loss: cross-entropy and SGD with momentum."""
    torch, stage = import_torch(), network.settings.stages[-1]
    if stage.optimizer != "sgd" or stage.clip_norm:
        raise UserError("--peer compares training steps of sgd without clipping; set "
                        f"config.stages.{stage.name} so, or leave --train_step out")
    twin = TorchTwin(network.trained_model, network.trained_variables, trained=True)
    decays = [leaf.ndim > 1 or stage.decay_biases for leaf in twin.leaves()]
    optimizer = torch.optim.SGD(
        [{"params": [leaf for leaf, d in zip(twin.leaves(), decays, strict=True) if d is flag],
          "weight_decay": stage.weight_decay * flag} for flag in (True, False)],
        lr=CHECK_RATE, momentum=stage.momentum, nesterov=stage.nesterov)
    batch = example_batch(network, batch_size)
    images, labels = torch.from_numpy(batch["image"]), torch.from_numpy(batch["label"]).long()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(
            twin(images), labels, label_smoothing=network.settings.losses.label_smoothing)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
