"""Programs in the runtime where they shall be timed: JAX here, others in a process of their own."""

import functools
import tempfile
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from wae_jax.bench.environment import pick_device
from wae_jax.bench.measure import compile_ahead
from wae_jax.bench.networks import Network
from wae_jax.bench.runtimes import JAX, check_runtimes, onnx_call, worker_threads
from wae_jax.bench.timing import Call, time_interleaved
from wae_jax.bench.worker import Worker
from wae_jax.errors import UserError
from wae_jax.export import formats
from wae_jax.export.int8 import quantise
from wae_jax.export.runtimes import RUNTIMES, TITLES

NAMES = (JAX, *RUNTIMES)


class Program(NamedTuple):
    """What is timed: ``function(variables, images)`` -> (B, F), of uint8 images of ``shape``.

    int8: whether its layers compute in int8, see :func:`wae_jax.export.int8.quantise`; calibrated
    on the images that it is timed with. Not in JAX.
    """

    function: Callable[[Any, Any], Any]
    variables: Any
    shape: tuple[int, int, int, int]
    int8: bool = False

    def images(self) -> np.ndarray:
        """The same random ones at each call."""
        return np.random.default_rng(0).integers(0, 256, self.shape, np.uint8)


def platform_of(runtime: str) -> str:
    """What a network is built for that shall run there: others than JAX take the plain convs."""
    return pick_device("").platform if runtime == JAX else "cuda"


def program_of(network: Network, runtime: str, batch_size: int) -> Program:
    """The whole of a network that was built for :func:`platform_of` the runtime."""
    size = network.image_size
    variables = network.variables_for(batch_size) if runtime == JAX else network.variables
    return Program(network.scores, variables, (batch_size, size, size, 3))


class Place(Protocol):
    """Holds programs by key until they are dropped; ``close`` it at the end."""

    def add(self, key: Hashable, program: Program) -> None: ...

    def drop(self, key: Hashable) -> None: ...

    def time(self, keys: Mapping[str, Hashable], **options: Any) -> dict[str, np.ndarray]:
        """As :func:`wae_jax.bench.timing.time_interleaved`, of programs by name."""
        ...

    def close(self) -> None: ...


def open_place(runtime: str) -> Place:
    """The place of a runtime, one of :data:`NAMES`.

    Raises:
        UserError: There is none, or its package is missing.
    """
    if runtime not in NAMES:
        raise UserError(f"no runtime {runtime!r}; there are: {', '.join(NAMES)}")
    check_runtimes((runtime,), "cpu")
    return _Here() if runtime == JAX else _Exported(runtime)


class _Here:
    def __init__(self) -> None:
        self._device = pick_device("")
        self._calls: dict[Hashable, Call] = {}

    def add(self, key: Hashable, program: Program) -> None:
        assert not program.int8, "JAX has no int8 layers here"
        given = jax.device_put((program.variables, program.images()), self._device)
        run = compile_ahead(program.function, *given).run
        self._calls[key] = lambda: run(*given)

    def drop(self, key: Hashable) -> None:
        del self._calls[key]

    def time(self, keys: Mapping[str, Hashable], **options: Any) -> dict[str, np.ndarray]:
        return time_interleaved({name: self._calls[key] for name, key in keys.items()}, **options)

    def close(self) -> None:
        self._calls.clear()


class _Exported:
    def __init__(self, runtime: str):
        self._runtime = runtime
        self._folder = tempfile.TemporaryDirectory(prefix="wae_jax_")
        self._worker = Worker(TITLES[runtime])

    def add(self, key: Hashable, program: Program) -> None:
        path = Path(self._folder.name) / "program.onnx"
        formats.write_function(
            functools.partial(program.function, program.variables), program.shape, path
        )
        if program.int8:
            quantise(path, path, [program.images()])
        threads = worker_threads()
        make = functools.partial(onnx_call, self._runtime, path, program.shape, threads)
        self._worker.add(key, make)
        path.unlink()

    def drop(self, key: Hashable) -> None:
        self._worker.drop(key)

    def time(self, keys: Mapping[str, Hashable], **options: Any) -> dict[str, np.ndarray]:
        return self._worker.time(keys, **options)

    def close(self) -> None:
        self._worker.close()
        self._folder.cleanup()
