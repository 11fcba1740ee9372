"""The record of where a measurement was made; without it a time means nothing."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

import jax

from wae_jax.errors import UserError
from wae_jax.runtime import cache, origin, process
from wae_jax.runtime.machine import cpu_model, cpu_threads, usable_cores

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch", "onnxruntime", "openvino")


def pick_device(kind: str) -> jax.Device:
    """The first device of a kind ("cpu", "gpu", "tpu"); of jax's own choice where it is empty.

    Raises:
        UserError: there is none.
    """
    try:
        return jax.devices(kind or None)[0]
    except RuntimeError as error:
        raise UserError(f"jax finds no device for --devices={kind}: {error}") from error


def device_name(device: jax.Device) -> str:
    """What a reader of results calls the device: the GPU's or TPU's name, or the CPU's model."""
    return cpu_model() if device.platform == "cpu" else device.device_kind


def environment(device: jax.Device) -> dict[str, Any]:
    """Command, versions, flags, threads, processor, device and date, as JSON-able values.

    A package that is not installed has version None. ``load_average`` is the machine's own of the
    last minute, see :func:`busy_warning`.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "command": origin.command(),
        "commit": origin.commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **versions,
        "system": f"{platform.system()} {platform.release()}",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "async_dispatch": os.environ.get(process.ASYNC_DISPATCH, ""),
        # Its name alone: results are published, and where it lies is the user's own affair.
        "compilation_cache": os.path.basename(cache.compiled_folder()),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "matmul_precision": jax.config.values["jax_default_matmul_precision"],
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "cpu_threads": cpu_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "backend": device.platform,
        "device": device_name(device),
    }


def busy_warning(record: Mapping[str, Any]) -> str:
    """A sentence where the machine had other work when :func:`environment` was called, else empty.

    OpenMP's threads spin while they wait for one that another program has pushed off its core;
    with PyTorch's defaults a call of 1 ms was seen to take 90 ms on a busy machine.
    """
    load, cores = record["load_average"], record["cores"]
    if load is None or load <= cores:
        return ""
    return (
        f"the machine was busy at the start (load {load} on {cores} cores): intervals are "
        "wide, and PyTorch's times are worthless unless OMP_WAIT_POLICY=PASSIVE is set."
    )
