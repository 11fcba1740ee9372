"""What a trained network costs, part by part."""

import dataclasses
from collections.abc import Sequence

from wae_jax.bench.breakdown import REST, measure_parts, part_macs
from wae_jax.bench.environment import pick_device
from wae_jax.bench.measure import count_params, model_job
from wae_jax.bench.networks import Network
from wae_jax.study.load import Watch


@dataclasses.dataclass(frozen=True)
class PartCost:
    """One part: MACs per image, and milliseconds alone, None where nothing was timed."""

    part: str
    macs: int
    ms: float | None


@dataclasses.dataclass(frozen=True)
class Costs:
    """Of the inference form.

    Attributes:
        parts: In the order of computation; times may have "rest", the whole less all parts.
        macs: Per image; params: Numbers in all weights, without the decoder.
        ms: Of one image; None where nothing was timed.
        warning: A sentence where other programs disturbed the timing, else empty.
    """

    parts: Sequence[PartCost]
    macs: int
    params: int
    ms: float | None
    warning: str = ""


def measure_costs(network: Network, seconds: float) -> Costs:
    """Counts a network's MACs by part and, given time for it, times the parts with one image.

    Args:
        network: In its inference form.
        seconds: Of timing; 0: nothing is timed or compiled.
    """
    macs = part_macs(network)
    ms: dict[str, float] = {}
    warning = ""
    if seconds:
        device = pick_device("")
        watch = Watch()
        found = measure_parts([model_job(network, 1, device)], device, seconds=seconds)
        warning = watch.stop().warning("the timing")
        ms = {part.part: part.latency_ms for part in found}
    names = [*ms, *(name for name in macs if name not in ms)]
    return Costs(
        [
            PartCost("between the parts" if n == REST else n, macs.get(n, 0), ms.get(n))
            for n in names
        ],
        sum(macs.values()),
        count_params(network.variables["params"]),
        sum(ms.values()) if ms else None,
        warning,
    )
