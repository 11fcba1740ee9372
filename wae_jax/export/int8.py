"""ONNX files in int8: post-training quantisation, calibrated and evaluated on real photos."""

import contextlib
import dataclasses
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax import data
from wae_jax.config import DataSettings
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.evaluation.outcomes import Outcomes, classify_each, only_best
from wae_jax.export.checkpoint import Exported, median_ms, of_length, open_exported
from wae_jax.export.formats import IMAGES, SCORES, Call, write_onnx
from wae_jax.export.runtimes import check_extra, import_extra, open_onnxruntime
from wae_jax.runtime import files
from wae_jax.runtime.console import progress_bar

CALIBRATION_PHOTOS, EVALUATED_PHOTOS = 256, 1000
# What computes in int8; without the sums and pools each conv would convert from float and back.
_LAYERS = ("Conv", "Gemm", "MatMul")
_KINDS = (*_LAYERS, "Add", "Relu", "MaxPool")
_LEAST_AGREEMENT = 0.5  # of the classes, below which a file cannot be meant
_BATCH = 16  # images in a call of a file for any number


@dataclasses.dataclass(frozen=True)
class Int8Trial:
    """What an int8 file gave beside the float32 file of the same checkpoint, in ONNX Runtime.

    Attributes:
        difference: the largest between any two scores, over the largest score.
        agreement: fraction of photos that get the same class.
        top1, float_top1: fractions of photos whose class is right.
        photos, calibration: how many, and of which data set.
        float_layers: nodes of the file that stay float32, of those with weights.
        layers: how many nodes have weights.
        batch: images in a timed call.
        ms, float_ms: median time of a call in milliseconds.
        bytes, float_bytes: sizes of the files.
    """

    difference: float
    agreement: float
    top1: float
    float_top1: float
    photos: str
    calibration: str
    float_layers: tuple[str, ...]
    layers: int
    batch: int
    ms: float
    float_ms: float
    bytes: int
    float_bytes: int

    def lines(self) -> tuple[str, ...]:
        """Lines for people."""
        count = self.layers - len(self.float_layers)
        return (
            f"calibrated on {self.calibration}",
            f"{count} of {self.layers} layers in int8; float32 stay: "
            f"{', '.join(self.float_layers) or 'none'}",
            f"top-1 {100 * self.top1:.2f} % in int8, {100 * self.float_top1:.2f} % in float32, the "
            f"same class for {100 * self.agreement:.2f} % ({self.photos})",
            f"scores differ by {self.difference:.1e} of the largest at most",
            f"a call with batch {self.batch} in ONNX Runtime: {self.ms:.2f} ms in int8, "
            f"{self.float_ms:.2f} ms in float32; {self.bytes / 1e6:.2f} MB, "
            f"{self.float_bytes / 1e6:.2f} MB",
        )


def export_int8(
    checkpoint: str,
    out: Path,
    *,
    batch: int | None,
    calibrate: str = "",
    calibration_photos: int = CALIBRATION_PHOTOS,
    evaluated_photos: int = EVALUATED_PHOTOS,
) -> Int8Trial:
    """Writes a trained classifier as an ONNX file whose layers compute in int8.

    Weights have a scale for each filter, activations one for each tensor, between the extremes that
    the calibration photos gave; conversions are explicit nodes (QDQ). Weights use seven bits: on
    CPUs without VNNI, pairs of products would overflow 16 bits otherwise. The layer that makes the
    scores stays float32. The file appears only after it was evaluated.

    Args:
        checkpoint: a training workdir or one of its checkpoint steps.
        out: the file; its folder must exist.
        batch: images in a call; None for any number.
        calibrate: split of the run's data set; empty: its training split.
        calibration_photos: how many of them.
        evaluated_photos: of the run's evaluation split, by which the file is judged.

    Raises:
        UserError: no usable checkpoint or data, a package is missing, or the file names other
            classes than the float32 file for most photos.
    """
    check_extra("onnx")
    check_extra("onnxruntime")
    exported = open_exported(checkpoint, batch)
    d = exported.settings.data
    calibrate = calibrate or d.train_split
    # Before anything is computed: both must be there.
    for split in (calibrate, d.eval_split):
        data.open_split(d, split, _classes(exported))
    photos = list(_photos(exported, calibrate, calibration_photos))
    judged = list(_photos(exported, d.eval_split, evaluated_photos))
    try:
        with tempfile.TemporaryDirectory() as folder, files.in_the_making(out) as partial:
            plain = Path(folder) / "float32.onnx"
            write_onnx(exported.network, plain)
            with progress_bar("calibrating", 1, unit="pass") as bar:
                quantise(plain, partial, [part for part, _, _ in photos])
                bar.update()
            seen = f"{sum(n for _, _, n in photos)} photos of {d.name}, {calibrate}"
            _describe(partial, exported.network.metadata, seen)
            trial = _tried(partial, plain, judged, seen, f"{d.name}, {d.eval_split}")
            if trial.agreement < _LEAST_AGREEMENT:
                raise UserError(
                    f"not written: in int8 only {100 * trial.agreement:.0f} % of the photos get "
                    f"the class that they get in float32 ({trial.photos})"
                )
            return trial
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error


