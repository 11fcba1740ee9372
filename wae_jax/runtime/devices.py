"""Running a pure step on one device or many: a mesh under ``jax.jit``, or ``jax.pmap``.

Both give the same result (a test holds them to it). ``jit`` is the default; ``pmap`` replicates the
state with a leading device axis, and needs a model made with ``axis_name=AXIS``.
"""

import dataclasses
import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.runtime import joining

AXIS = "data"
# XLA's CPU compiler takes the barriers away that keep it from computing only once what
# rematerialisation computes twice, and merges the two again; without this pass it leaves them.
KEEP_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}
AUTO = "auto"  # a coordinator that jax is to find


def start(settings: ParallelSettings) -> None:
    """Joins the other processes of a multi-process run; call it before jax computes anything.

    With a coordinator's address as the config says; else as jax itself finds out, where SLURM's
    ``srun`` or a Cloud TPU pod started this process, or the coordinator is "auto". A second call
    changes nothing.

    Raises:
        UserError: the other processes cannot be found or reached.
    """
    _check(settings)
    if jax.distributed.is_initialized():
        return
    # Its handler of SIGTERM would take the place of the program's own.
    jax.config.update("jax_enable_preemption_service", False)
    where: tuple[str, int, int] | None
    if settings.coordinator not in ("", AUTO):
        where = settings.coordinator, settings.num_processes, settings.process_id
    elif settings.coordinator or _started_with_others():
        where = _found_out()
    else:
        return
    try:
        joining.join(where, settings.timeout_s)
    except (RuntimeError, ValueError) as error:
        if not settings.coordinator and not _in_slurm_step():
            return  # libtpu is installed, but this is no pod
        how = settings.coordinator or "as SLURM says"
        raise UserError(
            f"cannot join the other processes ({how}): {str(error).splitlines()[0]}; see "
            "config.parallel.coordinator"
        ) from error


def _check(settings: ParallelSettings) -> None:
    """Raises UserError where the keys of a run of several processes do not fit each other."""
    if settings.process_id >= settings.num_processes:
        raise UserError(
            f"config.parallel.process_id is {settings.process_id}; it must be below "
            f"config.parallel.num_processes, which is {settings.num_processes}"
        )
    if settings.num_processes > 1 and not settings.coordinator:
        raise UserError(
            f"config.parallel.num_processes is {settings.num_processes}, but "
            "config.parallel.coordinator is empty: name host:port of process 0"
        )
    host, _, port = settings.coordinator.rpartition(":")
    if settings.coordinator not in ("", AUTO) and not (
        host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16
    ):
        raise UserError(
            f"config.parallel.coordinator is {settings.coordinator!r}; it must be host:port of "
            f"process 0, or {AUTO}"
        )


def _found_out() -> tuple[str, int, int] | None:
    """Address of process 0, number of processes and which this is, where jax finds them out.

    It does not say so in public; None leaves all to it.
    """
    try:
        from jax._src.clusters import ClusterEnv

        found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 300)
        address, count, process, _ = found
    except Exception:  # whatever it is, jax will meet it again, and say so
        return None
    if address is None or count is None or process is None:
        return None
    return address, int(count), int(process)


def _in_slurm_step() -> bool:
    """Whether ``srun`` started several of this process."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _started_with_others() -> bool:
    """Whether jax should look for other processes without being asked."""
    return _in_slurm_step() or (
        importlib.util.find_spec("libtpu") is not None
        and os.environ.get("JAX_PLATFORMS", "tpu").startswith("tpu")
    )


def compiler_options(device: jax.Device, rematerialise: bool) -> dict[str, Any] | None:
    """What ``jax.jit`` needs for a step that computes parts of the network again."""
    return dict(KEEP_BARRIERS) if rematerialise and device.platform == "cpu" else None


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """A compiled step, called as ``step(state, batch)``, with the constants that it reads."""

    compiled: Any
    constants: Any

    def __call__(self, state, batch):
        """The next state, and the step's metrics; ``state`` is donated."""
        return self.compiled(state, batch, self.constants)

    def temporary_bytes(self, state, batch) -> int:
        """Scratch memory of the program for such arguments on each device, as XLA tells it."""
        program = self.compiled.lower(state, batch, self.constants).compile()
        return program.memory_analysis().temp_size_in_bytes


