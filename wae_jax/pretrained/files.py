"""Files of weights -> {name: array}. None of the readers runs anything that a file says."""

import dataclasses
import json
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax.errors import UserError
from wae_jax.runtime.files import open_regular, read_json

PICKLE_SUFFIXES = (".pth", ".pt")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.safetensors`` or PyTorch ``.pth`` file.

    Raises:
        UserError: another kind of file, or one that is damaged.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLE_SUFFIXES:
        return _read_pytorch(path)
    raise UserError(
        f"{path}: weights of torchvision and timm are read from .safetensors or "
        f"{', '.join(PICKLE_SUFFIXES)} files"
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except MemoryError as error:
        size = path.stat().st_size / 1e9
        raise UserError(
            f"there is not enough memory for {path}, which has {size:.1f} GB"
        ) from error
    except (safetensors.SafetensorError, OSError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}") from error


def _read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """Through PyTorch's weights-only loader, which builds nothing but tensors and containers."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"reading {path} needs PyTorch (pip install torch); .safetensors files "
            "need nothing more"
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors, or is damaged; what is no tensor is not loaded"
        ) from error
    except Exception as error:  # it raises many kinds for damaged files
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise UserError(f"{path} is not a readable PyTorch file of weights: {reason}") from error
    if not isinstance(state, Mapping) or not all(torch.is_tensor(x) for x in state.values()):
        raise UserError(f"{path} does not hold a state dict (names and tensors)")
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        for name, tensor in state.items()
    }


@dataclasses.dataclass(frozen=True)
class KerasFile:
    """What a Keras file holds.

    Attributes:
        arrays: by "layer/weight", as "conv1/kernel" or "bn_conv1/moving_variance".
        layers: the layers' configs by name; empty where the file has weights alone.
    """

    arrays: dict[str, np.ndarray]
    layers: dict[str, dict[str, Any]]


def read_keras(path: Path) -> KerasFile:
    """A TensorFlow.js layers model (``model.json``, its shards beside it) or a Keras ``.h5``.

    Raises:
        UserError: another kind of file, or one that is damaged.
    """
    if path.is_dir() and (path / "model.json").exists():
        path = path / "model.json"
    if path.suffix == ".json":
        return _read_layers_model(path)
    if path.suffix in (".h5", ".hdf5"):
        return _read_h5(path)
    raise UserError(f"{path}: weights of Keras are read from model.json or .h5 files")


def _read_layers_model(path: Path) -> KerasFile:
    try:
        content = read_json(path)
        topology = content["modelTopology"]
        groups = [
            (
                [str(name) for name in group["paths"]],
                [
                    (
                        str(w["name"]),
                        str(w["dtype"]),
                        tuple(map(int, w["shape"])),
                        "quantization" in w,
                    )
                    for w in group["weights"]
                ],
            )
            for group in content["weightsManifest"]
        ]
        layers = _layers(topology.get("model_config", topology))
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a layers model of TensorFlow.js ({type(error).__name__}: {error})"
        ) from error
    arrays = {}
    for shards, weights in groups:
        negative = [name for name, _, shape, _ in weights if min(shape, default=0) < 0]
        if negative:
            raise UserError(f"{path}: the shape of {negative[0]!r} has a negative size")
        odd = [name for name, dtype, _, quantised in weights if dtype != "float32" or quantised]
        if odd:
            raise UserError(
                f"{path}: only float32 weights can be read, and these are not: "
                + ", ".join(odd[:4])
            )
        numbers = _read_shards(path, shards, sum(math.prod(shape) for _, _, shape, _ in weights))
        start = 0
        for name, _, shape, _ in weights:
            count = math.prod(shape)
            arrays[name] = numbers[start : start + count].reshape(shape)
            start += count
    return KerasFile(arrays, layers)


def _read_shards(model: Path, names: list[str], count: int) -> np.ndarray:
    """The ``count`` float32 numbers that the files ``names`` beside ``model`` hold together."""
    parts = []
    for name in names:
        if Path(name).name != name or names.count(name) > 1:
            raise UserError(f"{model} names the file {name!r}, which is not beside it, or twice")
        try:
            with open_regular(model.parent / name) as file:
                parts.append(file.read())
        except (OSError, ValueError) as error:  # ValueError: no name that a file can have
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"cannot read {name!r} beside {model}: {reason}") from error
    data = b"".join(parts)
    if len(data) != 4 * count:
        raise UserError(
            f"the weights of {model} ({', '.join(names[:3])}...) have {len(data)} "
            f"bytes together, where {4 * count} are needed: a file is cut short or "
            "of another model"
        )
    return np.frombuffer(data, "<f4")


# Keras 1, which wrote the weights of VGG16 that Keras still distributes, had other names.
_KERAS_1 = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
    "gamma": "gamma",
    "beta": "beta",
}


def _read_h5(path: Path) -> KerasFile:
    from wae_jax.pretrained import h5

    try:
        found, config = h5.read(path)
        layers = _layers(json.loads(config)) if config else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is not a readable HDF5 file of Keras: {error}") from error
    if any(name.startswith(("layers/", "vars/")) for name in found):
        raise UserError(
            f"{path} is a .weights.h5 of Keras 3, which does not keep the layers' names; write it "
            "with model.save('NAME.h5')"
        )
    arrays: dict[str, np.ndarray] = {}
    for name, array in found.items():
        layer, leaf = name.split("/")[0], name.split("/")[-1].partition(":")[0]
        if old := re.fullmatch(rf"{re.escape(layer)}_({'|'.join(_KERAS_1)})(_\d+)?", leaf):
            leaf = _KERAS_1[old[1]]
        arrays[f"{layer}/{leaf}"] = array
    return KerasFile(arrays, layers)


def _layers(model_config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {layer["config"]["name"]: layer["config"] for layer in model_config["config"]["layers"]}