def classify_with_file(
    path: Path, settings: DataSettings, split: str, classes: data.Classes
) -> Outcomes:
    """What an ONNX file for any number of images says of every image of a split.

    Raises:
        UserError: ONNX Runtime is missing or does not take the file, or there is no such data.
    """
    call = open_onnxruntime(path).call
    return classify_each(lambda images: only_best(call(images)[SCORES]), settings, split, classes)


def _classes(exported: Exported) -> data.Classes:
    return classes_of(exported.meta, f"the checkpoint {exported.folder}")


def _photos(
    exported: Exported, split: str, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Photos (B, S, S, 3) for calls of the file, labels, and how many of them are not repeated."""
    size = exported.network.batch or _BATCH
    for batch in data.sample_batches(
        exported.settings.data, split, count, size, _classes(exported)
    ):
        images = np.asarray(batch["image"])
        full = of_length(images, size) if exported.network.batch else images
        yield full, np.asarray(batch["label"]), len(images)


def quantise(plain: Path, out: Path, photos: Iterable[np.ndarray]) -> None:
    """Writes an ONNX file whose layers compute in int8; see :func:`export_int8` for how.

    Args:
        plain: a file in float32.
        out: the file; may be ``plain``.
        photos: for calibration, uint8 (B, S, S, 3) for each call.

    Raises:
        UserError: the package onnx or onnxruntime is missing.
    """
    quantization = import_extra("onnxruntime.quantization")
    onnx = import_extra("onnx")
    model = onnx.load(plain)
    nodes = model.graph.node
    with _quiet():
        quantization.quantize_static(
            model,
            str(out),
            _reader(quantization, photos),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_KINDS),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=[node.name for node in _last_layer(nodes)],
        )


def _reader(quantization, photos: Iterable[np.ndarray]) -> Any:
    """What the quantiser draws its inputs from."""

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(photos)

        def get_next(self):
            images = next(self.left, None)
            return None if images is None else {IMAGES: images}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser recommends its own preparation, which these files do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _last_layer(nodes) -> list[Any]:
    """The nodes that make the scores: from the last with weights on."""
    index = max(i for i, node in enumerate(nodes) if node.op_type in _LAYERS)
    return list(nodes[index:])


def _float_layers(nodes) -> tuple[list[str], int]:
    """Nodes with weights that do not compute in int8, and how many have weights."""
    by_output = {name: node.op_type for node in nodes for name in node.output}
    layers = [node for node in nodes if node.op_type in _LAYERS]
    plain = [
        node.name or node.output[0]
        for node in layers
        if any(by_output.get(name) != "DequantizeLinear" for name in node.input[:2])
    ]
    return plain, len(layers)


def _describe(path: Path, metadata: dict[str, Any], calibration: str) -> None:
    """Gives the file what every file of this package says of itself."""
    onnx = import_extra("onnx")
    model = onnx.load(path)
    plain, _ = _float_layers(model.graph.node)
    quantisation = {"calibration": calibration, "float32_layers": plain}
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in {**metadata, "int8": quantisation}.items()
    }
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _tried(path: Path, plain: Path, judged, calibration: str, of: str) -> Int8Trial:
    calls = [open_onnxruntime(file).call for file in (path, plain)]
    with progress_bar("evaluating", len(judged), unit="batch") as bar:
        parts = []
        for images, _, count in judged:
            parts.append([np.asarray(call(images)[SCORES])[:count] for call in calls])
            bar.update()
    ours, theirs = (np.concatenate(scores) for scores in zip(*parts, strict=True))
    labels = np.concatenate([labels for _, labels, _ in judged])
    batch = judged[0][0]
    float_layers, layers = _float_layers(import_extra("onnx").load(path).graph.node)

    def right(scores: np.ndarray) -> float:
        return float((scores.argmax(1) == labels).mean())

    return Int8Trial(
        difference=float(np.abs(ours - theirs).max() / np.abs(theirs).max()),
        agreement=float((ours.argmax(1) == theirs.argmax(1)).mean()),
        top1=right(ours),
        float_top1=right(theirs),
        photos=f"{len(labels)} photos of {of}",
        calibration=calibration,
        float_layers=tuple(float_layers),
        layers=layers,
        batch=len(batch),
        ms=_time(calls[0], batch),
        float_ms=_time(calls[1], batch),
        bytes=path.stat().st_size,
        float_bytes=plain.stat().st_size,
    )


def _time(call: Call, images: np.ndarray) -> float:
    return median_ms(lambda: call(images))
