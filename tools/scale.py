"""What a training would be on many chips: bytes, rates and times, from measured pieces.

    python tools/scale.py --config=configs/resnet50.py:wae-early --chip=tpu-v5e --chips=256
    python tools/scale.py --measure_disk=runs      measures how fast checkpoints are written there

Counted on the config's last stage, nothing is computed: the multiply-accumulates of one training
step, the bytes of its gradients and of a checkpoint. Measured: what the input pipeline reads on one
core (results/data_bench.csv) and what writing a checkpoint takes. Read from public specifications:
the chips. Assumed: --utilisation, --jitter and --overlap. See docs/scale.md.

A run of --steps steps is then simulated for 1, 8, 64 ... chips: each step takes as long as the
slowest host, which computes with jitter and waits where its input queue is empty, then the part of
the gradients' all-reduce that the backward pass does not hide, and those of the batch norms.
"""

import argparse
import csv
import dataclasses
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from wae_jax.bench.environment import environment  # noqa: E402
from wae_jax.bench.macs import count_macs  # noqa: E402
from wae_jax.checkpoints import store  # noqa: E402
from wae_jax.checkpoints.state import new_state  # noqa: E402
from wae_jax.commands.flags import read_config  # noqa: E402
from wae_jax.config import Settings, settings_from_config  # noqa: E402
from wae_jax.models.classifier import build_model, variable_shapes  # noqa: E402
from wae_jax.runtime.tables import markdown, write_csv  # noqa: E402
from wae_jax.training.optim import make_optimizer  # noqa: E402
from wae_jax.training.stages import Stage, stage_labels  # noqa: E402
from wae_jax.training.steps import make_train_step  # noqa: E402

PREFETCHED = 2  # batches that wait on a host


@dataclasses.dataclass(frozen=True)
class Chip:
    """What public specifications say of an accelerator.

    flops: bfloat16, dense, a second; link: bytes a second that one chip sends while it receives as
    many; latency: seconds of one hop; per_host: chips of one host; cores: of the host, physical.
    """

    flops: float
    link: float
    latency: float
    per_host: int
    cores: int


