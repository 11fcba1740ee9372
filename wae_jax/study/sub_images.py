"""A picture of what the front end does: I, I_L, I_H and the reconstruction."""

import dataclasses

import numpy as np

from wae_jax import data
from wae_jax.checkpoints.load import load_step
from wae_jax.config import ModelSettings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.models.classifier import run
from wae_jax.models.frontends import SINGLE


def _stretch(images: np.ndarray) -> np.ndarray:
    """(n, h, w, C) -> RGB in 0..1: each channel from its 1st to its 99th percentile over all n."""
    low, high = np.percentile(images, [1, 99], axis=(0, 1, 2))
    return np.clip((images - low) / np.maximum(high - low, 1e-8), 0, 1)[..., :3]


def check_two_sub_images(model: ModelSettings, whose: str) -> None:
    """Raises UserError where the front end makes one sub-image only."""
    if model.frontend.name in SINGLE:
        raise UserError(f"{whose} makes one sub-image only: there is nothing to compare it with")


def draw_sub_images(
    folder, path: str, *, count: int = 8, split: str = "", data_dir: str = "", data_name: str = ""
) -> None:
    """Writes a picture with the first ``count`` images of a split, one a column.

    Sub-images are in learned units: both are shown stretched, and I_H also on I_L's scale, where
    it is as dark as its energy is low.

    Args:
        folder: A verified checkpoint step.
        path: The file; its suffix says which kind.
        count: How many images.
        split: Empty for the run's evaluation split.
        data_dir: Where the data set is; empty for the run's own.
        data_name: Another data set; empty for the run's own.

    Raises:
        UserError: The front end has only one sub-image, or matplotlib is not installed.
    """
    model, variables, meta = load_step(folder)
    settings = settings_from_config(meta["config"])
    check_two_sub_images(settings.model, f"the front end of {folder}")
    d = dataclasses.replace(
        settings.data,
        data_dir=data_dir or settings.data.data_dir,
        name=data_name or settings.data.name,
    )
    source = data.open_split(d, split or d.eval_split, classes_of(meta, f"the checkpoint {folder}"))
    transform = data.make_transform(d.augmentation, d.image_size, train=False)
    records = data.DecodedRecords(source, data.Reading.of(d))
    batch = next(iter(data.make_eval_loader(records, transform, batch_size=count)))
    outputs = run(model, variables, batch["image"], reconstruct=True)
    assert outputs.sub_images is not None  # as after every run
    low, high = (
        np.asarray(x, np.float32) for x in (outputs.sub_images.low, outputs.sub_images.high)
    )
    # I_H around its mean, in units of I_L's spread: black is no detail.
    detail = np.abs(high[..., :3] - high[..., :3].mean((0, 1, 2))) / (2 * low.std() + 1e-8)
    rows = {
        "I": batch["image"] / 255.0,
        "I_L": _stretch(low),
        "I_H (stretched)": _stretch(high),
        "|I_H| on I_L's scale": np.clip(detail, 0, 1),
    }
    if outputs.reconstruction is not None:
        rebuilt = np.asarray(model.denormalise(outputs.reconstruction)) / 255.0
        rows["I' (rebuilt)"] = np.clip(rebuilt, 0, 1)
    _grid(rows, min(count, len(source))).savefig(path, dpi=110)


def _grid(rows: dict[str, np.ndarray], count: int):
    try:
        import matplotlib.figure
    except ImportError as error:
        raise UserError("drawing needs matplotlib: pip install matplotlib") from error
    figure = matplotlib.figure.Figure(
        figsize=(1.3 * count + 1.4, 1.4 * len(rows)), layout="constrained"
    )
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        height, width = images.shape[1:3]
        line[0].set_ylabel(
            f"{name}\n{height} x {width}", rotation=0, ha="right", va="center", fontsize=9
        )
    return figure
