"""A checkpoint as a file for other programs, which is tried before it gets its name."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import wae_jax
from wae_jax import data
from wae_jax.checkpoints import folders, manifest
from wae_jax.checkpoints.load import load_step
from wae_jax.config import DataSettings, Settings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.export.formats import FORMATS, SCORES, Call, Network
from wae_jax.export.half import TOLERANCES, halve_weights
from wae_jax.export.runtimes import check_extra
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import Classifier, build_model, scores_of
from wae_jax.runtime import files

PHOTOS = 20
BATCHES = (1, 7)  # that a file for any batch is tried with
TOLERANCE = 1e-4  # of the largest score
_SECONDS = 1.0  # of timing each


@dataclasses.dataclass(frozen=True)
class Trial:
    """What came out when a file was run beside the checkpoint that it was made of.

    Attributes:
        difference: the largest between any two scores, over the largest score.
        photos: on how many photos, and of which data set.
        batch: images in a timed call.
        file_ms, jax_ms: median time of a call in milliseconds, of the file and of the checkpoint's
            inference form in jax.
        runtime: what ran the file.
    """

    difference: float
    photos: str
    batch: int
    file_ms: float
    jax_ms: float
    runtime: str

    def lines(self) -> tuple[str, str]:
        """Two lines for people."""
        return (
            f"scores differ by {self.difference:.1e} of the largest at most ({self.photos})",
            f"a call with batch {self.batch}: {self.file_ms:.2f} ms in {self.runtime}, "
            f"{self.jax_ms:.2f} ms in jax",
        )


def export_checkpoint(
    checkpoint: str, out: Path, *, kind: str, batch: int | None, weights: str = "float32"
) -> Trial:
    """Writes a trained classifier as a file; it appears only after it gave the right scores.

    The network is exported in float32, whatever it was trained in.

    Args:
        checkpoint: a training workdir or one of its checkpoint steps.
        out: the file; its folder must exist.
        kind: a name in :data:`wae_jax.export.formats.FORMATS`.
        batch: images in a call; None for any number.
        weights: "float32", or for ONNX a name in :data:`wae_jax.export.half.TOLERANCES`.

    Raises:
        UserError: no usable checkpoint, a package is missing, the network has an operation that the
            format lacks, no photos can be had, or the file's scores are wrong.
    """
    if kind == "onnx":  # before anything is computed
        check_extra("onnx")
        check_extra("onnxruntime")
    exported = open_exported(checkpoint, batch)
    model, variables, network = exported.model, exported.variables, exported.network
    images, origin = _photos(exported.settings.data, exported.meta, str(exported.folder))
    with jax.default_matmul_precision("highest"):
        expected = _scores(model, variables, images)
        # Before the file is opened: its runtime's threads may keep spinning after a call.
        jax_ms = _time_jax(model, variables, images, batch or 1)
        try:
            with files.in_the_making(out) as partial:
                FORMATS[kind].write(network, partial)
                if weights != "float32":
                    halve_weights(partial, weights)
                tolerance = TOLERANCES.get(weights, TOLERANCE)
                call = FORMATS[kind].open(partial)
                where = FORMATS[kind].runtime
                worst = _checked(call, where, network, images, expected, tolerance)
                some = of_length(images, batch or 1)
                file_ms = median_ms(lambda: call(some))
                return Trial(worst, origin, batch or 1, file_ms, jax_ms, where)
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror or error}") from error


@dataclasses.dataclass(frozen=True)
class Exported:
    """A checkpoint that becomes a file.

    Attributes:
        network: what is written.
        model, variables: its training form, in float32.
        settings, meta: of the run.
        folder: its step directory.
    """

    network: Network
    model: Classifier
    variables: Any
    settings: Settings
    meta: dict[str, Any]
    folder: Path


def open_exported(checkpoint: str, batch: int | None) -> Exported:
    """Opens what :func:`export_checkpoint` exports.

    Raises:
        UserError: no usable checkpoint.
    """
    folder = folders.find(checkpoint)
    model, variables, meta = load_step(folder)
    settings = settings_from_config(meta["config"])
    if settings.model.dtype != "float32":
        model = build_model(
            dataclasses.replace(settings.model, dtype="float32"),
            num_classes=meta["num_classes"],
            image_size=settings.data.image_size,
        )
    network = _network(model, variables, settings.data, meta, manifest.fingerprint(folder), batch)
    return Exported(network, model, variables, settings, meta, folder)


def _network(
    model: Classifier, variables, settings: DataSettings, meta, sha256: str, batch: int | None
) -> Network:
    # As wae-jax predict: photos of any size, but for those of "small" sets that have the right one.
    transform = data.make_transform("imagenet", settings.image_size, train=False)
    names = [str(name) for name in meta["class_names"] or ()]
    assert isinstance(transform, data.ImageNetEval)
    metadata: dict[str, Any] = {
        "class_names": names,
        "input": {
            "name": "images",
            "type": "uint8",
            "layout": "NHWC",
            "channels": "RGB",
            "range": [0, 255],
            "size": settings.image_size,
            "normalisation": "inside the network",
        },
        "preprocessing": {
            "resize_shorter_side": transform.resize,
            "filter": "bilinear, antialiased",
            "centre_crop": settings.image_size,
            "as_is_if_of_that_size": settings.augmentation == "small",
            "exif_orientation": settings.exif_orientation,
        },
        "checkpoint_sha256": sha256,
        "stage": meta["stage"],
        "step": meta["step"],
        "config": meta["config"],
        "version": f"wae_jax {wae_jax.__version__}",
    }
    # For another platform than CPU: the plain convs.
    inference, folded = for_inference(model, variables, platform="cuda")
    return Network(inference, folded, settings.image_size, batch, metadata)


def _photos(settings: DataSettings, meta, checkpoint: str) -> tuple[np.ndarray, str]:
    """Photos (N, S, S, 3) as in evaluation, and whose they are; ImageNet's where there are none."""
    split = settings.eval_split
    try:
        source = data.open_split(settings, split, classes_of(meta, f"the checkpoint {checkpoint}"))
    except UserError:
        settings = dataclasses.replace(
            settings, name="foolbox_photos", augmentation="imagenet", data_dir=""
        )
        split = "validation"
        source = data.open_split(settings, split)
    loader = data.make_eval_loader(
        data.DecodedRecords(source, data.Reading.of(settings)),
        data.make_transform(settings.augmentation, settings.image_size, train=False),
        batch_size=PHOTOS,
        process_index=0,
        process_count=1,
        workers=0,
        bad_records="skip",
    )
    batch = next(iter(loader))
    images = np.asarray(batch["image"])[np.asarray(batch["mask"]) > 0]
    if not len(images):
        raise UserError(f"there is no photo in {settings.name} ({split}) to try the file with")
    return images, f"{len(images)} photos of {settings.name}, {split}"


