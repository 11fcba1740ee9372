"""ONNX files in the runtimes that serve them, on CPU in float32."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax.errors import UserError

# The extra of this package that brings another one.
_EXTRAS = {
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "torch": "torch",
    "tensorly": "compress",
}


@dataclasses.dataclass(frozen=True)
class OpenFile:
    """An ONNX file with one input in a runtime.

    Attributes:
        call: array of the input -> arrays by the names of the outputs, of any float precision.
        shape: of the input; None where the file leaves a side open.
        dtype: of the input.
        metadata: what the file says of itself.
    """

    call: Callable[[np.ndarray], Mapping[str, Any]]
    shape: tuple[int | None, ...]
    dtype: np.dtype
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


def import_extra(name: str) -> Any:
    """A module of an optional package: of "onnx", "onnxruntime", "openvino", "tensorly".

    Raises:
        UserError: It is not installed; says how to.
    """
    check_extra(name.partition(".")[0])
    return importlib.import_module(name)


def check_extra(package: str) -> None:
    """Raises UserError where an optional package is missing; it is not imported."""
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"this needs the package {package}: pip install 'wae-jax[{_EXTRAS[package]}]'"
        )


def open_onnxruntime(path: Path, threads: int = 0, *, spinning: bool = True) -> OpenFile:
    """The file in ONNX Runtime.

    Args:
        path: The file.
        threads: 0 for one per core.
        spinning: Whether they keep their cores while they wait for each other within a call,
            which is faster where nothing else wants them. After a call they let go: those of
            another network in the same process would have half of its cores for a while.

    Raises:
        UserError: The package onnxruntime is missing, or it does not take the file.
    """
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no common base but this
        raise _refused("ONNX Runtime", path, error) from error
    (given,) = _only_input("ONNX Runtime", path, session.get_inputs())
    names = [output.name for output in session.get_outputs()]
    return OpenFile(
        lambda x: dict(zip(names, session.run(names, {given.name: x}), strict=True)),
        tuple(side if isinstance(side, int) else None for side in given.shape),
        _dtype(given.type.removeprefix("tensor(").removesuffix(")")),
        session.get_modelmeta().custom_metadata_map,
    )


def open_openvino(path: Path, threads: int = 0) -> OpenFile:
    """The file in OpenVINO; ``threads``: 0 for one per core.

    Raises:
        UserError: The package openvino is missing, or it does not take the file.
    """
    openvino = _import_openvino()
    # In float32 as the others: by default it computes in bfloat16 where the processor can.
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = openvino.compile_model(str(path), "CPU", options)
    except RuntimeError as error:
        raise _refused("OpenVINO", path, error) from error
    (given,) = _only_input("OpenVINO", path, compiled.inputs)
    names = [output.any_name for output in compiled.outputs]
    request = compiled.create_infer_request()

    def call(x: np.ndarray) -> dict[str, np.ndarray]:
        found = request.infer([x], share_inputs=True)
        return {name: found[i] for i, name in enumerate(names)}

    shape = tuple(
        None if side.is_dynamic else side.get_length() for side in given.get_partial_shape()
    )
    return OpenFile(call, shape, np.dtype(given.get_element_type().to_dtype()))


def _import_openvino() -> Any:
    """The module ``openvino``, which would tell its makers of each import, from a forked process.

    It does not where it believes to be tested.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        return import_extra("openvino")
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _only_input(runtime: str, path: Path, inputs):
    if len(inputs) != 1:
        raise UserError(f"{path} has {len(inputs)} inputs in {runtime}; only files with one run")
    return inputs


def _dtype(name: str) -> np.dtype:
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))


def _refused(runtime: str, path: Path, error: Exception) -> UserError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"{runtime} does not take {path}: {lines[-1]}")


# What runs ONNX files, by the name of its package.
RUNTIMES: dict[str, Callable[..., OpenFile]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}
TITLES = {"jax": "JAX", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}
