"""Where a network's MACs and milliseconds go: front end, the two branches, heads."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from wae_jax.bench.macs import count_macs
from wae_jax.bench.measure import BASE, Job, Row, compile_ahead
from wae_jax.bench.networks import Network
from wae_jax.bench.timing import Call, time_in_passes
from wae_jax.models.frontends import SubImages

PART_OF_MODULE = {
    "frontend": "front end",
    "backbone": "low branch",
    "light": "light branch",
    "head_low": "heads",
    "head_fused": "heads",
}
REST = "rest"
WORTH_A_WARNING = 0.85  # of the MAC ratio


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of one network.

    macs: per image. latency_ms: of the part alone with the whole batch. The part "rest" is the
    whole network less all parts: below 0 where the compiler gains by seeing them together.
    """

    method: str
    batch_size: int
    dtype: str
    part: str
    macs: int
    latency_ms: float


def part_macs(network: Network) -> dict[str, int]:
    """MACs per image by part; their sum is the network's."""
    size = network.image_size
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    totals: dict[str, int] = {}
    for name, macs in count_macs(network.scores, network.variables, image).at_level(1).items():
        part = PART_OF_MODULE.get(name, REST)
        totals[part] = totals.get(part, 0) + macs
    return totals


def split(model, images) -> SubImages:
    """What the branches of a classifier read of images; a method for ``model.apply``."""
    sub_images = model.frontend.analyze(model.normalise(images), train=False)
    inputs = model.frontend.prepare(sub_images, train=False)
    if model.fusion == "early":
        return SubImages(jnp.concatenate([inputs.low, inputs.high], -1))
    return inputs


def _heads(model, low, high=None):
    scores = model.head_low([low], train=False)
    return scores if high is None else scores + model.head_fused([low, high], train=False)


def part_calls(network: Network, batch_size: int, device: jax.Device) -> dict[str, Call]:
    """Each part compiled alone, on what the parts before it make of zeros."""
    variables = jax.device_put(network.variables_for(batch_size), device)
    size = network.image_size
    images = jax.device_put(jnp.zeros((batch_size, size, size, 3), jnp.uint8), device)
    calls: dict[str, Call] = {}

    def add(name, method, *inputs):
        def part(variables, *inputs):
            return network.model.apply(variables, *inputs, method=method)

        program = compile_ahead(part, variables, *inputs)
        calls[name] = lambda: program.run(variables, *inputs)
        return calls[name]()

    sub_images = add("front end", split, images)
    features = [add("low branch", lambda m, x: m.backbone(x, train=False), sub_images.low)]
    if sub_images.high is not None:
        features.append(add("light branch", lambda m, x: m.light(x, train=False), sub_images.high))
    add("heads", _heads, *features)
    return calls


def measure_parts(jobs: Iterable[Job], device: jax.Device, *, seconds: float) -> list[Part]:
    """Times the parts of each job of scope "model" next to the whole, all jobs in turn."""
    jobs = list(jobs)
    cells = {
        (job.network.method, *job.cell): {
            **part_calls(job.network, job.batch_size, device),
            REST: job.call,
        }
        for job in jobs
    }
    timings = time_in_passes(cells, seconds=seconds, passes=3)
    parts = []
    for job, timing in zip(jobs, timings.values(), strict=True):
        macs = part_macs(job.network)
        ms = {name: timing.median(name) for name in timing.ms}
        ms[REST] -= sum(value for name, value in ms.items() if name != REST)
        parts += [
            Part(
                job.network.method,
                job.batch_size,
                job.network.dtype,
                name,
                macs.get(name, 0),
                value,
            )
            for name, value in ms.items()
        ]
    return parts


def falls_short(row: Row) -> bool:
    """Whether the realised speed-up is far below what the MACs promise."""
    return (
        row.scope == "model"
        and row.method != BASE
        and row.speedup is not None
        and bool(row.mac_ratio)
        and row.speedup < WORTH_A_WARNING * row.mac_ratio
    )


def warning(row: Row, base: Row, parts: Sequence[Part]) -> str:
    """Says in words how far ``row`` stays behind its MAC ratio and which part eats the difference.

    base: the row of "full" of the same batch size and dtype. A part's loss is its time less what
    its MACs would take at the rate of ``base``.
    """
    ms_per_mac = base.latency_ms / base.macs
    own = [
        p
        for p in parts
        if (p.method, p.batch_size, p.dtype) == (row.method, row.batch_size, row.dtype)
    ]
    worst = max(own, key=lambda p: p.latency_ms - p.macs * ms_per_mac)
    name = "what lies between the parts" if worst.part == REST else f"the {worst.part}"
    return (
        f"{row.method}, batch {row.batch_size}, {row.dtype}: {row.speedup:.2f}x faster is only "
        f"{100 * row.speedup / row.mac_ratio:.0f} % of its MAC ratio of {row.mac_ratio:.2f}x. "
        f"Most is lost in {name}: {worst.latency_ms:.3g} of {row.latency_ms:.3g} ms, where "
        f"its MACs would take {worst.macs * ms_per_mac:.3g} ms at full's rate."
    )
