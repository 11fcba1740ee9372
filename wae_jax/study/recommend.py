"""What each method would gain on this machine and runtime, before anything is trained."""

import bisect
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from wae_jax.bench.breakdown import part_macs, split
from wae_jax.bench.measure import BASE
from wae_jax.bench.networks import Network, build_network
from wae_jax.bench.places import Place, Program, open_place, platform_of, program_of
from wae_jax.bench.timing import Timings, time_in_passes
from wae_jax.config import Settings
from wae_jax.errors import UserError
from wae_jax.runtime.console import progress_bar

HALF = "lowres"
FRONT_END, LIGHT, TRUNK = "front end", "light branch", "low branch and heads"
_WHOLE, _CALL, _INT8 = "whole", "call", "int8"
IN_INT8 = (BASE, HALF, "wae-fast")  # the methods that are timed in int8 too
_LEAST_TRUNK = 0.05  # of the whole's time


@dataclasses.dataclass(frozen=True)
class Choice:
    """What one method costs and gains.

    Attributes:
        method: Its name.
        learned: Whether its front end is trained: wae, wae-fast, wae-early.
        macs: Per image, front end included. mac_ratio: Those of full over them.
        ms: Of a call, median; speedup: Over full with its 95 % interval, timed in turn with it.
        predicted: Speed-up from MACs and the rates of parts: the front end as timed alone, the low
            branch at a rate between those of full and lowres, the light branch at that of the first
            of its width.
        parts: Milliseconds by part, without what a call costs that computes nothing; the trunk is
            what the others leave of the whole, with it.
        part_macs: MACs by part, per image.
        int8_ms: Of a call of the network in int8, see :func:`wae_jax.export.int8.quantise`; int8:
            the speed-up over itself in float32 with its 95 % interval. None where not timed.
    """

    method: str
    learned: bool
    macs: int
    mac_ratio: float
    ms: float
    speedup: tuple[float, float, float]
    predicted: float
    parts: dict[str, float]
    part_macs: dict[str, int]
    int8_ms: float | None = None
    int8: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """All choices, fastest first, and the methods that cannot be, with the reason."""

    choices: list[Choice]
    impossible: dict[str, str]

    def of(self, method: str) -> Choice | None:
        """The choice of one method."""
        return next((c for c in self.choices if c.method == method), None)


def recommend(
    settings: Mapping[str, Settings],
    runtime: str,
    *,
    batch_size: int = 1,
    seconds: float = 1.0,
    num_classes: int = 0,
) -> Found:
    """Times networks of all methods with random weights, each in turn with full.

    Args:
        settings: By method; "full" and "lowres" must be there.
        runtime: "jax", "onnxruntime" or "openvino"; int8 is timed in ONNX Runtime.
        batch_size: Images in a call.
        seconds: Of timing for each method.
        num_classes: 0 for that of the data set.

    Raises:
        UserError: The network itself cannot be built or exported, or the runtime is missing.
    """
    place = open_place(runtime)
    try:
        measured, impossible = {}, {}
        with progress_bar("measuring", len(settings), unit="method") as bar:
            for method, each in settings.items():
                bar.set_postfix_str(method)
                try:
                    network = build_network(
                        method,
                        each,
                        "float32",
                        platform=platform_of(runtime),
                        num_classes=num_classes,
                        for_times_only=True,
                    )
                    measured[method] = _measure(place, network, runtime, batch_size, seconds)
                except UserError as error:
                    if method in (BASE, HALF):
                        raise
                    impossible[method] = str(error)
                bar.update()
    finally:
        place.close()
    return Found(_choices(measured), impossible)


@dataclasses.dataclass(frozen=True)
class _Measured:
    network: Network
    timings: Timings
    macs: dict[str, int]

    def ms(self, what: str) -> float:
        return self.timings.median(what) if what in self.timings.ms else 0.0

    def part_ms(self, part: str) -> float:
        """Of a part that was timed alone, without the call."""
        return max(self.ms(part) - self.ms(_CALL), 0.0)

    @property
    def trunk_ms(self) -> float:
        """What the parts leave of the whole: nothing in tiny networks, where a call is all cost."""
        rest = self.ms(_WHOLE) - self.part_ms(FRONT_END) - self.part_ms(LIGHT)
        return max(rest, _LEAST_TRUNK * self.ms(_WHOLE))

    @property
    def trunk_macs(self) -> int:
        return sum(self.macs.values()) - self.macs.get(FRONT_END, 0) - self.macs.get(LIGHT, 0)