class Parallel:
    """Where steps run: puts state and batches on the devices and compiles steps for them."""

    def __init__(self, settings: ParallelSettings):
        self.mode = settings.mode
        devices = jax.devices()
        if settings.devices > len(devices):
            raise UserError(
                f"config.parallel.devices is {settings.devices}, but jax sees "
                f"{len(devices)}: {devices[0].platform}"
            )
        if settings.devices and jax.process_count() > 1:
            raise UserError("config.parallel.devices must be 0 (all) in a multi-process run")
        if settings.shard_optimizer and settings.mode == "pmap":
            raise UserError("config.parallel.shard_optimizer needs config.parallel.mode=jit")
        self.shard_optimizer = settings.shard_optimizer
        self.devices = devices[: settings.devices or len(devices)]
        self.mesh = Mesh(np.array(self.devices), (AXIS,))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.batch_sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))

    @property
    def axis_name(self) -> str | None:
        """The axis name that the training model must be made with."""
        return AXIS if self.mode == "pmap" else None

    def check_batch_size(self, key: str, batch_size: int, parts: int = 1) -> None:
        """Raises UserError where ``batch_size`` does not divide over the devices, in ``parts``."""
        if batch_size % (len(self.devices) * parts):
            times = f", times {parts} parts (accumulate)" if parts > 1 else ""
            raise UserError(
                f"{key} is {batch_size}; it must be a multiple of the {len(self.devices)} "
                f"devices{times}"
            )

    def shardings(self, state):
        """How a train state lies on the mesh, a tree like it: replicated, but with
        ``shard_optimizer`` the arrays of ``opt_state`` split along an axis that divides evenly.
        """

        def of(path, x):
            if self.shard_optimizer and getattr(path[0], "name", "") == "opt_state":
                for axis, size in enumerate(x.shape):
                    if size and size % len(self.devices) == 0:
                        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, AXIS))
            return self.replicated

        return jax.tree.map_with_path(of, state)

    def compile_train_step(
        self, step: Callable, constants=None, state=None, *, rematerialise: bool = False
    ) -> "TrainStep":
        """``step(state, batch, constants, *, axis_name)`` -> compiled ``step(state, batch)``.

        The state passed in is donated.

        Args:
            step: the pure step.
            constants: arrays that every step reads (a teacher's variables); put on all devices
                once, and arguments of the program, not part of its code.
            state: one that the step will get; needed with ``shard_optimizer``.
            rematerialise: the step computes parts of the network again, for memory's sake.
        """
        if self.mode == "pmap":
            compiled = jax.pmap(
                functools.partial(step, axis_name=AXIS),
                axis_name=AXIS,
                devices=self.devices,
                donate_argnums=0,
            )
        else:
            where = self.shardings(state) if self.shard_optimizer else self.replicated
            compiled = jax.jit(
                step,
                in_shardings=(where, self.batch_sharding, self.replicated),
                out_shardings=(where, self.replicated),
                donate_argnums=0,
                compiler_options=compiler_options(self.devices[0], rematerialise),
            )
        if constants is not None:
            constants = self.put_state(constants)
        return TrainStep(compiled, constants)

    def compile_eval_step(self, step: Callable) -> Callable:
        """``step(variables, batch) -> sums``, compiled for :meth:`put_eval_batch`'s batches."""
        return jax.jit(
            step, in_shardings=(self.replicated, self.batch_sharding), out_shardings=self.replicated
        )

    def put_state(self, state):
        """A host or single-device state -> on all devices, as the train step takes it."""
        # Through numpy: device_put may alias its source, and the step donates what it gets.
        state = jax.tree.map(np.array, state)
        if self.mode == "pmap":
            count = len([d for d in self.devices if d.process_index == jax.process_index()])
            state = jax.tree.map(lambda x: np.broadcast_to(x, (count, *x.shape)), state)
            return jax.pmap(lambda x: x, devices=self.devices)(state)
        return jax.device_put(state, self.shardings(state))

    def get_state(self, state):
        """The train step's state -> one replicated copy on the mesh (checkpoints, evaluation)."""
        if self.mode == "pmap":
            state = jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], state)
            return jax.device_put(state, self.replicated)
        if self.shard_optimizer:
            return jax.jit(lambda x: x, out_shardings=self.replicated)(state)
        return state

    def put_train_batch(self, batch: dict[str, np.ndarray]):
        """This process's part of a global batch -> device arrays for the train step."""
        if self.mode == "pmap":
            count = len([d for d in self.devices if d.process_index == jax.process_index()])
            return jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
        return self.put_eval_batch(batch)

    def put_eval_batch(self, batch: dict[str, np.ndarray]):
        """This process's part of a global batch -> one array sharded over the mesh."""
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(self.batch_sharding, x), batch
        )

    @staticmethod
    def local_value(x: jax.Array) -> np.ndarray:
        """A replicated metric on the host; waits for it."""
        return np.asarray(x.addressable_shards[0].data)
