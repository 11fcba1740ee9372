"""A budget in measured milliseconds: a method is run with budgets of MACs until the time fits."""

import contextlib
import importlib.util
from collections.abc import Callable

import numpy as np

from wae_jax.bench.places import Program, open_place, platform_of
from wae_jax.bench.runtimes import JAX
from wae_jax.compress.network import Network
from wae_jax.errors import UserError
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import scores_of
from wae_jax.runtime.console import say

_TRIES = 7
_CLOSE = 0.97  # of the budget: enough of it is used
_SECONDS = 1.0  # of timing each


def runtime_here() -> str:
    """Where networks are timed: "onnxruntime" where it is installed, else "jax"."""
    return "onnxruntime" if importlib.util.find_spec("onnxruntime") else JAX


def within(run: Callable[[float], Network], network: Network, ms: float) -> Network:
    """The slowest network found that takes at most ``ms`` for one image.

    Args:
        run: fraction of MACs that may stay -> smaller network.
        network: that is made smaller.
        ms: median time of a call.

    Raises:
        UserError: none of those tried is as fast.
    """
    low, high = 0.0, 1.0  # fast enough, and too slow
    now, best = milliseconds(network), None
    if now <= ms:
        return network
    fraction, fastest = ms / now, now
    for _ in range(_TRIES):
        try:
            smaller = run(fraction)
        except UserError:  # less than this method can do
            low = fraction
        else:
            taken = milliseconds(smaller)
            say(f"{100 * fraction:.0f} % of the MACs: {taken:.3g} ms")
            fastest = min(fastest, taken)
            if taken <= ms:
                low, best = fraction, smaller
                if taken >= _CLOSE * ms:
                    break
            else:
                high = fraction
        fraction = (low + high) / 2
    if best is None:
        raise UserError(
            f"no network of those tried takes {ms:g} ms: it takes {now:.3g} ms as it is, "
            f"{fastest:.3g} at the least"
        )
    return best


def milliseconds(network: Network) -> float:
    """Median time of a call with one image, with random weights' times as good as any."""
    runtime, size = runtime_here(), network.image_size
    shape = (1, size, size, 3)
    model, variables = for_inference(
        network.model, network.variables, shape, platform=platform_of(runtime)
    )
    with contextlib.closing(open_place(runtime)) as place:
        place.add(0, Program(lambda v, x: scores_of(model, v, x), variables, shape))
        times = place.time({"network": 0}, seconds=_SECONDS, min_rounds=10, seed=0, warmup=3)
    return float(np.median(times["network"]))
