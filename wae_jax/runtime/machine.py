"""What is known of the machine's processor."""

import hashlib
import os
import platform
import re
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")


def _cpu_info(*names: str) -> str:
    """The value of the first entry with one of these names, empty where there is none."""
    try:
        text = _CPU_INFO.read_text()
    except OSError:
        return ""
    match = re.search(rf"^(?:{'|'.join(names)})\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else ""


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def int8_instructions() -> tuple[str, ...]:
    """Those that add up products of 8-bit integers, of x86 and ARM; empty also where unknown."""
    flags = _cpu_info("flags", "Features").split()
    return tuple(name for name in _INT8 if name in flags)


def cpu_kind() -> str:
    """A name for a folder: processors of the same kind run the same machine code as fast."""
    instructions = _cpu_info("flags", "Features")
    digest = hashlib.sha256(f"{cpu_model()} {instructions}".encode()).hexdigest()
    return f"{re.sub(r'[^a-z0-9]+', '-', cpu_model().lower()).strip('-')}-{digest[:8]}"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_threads() -> int:
    """Threads of XLA's CPU backend: one per usable core, or ``PJRT_NPROC``."""
    return int(os.environ.get("PJRT_NPROC") or usable_cores())