CHIPS = {
    # cloud.google.com/tpu/docs/v5e: 197 TFLOP/s, 1600 Gbit/s between chips (half of it each way),
    # 8 chips and 224 hyperthreads a host, 256 chips a pod.
    "tpu-v5e": Chip(197e12, 100e9, 1e-6, 8, 112),
    # NVIDIA H100 SXM and DGX H100 datasheets: 989 TFLOP/s without sparsity, one 400 Gbit/s port for
    # each GPU between hosts, 8 GPUs and 112 cores a host.
    "h100": Chip(989e12, 50e9, 5e-6, 8, 112),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What is counted on a config: of one image, one step and one checkpoint."""

    macs: int  # of a training step, for one image: forward, backward and update
    gradient_bytes: int  # all-reduced in each step
    statistics_bytes: int  # likewise, of batch norms: means and squares, forward and backward
    norms: int  # each needs two small all-reduces
    checkpoint_bytes: int


def count(settings: Settings, num_classes: int) -> Job:
    """Counts a config's last stage, with its optimiser."""
    name, stage_settings = settings.running_stages[-1]
    size = settings.data.image_size
    model = build_model(settings.model, num_classes=num_classes, image_size=size)
    variables = variable_shapes(model, size)
    labels = stage_labels(variables["params"], stage_settings)
    stage = Stage(name, stage_settings, 0, 0, 1, 1.0)
    optimizer = make_optimizer(stage, labels)
    step = make_train_step(
        model,
        stage_settings,
        settings.losses,
        optimizer,
        labels,
        seed=0,
        ema_decay=settings.ema_decay,
    )

    def start(variables):
        state = new_state(variables, ema=settings.ema_decay > 0)
        return state.replace(opt_state=optimizer.init(state.params))

    state = jax.eval_shape(start, variables)
    images = stage_settings.accumulate
    batch = {
        "image": jax.ShapeDtypeStruct((images, size, size, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((images,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((images,), jnp.float32),
    }
    trained = jax.tree.map(
        lambda x, label: x.size * (label == "train"), variables["params"], labels
    )
    means = [x.size for x in jax.tree.leaves(variables["batch_stats"])]
    return Job(
        macs=count_macs(step, state, batch).total // images,
        gradient_bytes=4 * sum(jax.tree.leaves(trained)),
        statistics_bytes=4 * 2 * sum(means),
        norms=len(means) // 2,
        checkpoint_bytes=sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)),
    )


def all_reduce_seconds(size: int, messages: int, chips: int, chip: Chip) -> float:
    """Of a ring (Patarasuk and Yuan 2009): each chip sends 2 (n - 1) / n of the bytes.

    A message passes 2 (sqrt(n) - 1) hops for each of two directions, as on a 2D torus.
    """
    if chips == 1:
        return 0.0
    sent = 2 * (chips - 1) / chips * size / chip.link
    return sent + messages * 4 * (math.sqrt(chips) - 1) * chip.latency


@dataclasses.dataclass(frozen=True)
class Assumed:
    """What is neither counted nor measured here."""

    batch_per_chip: int
    utilisation: float  # of the chip's peak, in compute
    overlap: float  # part of the all-reduce that the backward pass hides
    jitter: float  # of a host's compute time, standard deviation over mean
    images_per_core: float  # a second, that one core of the host reads
    checkpoint_every: int
    write_rate: float  # bytes a second
    background: bool  # steps do not wait for checkpoints


def simulate(job: Job, chip: Chip, chips: int, assumed: Assumed, steps: int) -> dict[str, float]:
    """A run's mean step, and what it is made of."""
    rng = np.random.default_rng(0)
    hosts = math.ceil(chips / chip.per_host)
    images = assumed.batch_per_chip * min(chips, chip.per_host)  # of a host's step
    compute = 2 * job.macs * assumed.batch_per_chip / (chip.flops * assumed.utilisation)
    reads = images / (assumed.images_per_core * chip.cores)
    gradients = all_reduce_seconds(job.gradient_bytes, 1, chips, chip)
    # Each norm waits for its own: nothing hides them.
    norms = all_reduce_seconds(job.statistics_bytes, 2 * job.norms, chips, chip)
    saving = job.checkpoint_bytes / assumed.write_rate * (not assumed.background)
    now, waited = 0.0, 0.0
    ready = np.zeros((PREFETCHED, hosts))  # when a host's next batches are read
    for step in range(1, steps + 1):
        begins = np.maximum(now, ready[0])
        waited += float(np.max(begins)) - now
        # The slot that is free now is filled after the batch before it.
        ready = np.vstack([ready[1:], np.maximum(ready[-1], begins) + reads])
        spread = np.exp(assumed.jitter * rng.standard_normal(hosts))
        now = float(np.max(begins + compute * spread)) + (1 - assumed.overlap) * gradients + norms
        if step % assumed.checkpoint_every == 0:
            now += saving
    return {
        "chips": chips,
        "batch_size": chips * assumed.batch_per_chip,
        "compute_ms": 1e3 * compute,
        "gradients_ms": 1e3 * gradients,
        "norms_ms": 1e3 * norms,
        "waiting_ms": 1e3 * waited / steps,
        "step_ms": 1e3 * now / steps,
        "images_per_s": chips * assumed.batch_per_chip * steps / now,
        "needed_per_host": images / (now / steps - waited / steps),
        "read_per_host": assumed.images_per_core * chip.cores,
    }


def measured_images_per_core() -> float:
    """What one core reads, in threads of one process, as measured here."""
    with (ROOT / "results/data_bench.csv").open() as file:
        for row in csv.DictReader(file):
            if row["pipeline"] == "wae_jax, threads" and row["cores"] == "1":
                return float(row["images_per_s"])
    raise LookupError("results/data_bench.csv has no row of one core")


def measure_disk(folder: Path, megabytes: int = 300, rounds: int = 3) -> float:
    """Bytes a second of a checkpoint, with its hashes, synced: the median of some rounds."""
    variables = {"params": {"w": jnp.ones((megabytes, 1 << 18))}, "batch_stats": {}}
    state, rates = new_state(variables, ema=False), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(rounds):
        work = Path(tempfile.mkdtemp(dir=folder))
        try:
            began = time.perf_counter()
            store.save(work, state.replace(step=jnp.int32(number)), {}, keep=1)
            rates.append((megabytes << 20) / (time.perf_counter() - began))
        finally:
            shutil.rmtree(work)
    return float(np.median(rates))


def main(arguments: list[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config", help="as for train.py; --config.KEY=VALUE changes it")
    add("--measure_disk", type=Path, metavar="FOLDER", help="only measures checkpoints there")
    add("--chip", choices=CHIPS, default="tpu-v5e")
    add("--chips", type=int, default=256)
    add("--classes", type=int, default=1000)
    add("--batch_per_chip", type=int, default=64)
    add("--utilisation", type=float, default=0.35, help="of the chip's peak, assumed")
    add("--overlap", type=float, default=0.5, help="of all-reduce and backward pass, assumed")
    add("--jitter", type=float, default=0.02, help="of a host's compute time, assumed")
    add("--images_per_core", type=float, help="a second; default: results/data_bench.csv")
    add("--write_mb_per_s", type=float, default=300.0, help="of a checkpoint, see --measure_disk")
    add("--checkpoint_every", type=int, default=1000)
    add("--background", action="store_true", help="steps do not wait for checkpoints")
    add("--steps", type=int, default=2000)
    add("--csv", type=Path)
    options, overrides = parser.parse_known_args(arguments)
    if options.measure_disk:
        print(f"{measure_disk(options.measure_disk) / 1e6:.0f} MB/s")
        return
    if not options.config:
        parser.error("name a --config")
    settings = settings_from_config(read_config(options.config, overrides))
    job, chip = count(settings, options.classes), CHIPS[options.chip]
    assumed = Assumed(
        options.batch_per_chip,
        options.utilisation,
        options.overlap,
        options.jitter,
        options.images_per_core or measured_images_per_core(),
        options.checkpoint_every,
        1e6 * options.write_mb_per_s,
        options.background,
    )
    counts = [8**n for n in range(10) if 8**n < options.chips] + [options.chips]
    rows = [simulate(job, chip, n, assumed, options.steps) for n in counts]
    for row in rows:
        row["efficiency"] = row["images_per_s"] / row["chips"] / rows[0]["images_per_s"]
    print(f"training step: {job.macs / 1e9:.2f} G MACs an image")
    print(
        f"all-reduced in a step: {job.gradient_bytes / 1e6:.1f} MB of gradients, "
        f"{job.statistics_bytes / 1e6:.2f} MB of {job.norms} batch norms"
    )
    print(
        f"checkpoint: {job.checkpoint_bytes / 1e6:.0f} MB, "
        f"{job.checkpoint_bytes / assumed.write_rate:.1f} s"
    )
    print(markdown([list(rows[0]), *([f"{value:.4g}" for value in row.values()] for row in rows)]))
    if options.csv:
        about = {"config": options.config, "chip": options.chip}
        record = environment(jax.devices("cpu")[0]) | dataclasses.asdict(assumed)
        write_csv(options.csv, [about | row for row in rows], record)


if __name__ == "__main__":
    main()
