"""The same networks in PyTorch, timed in the same run as ours.

PyTorch runs eagerly with channels_last tensors, under ``inference_mode``, from the same weights of
the same inference form, with as many threads as XLA has. Both must give the same scores (or the
same loss and step of training) before anything is timed. The two libraries have thread pools of
their own, and OpenMP's threads spin for a while after their work, so every call waits 10 ms first.
PyTorch keeps its default of spinning, the faster one on a machine with nothing else to do.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from wae_jax.bench.measure import Job, compile_ahead, random_images
from wae_jax.bench.networks import Network
from wae_jax.bench.timing import time_in_passes
from wae_jax.bench.torch_frontend import decode
from wae_jax.bench.torch_layers import halve, import_torch, torch_layout
from wae_jax.bench.torch_network import TorchTwin, has_twin
from wae_jax.bench.training import Trainer, example_batch, make_step
from wae_jax.errors import UserError
from wae_jax.runtime.console import say
from wae_jax.runtime.machine import cpu_threads

__all__ = ["PeerRow", "compare", "import_torch", "prepare"]

PAUSE = 0.01  # seconds before each call
SCORES_TOLERANCE = 1e-4  # of the largest score
LOSS_TOLERANCE = 1e-5
# Of all weights' change in one step. Rounding decides on which side of 0 some of a ReLU's inputs
# fall: up to 5e-3 was seen for ResNet-50. A wrong momentum, rate or clipping gives 1e-1 and more.
STEP_TOLERANCE = 2e-2
CHECK_RATE = 0.01  # learning rate of the training step that must agree


@dataclasses.dataclass(frozen=True)
class PeerRow:
    """scope: "model" or "train_step". Times are medians of a call with the whole batch.

    ratio: JAX time over PyTorch time with its 95 % interval; below 1 ours is faster.
    difference: largest, relative to the largest score; of a training step, see ``_training``.
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


@dataclasses.dataclass(frozen=True)
class Pair:
    """Calls of both libraries that were found to compute the same."""

    key: tuple[str, str, int]  # scope, method, batch size
    calls: dict[str, Callable]
    difference: float


def prepare(jobs: Sequence[Job], device: jax.Device) -> list[Pair]:
    """A pair for each float32 job of scope "model" and for each training step.

    Raises:
        UserError: PyTorch is missing, the device is no CPU, or the two do not compute the same.
    """
    torch = import_torch()
    if device.platform != "cpu":
        raise UserError("--peer compares on the CPU; add --devices=cpu")
    torch.set_num_threads(cpu_threads())
    pairs = []
    for job in jobs:
        network = job.network
        if network.dtype != "float32":
            continue
        key = job.scope, network.method, job.batch_size
        if not has_twin(network.model):
            say(f"no PyTorch twin of {network.method}: left out of the comparison")
        elif job.scope == "model":
            pairs.append(Pair(key, *_inference(job)))
        elif job.scope == "train_step":
            pairs.append(Pair(key, *_training(network, job.batch_size, device)))
    return pairs


def compare(pairs: Sequence[Pair], *, seconds: float) -> list[PeerRow]:
    """Times each pair, ours and theirs in turn. seconds: for each."""
    timings = time_in_passes({pair.key: pair.calls for pair in pairs}, seconds=seconds, pause=PAUSE)
    rows = []
    for pair in pairs:
        timing = timings[pair.key]
        rows.append(
            PeerRow(
                *pair.key,
                cpu_threads(),
                timing.median("jax"),
                timing.median("torch"),
                *timing.speedup("jax", "torch"),
                pair.difference,
            )
        )
    return rows


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
        raise UserError(
            f"PyTorch and JAX do not compute the same {what} for {method}: relative "
            f"difference {difference:.1e}, allowed {tolerance:.0e}; not timed"
        )