def _scores(model: Classifier, variables, images: np.ndarray) -> np.ndarray:
    """The checkpoint's own, in its training form."""
    return np.asarray(jax.jit(lambda v, x: scores_of(model, v, x))(variables, images))


def _time_jax(model: Classifier, variables, images: np.ndarray, batch: int) -> float:
    images = of_length(images, batch)
    inference, folded = for_inference(model, variables, images.shape)
    call = jax.jit(lambda v, x: scores_of(inference, v, x))
    return median_ms(lambda: call(folded, images))


def _checked(call: Call, where: str, network: Network, images, expected, tolerance: float) -> float:
    """The largest difference of the file's scores, over the largest score."""
    worst = max(
        difference(call, images, expected, batch)
        for batch in ((network.batch,) if network.batch else BATCHES)
    )
    if not worst <= tolerance:
        raise UserError(
            f"not written: its scores in {where} differ from the checkpoint's by {worst:.1e} of "
            f"the largest, more than {tolerance:.0e}"
        )
    return worst


def difference(call: Call, images: np.ndarray, expected: np.ndarray, batch: int) -> float:
    """The largest difference of scores over the largest score, with calls of ``batch`` images."""
    found = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        found.append(np.asarray(call(of_length(part, batch))[SCORES])[: len(part)])
    return float(np.abs(np.concatenate(found) - expected).max() / np.abs(expected).max())


def of_length(images: np.ndarray, count: int) -> np.ndarray:
    """So many of the images, in turn."""
    return images[np.arange(count) % len(images)]


def median_ms(call: Callable[[], Any]) -> float:
    """Median time of a call in milliseconds, after one that does not count."""
    jax.block_until_ready(call())
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times))
