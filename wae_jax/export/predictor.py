"""An exported file as what classifies photos; it says itself how it wants them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax import data
from wae_jax.errors import UserError
from wae_jax.evaluation.predictor import BATCH_SIZE, Predictor
from wae_jax.export import stablehlo
from wae_jax.export.formats import PROBABILITIES, Call
from wae_jax.export.runtimes import open_onnxruntime

SUFFIXES = (".onnx", ".stablehlo")


@dataclasses.dataclass(frozen=True)
class _File:
    """call: what it computes. batch: images in a call, None for any number."""

    call: Call
    batch: int | None
    metadata: dict[str, Any]


def of_file(path: str, *, batch_size: int | None = None) -> Predictor:
    """The network of a file that ``wae-jax export`` wrote: ``.onnx`` or ``.stablehlo``.

    Args:
        path: the file.
        batch_size: images in a call; None for the file's own, or 16 where it takes any number.

    Raises:
        UserError: no such file, one of another kind or origin, another batch than the file takes,
            or a package is missing.
    """
    kind = Path(path).suffix
    if kind not in SUFFIXES:
        raise UserError(f"{path} does not end in one of: {', '.join(SUFFIXES)}")
    if not Path(path).is_file():
        raise UserError(f"there is no file {path}")
    file = _open_onnx(path) if kind == ".onnx" else _open_stablehlo(path)
    if file.batch and batch_size not in (None, file.batch):
        raise UserError(
            f"{path} takes {file.batch} image(s) in a call, and not {batch_size}; export it with "
            "--batch=dynamic for any number"
        )
    try:
        how = file.metadata["preprocessing"]
        transform = data.ImageNetEval(how["centre_crop"], how["resize_shorter_side"])
        names = tuple(map(str, file.metadata["class_names"]))
        as_is = bool(how["as_is_if_of_that_size"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say how it wants photos; was it written by wae-jax export?"
        ) from error
    return Predictor(
        lambda images: np.asarray(file.call(images)[PROBABILITIES]),
        names,
        transform,
        as_is=as_is,
        batch_size=file.batch or batch_size or BATCH_SIZE,
        # Of another number of images jax would compile another program.
        fixed=file.batch is not None or kind == ".stablehlo",
        reading=data.Reading(exif_orientation=how.get("exif_orientation", True)),
    )


def _open_stablehlo(path: str) -> _File:
    exported = stablehlo.load(path)
    return _File(exported, exported.batch, exported.metadata)


def _open_onnx(path: str) -> _File:
    # Decoding the next photos needs the cores after each call.
    file = open_onnxruntime(Path(path), spinning=False)
    keys = file.metadata.keys() & {"class_names", "preprocessing"}
    return _File(file.call, file.shape[0], {key: json.loads(file.metadata[key]) for key in keys})
