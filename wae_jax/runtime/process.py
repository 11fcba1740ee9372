"""Process settings that make jax fast; they must be in place before it starts computing."""

import ctypes
import importlib.metadata
import logging
import os
import sys

from wae_jax.runtime.cache import keep_compiled

# By default these versions compile a whole CPU network into one fusion that packs its weights again
# at each call; one library call per dot or conv is about twice as fast (docs/performance.md).
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=individual_dot"
# An unknown flag aborts the process, so only versions seen to know it get it.
KNOWN_JAXLIB = ("0.10.2", "0.11.2")

ASYNC_DISPATCH = "JAX_CPU_ENABLE_ASYNC_DISPATCH"

# mallopt parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

_log = logging.getLogger("wae_jax")
_said: set[str] = set()
_configured = False


def configure() -> None:
    """Makes jax fast in this process: call it once, before the first jax computation.

    All programs of this package do. On CPU about twice as fast, see docs/performance.md: it adds a
    flag to ``XLA_FLAGS`` where the version of jaxlib is known to have it and the user has not set
    it, and keeps freed memory in the process. On all platforms, compiled programs are kept in the
    cache folder (``WAE_JAX_CACHE``, else ``.cache/wae_jax``) for the next start, unless
    ``WAE_JAX_COMPILATION_CACHE=0`` or ``JAX_COMPILATION_CACHE_DIR`` is set. May be called again.

    Where jax's CPU backend already runs, the flag comes too late: the log says so once.
    """
    global _configured
    _configured = True
    keep_heap()
    _add_cpu_flag()
    keep_compiled()


def expect_configured() -> None:
    """Says once in the log, where :func:`configure` has not been called, what is lost."""
    if not _configured:
        _warn_once(
            "a network is built for the CPU, but wae_jax.configure() was not called before the "
            "first jax computation: it will run at about half its speed"
        )


def _warn_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        _log.warning(text)


def _add_cpu_flag() -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    known = importlib.metadata.version("jaxlib") in KNOWN_JAXLIB
    if not known or CPU_FLAG.partition("=")[0] in flags:
        return
    if _cpu_backend_runs():
        # XLA_FLAGS stays as it is: it also records what was in force.
        _warn_once(
            "wae_jax.configure() was called after the first jax computation: its XLA flag, with "
            "which networks are about twice as fast on CPU, comes too late"
        )
    else:
        os.environ["XLA_FLAGS"] = f"{flags} {CPU_FLAG}".strip()


def _cpu_backend_runs() -> bool:
    # jax has no public function that tells whether a backend runs without starting it.
    bridge = sys.modules.get("jax._src.xla_bridge")
    runs = getattr(bridge, "backends_are_initialized", lambda: False)
    return runs() and sys.modules["jax"].default_backend() == "cpu"


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
