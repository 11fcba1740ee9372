"""Process settings that make jax fast on CPU; they must be in place before it starts computing."""

import ctypes
import importlib.metadata
import os

# By default these versions compile a whole CPU network into one fusion that packs its weights again
# at each call; one library call per dot or conv is about twice as fast (README, "Speed").
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=individual_dot"
# An unknown flag aborts the process, so only versions seen to know it get it.
KNOWN_JAXLIB = ("0.10.2", "0.11.2")

ASYNC_DISPATCH = "JAX_CPU_ENABLE_ASYNC_DISPATCH"

# mallopt parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def configure() -> str:
    """Adds the CPU flag to ``XLA_FLAGS`` where it is known and the user has not set it.

    Also keeps freed memory in the process, see :func:`keep_heap`. Returns the resulting
    ``XLA_FLAGS``. No effect on a backend that already runs.
    """
    keep_heap()
    flags = os.environ.get("XLA_FLAGS", "")
    name = CPU_FLAG.partition("=")[0]
    if name not in flags and importlib.metadata.version("jaxlib") in KNOWN_JAXLIB:
        flags = f"{flags} {CPU_FLAG}".strip()
        os.environ["XLA_FLAGS"] = flags
    return flags


def call_on_own_thread() -> None:
    """Runs CPU programs on the thread that calls them, for callers that wait for each result.

    glibc gives the heaps of other threads 64 MiB at most: a program with more scratch memory gets
    it newly mapped, page by page, at each call. A user's own setting stays.
    """
    import jax

    if ASYNC_DISPATCH not in os.environ:
        os.environ[ASYNC_DISPATCH] = "false"  # for the record; jax read it when it was imported
        jax.config.update(ASYNC_DISPATCH.lower(), False)


def keep_heap() -> bool:
    """Tells glibc not to give large freed blocks back to the system; False where there is no glibc.

    XLA's CPU buffers are allocated anew in each step. Given back and mapped again, a training step
    of a small network spends a tenth of a second and more in page faults.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    return all(
        mallopt(parameter, value)
        for parameter, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 << 20))
    )