def _training(
    network: Network, batch_size: int, device: jax.Device
) -> tuple[dict[str, Callable], float]:
    """As :func:`_inference`, for training steps; without dropout, which no two libraries share.

    The difference is that of what one step adds to all weights, as a fraction of it. Later losses
    say less: what rounding does to a gradient grows with the rate and the number of steps.
    """
    heads = {
        name: head.clone(dropout=0.0)
        for name in ("head_low", "head_fused")
        if (head := getattr(network.trained_model, name)) is not None
    }
    network = dataclasses.replace(network, trained_model=network.trained_model.clone(**heads))
    step, state = make_step(network, learning_rate=CHECK_RATE)
    state, batch = jax.device_put((state, example_batch(network, batch_size)), device)
    run = compile_ahead(step, state, batch, donate_argnums=0).run
    twin = TorchTwin(network.trained_model, network.trained_variables, trained=True)
    ours, theirs = Trainer(run, state, batch), _torch_trainer(network, twin, batch_size)

    def weights():
        return (
            np.concatenate([torch_layout(x).ravel() for x in jax.tree.leaves(ours.state.params)]),
            np.concatenate([x.detach().numpy().ravel() for x in twin.leaves()]),
        )

    before = weights()
    a, b = float(ours()["loss"]), float(theirs())
    _check(network.method, "loss", abs(a - b) / abs(b), LOSS_TOLERANCE)
    a, b = (after - then for after, then in zip(weights(), before, strict=True))
    difference = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    _check(network.method, "training step", difference, STEP_TOLERANCE)
    return {"jax": ours, "torch": theirs}, difference


def _torch_trainer(network: Network, twin: TorchTwin, batch_size: int) -> Callable:
    """Function that makes one step and returns its loss, with SGD and momentum."""
    torch, (name, stage) = import_torch(), network.settings.running_stages[-1]
    if stage.optimizer != "sgd":
        raise UserError(
            "--peer compares training steps of sgd; set "
            f"config.stages.{name}.optimizer, or leave --train_step out"
        )
    groups: dict[tuple[bool, bool], list] = {}
    for path, leaf in jax.tree.leaves_with_path(twin.params):
        decays = leaf.ndim > 1 or stage.decay_biases
        groups.setdefault((decays, path[0].key == "frontend"), []).append(leaf)
    optimizer = torch.optim.SGD(
        [
            {
                "params": leaves,
                "weight_decay": stage.weight_decay * decays,
                "lr": CHECK_RATE * (stage.frontend_rate if frontend else 1.0),
            }
            for (decays, frontend), leaves in groups.items()
        ],
        momentum=stage.momentum,
        nesterov=stage.nesterov,
    )
    batch = example_batch(network, batch_size)
    images, labels = torch.from_numpy(batch["image"]), torch.from_numpy(batch["label"]).long()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = _torch_loss(network, twin, images, labels)
        loss.backward()
        if stage.clip_norm:
            torch.nn.utils.clip_grad_norm_(twin.leaves(), stage.clip_norm)
        optimizer.step()
        return loss.detach()

    return step


def _torch_loss(network: Network, twin: TorchTwin, images, labels):
    """The last stage's loss, as :func:`wae_jax.training.steps.stage_loss` has it."""
    torch, losses = import_torch(), network.settings.losses
    (name, stage), model = network.settings.running_stages[-1], network.trained_model
    if losses.auxiliary_low or losses.auxiliary_fused:
        raise UserError(
            "--peer knows no auxiliary losses; set them to 0 in config.losses, or leave "
            "--train_step out"
        )
    if not stage.classification or stage.trains != ".*":
        raise UserError(
            f"--peer compares training steps of whole networks, and config.stages.{name} trains "
            "parts; leave --train_step out"
        )
    scores, x, low, high = twin.outputs(images)
    loss = torch.nn.functional.cross_entropy(scores, labels, label_smoothing=losses.label_smoothing)
    if not (stage.transform and model.frontend.can_synthesize):
        return loss
    rebuilt = decode(model.frontend, twin.params["frontend"], low, high)[
        :, :, : x.shape[2], : x.shape[3]
    ]

    def squared(y):
        total = y.square().sum()
        return total / (2 * len(y)) if losses.reduction == "caffe" else total / y.numel()

    transform = squared(x - rebuilt) + losses.energy_weight * squared(high)
    if losses.low_weight:
        halved = x
        for _ in range(model.frontend.encoder.levels):
            halved = halve(halved)
        transform = transform + losses.low_weight * squared(low - halved)
    return loss + losses.gamma * transform