def _measure(
    place: Place, network: Network, runtime: str, batch_size: int, seconds: float
) -> _Measured:
    """Times a network, its front end and its light branch alone, and full beside them."""
    programs = _programs(network, runtime, batch_size)
    if runtime == "onnxruntime" and network.method in IN_INT8:
        programs[_INT8] = programs[_WHOLE]._replace(int8=True)
    if network.method == BASE:
        place.add(BASE, programs[_WHOLE])
    keys: dict[str, Any] = {BASE: BASE}
    try:
        for name, program in programs.items():
            place.add((network.method, name), program)
            keys[name] = network.method, name
        timings = time_in_passes(
            {(network.method,): functools.partial(place.time, keys)}, seconds=seconds, shown=False
        )
    finally:
        for key in keys.values():
            if key != BASE:
                place.drop(key)
    return _Measured(
        dataclasses.replace(network, variables=None, trained_variables=None),
        timings[network.method,],
        part_macs(network),
    )


def _programs(network: Network, runtime: str, batch_size: int) -> dict[str, Program]:
    whole, model = program_of(network, runtime, batch_size), network.model

    def part(method, shape):
        return Program(
            lambda variables, x: model.apply(variables, x, method=method), network.variables, shape
        )

    programs = {
        _WHOLE: whole,
        FRONT_END: part(_front_end, whole.shape),
        _CALL: Program(lambda _, x: x[:, 0, 0].astype(jnp.float32), {}, whole.shape),
    }
    if model.light is not None:
        images = jax.ShapeDtypeStruct(whole.shape, jnp.uint8)
        high = jax.eval_shape(
            lambda v, x: model.apply(v, x, method=split), network.variables, images
        ).high
        programs[LIGHT] = part(_light, high.shape)
    return programs


def _front_end(model, images):
    """Its sub-images' means, which cost little and need all of them."""
    inputs = split(model, images)
    parts = [inputs.low] + ([] if inputs.high is None else [inputs.high])
    return jnp.concatenate([x.mean((1, 2)) for x in parts], -1)


def _light(model, images):
    return model.light(images.astype(model.dtype), train=False).mean((1, 2))


def _choices(measured: Mapping[str, _Measured]) -> list[Choice]:
    full, half = measured[BASE], measured[HALF]
    lights: dict[float, float] = {}  # ms per MAC by width
    for each in measured.values():
        width = each.network.settings.model.light.width
        if each.macs.get(LIGHT):
            lights.setdefault(width, each.part_ms(LIGHT) / each.macs[LIGHT])
    choices = []
    for method, each in measured.items():
        width = each.network.settings.model.light.width
        predicted = (
            each.part_ms(FRONT_END)
            + each.trunk_macs * _trunk_rate(each.trunk_macs, full, half)
            + each.macs.get(LIGHT, 0) * lights.get(width, 0.0)
        )
        macs = sum(each.macs.values())
        choices.append(
            Choice(
                method,
                method.startswith("wae"),
                macs,
                sum(full.macs.values()) / macs,
                each.ms(_WHOLE),
                (1.0, 1.0, 1.0) if method == BASE else each.timings.speedup(BASE, _WHOLE),
                full.ms(_WHOLE) / predicted,
                {
                    FRONT_END: each.part_ms(FRONT_END),
                    LIGHT: each.part_ms(LIGHT),
                    TRUNK: each.trunk_ms,
                },
                {
                    FRONT_END: each.macs.get(FRONT_END, 0),
                    LIGHT: each.macs.get(LIGHT, 0),
                    TRUNK: each.trunk_macs,
                },
                each.timings.median(_INT8) if _INT8 in each.timings.ms else None,
                each.timings.speedup(_WHOLE, _INT8) if _INT8 in each.timings.ms else None,
            )
        )
    return sorted(choices, key=lambda choice: choice.speedup[0], reverse=True)


def _trunk_rate(macs: int, full: _Measured, half: _Measured) -> float:
    """Milliseconds per MAC of a low branch, between lowres and full on the logarithm of MACs."""
    a, b = half.trunk_macs, full.trunk_macs
    at = min(max(math.log(macs / a) / math.log(b / a), 0.0), 1.0)
    low, high = half.trunk_ms / a, full.trunk_ms / b
    return low * (high / low) ** at


def equal_time_side(choices: Sequence[Choice], ms: float, image_size: int) -> float | None:
    """The side of plain low resolution that takes as long, in pixels; None beyond those timed."""
    curve = sorted((c.ms, side) for c in choices if (side := side_of(c.method, image_size)))
    times = [each for each, _ in curve]
    if not times or not times[0] <= ms <= times[-1]:
        return None
    right = max(bisect.bisect_left(times, ms), 1)
    (t0, s0), (t1, s1) = curve[right - 1], curve[right]
    return s0 + (s1 - s0) * (ms - t0) / (t1 - t0)


def side_of(method: str, image_size: int) -> int | None:
    """What plain low resolution reads, in pixels; None for other methods."""
    if method == BASE:
        return image_size
    if method == HALF:
        return image_size // 2
    name, _, side = method.partition("-")
    return int(side) if name == HALF else None
