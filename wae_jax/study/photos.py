"""Photos to look at, as a network sees them: files that are named, or the first of a split."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax import data
from wae_jax.config import DataSettings
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.evaluation.predict import find_images
from wae_jax.evaluation.predictor import prepare
from wae_jax.runtime.files import open_regular


@dataclasses.dataclass(frozen=True)
class Photos:
    """uint8 RGB (N, S, S, 3), and what each is called."""

    images: np.ndarray
    names: list[str]


def photos_in_files(paths: Sequence[str], settings: DataSettings, count: int) -> Photos:
    """The first ``count`` photos in files and folders, resized as for a prediction.

    Raises:
        UserError: A path that does not exist, a folder without photos, or a file that is no image.
    """
    found = [file for file in find_images(paths) if isinstance(file, str)][:count]
    size, as_is = settings.image_size, settings.augmentation == "small"
    transform = data.make_transform("imagenet", size, train=False)
    images = np.empty((len(found), size, size, 3), np.uint8)
    for target, file in zip(images, found, strict=True):
        try:
            with open_regular(file) as opened:
                encoded = opened.read()
            target[:] = prepare(encoded, transform, as_is=as_is, reading=data.Reading.of(settings))
        except data.DecodeError as error:
            raise UserError(f"cannot read {file}: {error}") from error
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from error
    # Names may hold bytes that are no text.
    return Photos(
        images, [os.fsencode(Path(file).name).decode("utf-8", "replace") for file in found]
    )


def photos_of_split(
    settings: DataSettings, split: str, meta: dict[str, Any], folder: Path, count: int
) -> Photos:
    """The first ``count`` photos of a split, transformed as for evaluation, named by class.

    Args:
        settings: Of the data set.
        split: Which part of it.
        meta: What describes the checkpoint.
        folder: The checkpoint, for messages.
        count: How many.

    Raises:
        UserError: No such data, or of other classes.
    """
    source = data.open_split(settings, split, classes_of(meta, f"the checkpoint {folder}"))
    transform = data.make_transform(settings.augmentation, settings.image_size, train=False)
    count = min(count, len(source))
    records = data.DecodedRecords(source, data.Reading.of(settings))
    batch = next(iter(data.make_eval_loader(records, transform, batch_size=count)))
    known = source.info.class_names
    labels = batch["label"].tolist()
    names = [known[label] if known else f"class {label}" for label in labels]
    return Photos(batch["image"], names)
