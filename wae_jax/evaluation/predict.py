"""Classes of image files."""

import dataclasses
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax import data
from wae_jax.checkpoints import folders
from wae_jax.checkpoints.load import load_step
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import scores_of

BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, (number, name, probability), likeliest first.

    The name is empty where the checkpoint has none.
    """

    file: str
    classes: tuple[tuple[int, str, float], ...]

    def as_text(self) -> str:
        """The file and a line per class."""
        lines = (
            f"  {100 * probability:5.1f} %  {number:4d}  {name}".rstrip()
            for number, name, probability in self.classes
        )
        return "\n".join([self.file, *lines])

    def as_json(self) -> str:
        """One JSON object on one line."""
        keys = ("class", "name", "probability")
        return json.dumps(
            {
                "file": self.file,
                "classes": [
                    dict(zip(keys, (number, name or None, round(probability, 6)), strict=True))
                    for number, name, probability in self.classes
                ],
            }
        )


def find_images(paths: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files themselves, and the image files in folders (at any depth), sorted.

    Returns:
        The files, and a sentence for every folder that cannot be searched.

    Raises:
        UserError: A path that does not exist, or folders without any image.
    """
    found, closed = [], []
    for path in map(Path, paths):
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        if not is_folder:
            found.append(path)
            continue
        unread: list[OSError] = []
        inside = sorted(
            Path(folder, name)
            for folder, _, names in os.walk(path, onerror=unread.append)
            for name in names
            if Path(name).suffix.lower() in data.PHOTO_SUFFIXES
        )
        if not inside and not unread:
            raise UserError(
                f"no image files in {path} (they end in {', '.join(data.PHOTO_SUFFIXES)})"
            )
        found += inside
        closed += [f"the folder {error.filename} ({error.strerror})" for error in unread]
    if not found:
        raise UserError(f"no image files: cannot read {_few(closed)}")
    return found, closed


def predict_files(checkpoint: str, paths: Sequence[str], *, top: int = 5) -> Iterator[Prediction]:
    """The ``top`` classes of every image, as the network sees them in evaluation.

    Raises:
        UserError: No usable checkpoint, no such file; at the end, files that are no images and
            folders that cannot be searched.
    """
    if top < 1:
        raise UserError(f"--top is {top}; it must be at least 1")
    files, closed = find_images(paths)
    model, variables, meta = load_step(folders.find(checkpoint))
    settings = settings_from_config(meta["config"]).data
    model, variables = for_inference(model, variables)

    @jax.jit
    def probabilities(variables, images):
        return jax.nn.softmax(scores_of(model, variables, images))

    names = meta["class_names"] or [""] * meta["num_classes"]
    bad = []
    size = settings.image_size
    resize = data.make_transform("imagenet", size, train=False)
    batch_size = min(BATCH_SIZE, len(files))
    for start in range(0, len(files), batch_size):
        good: list[Path] = []
        images = np.zeros((batch_size, size, size, 3), np.uint8)
        for file in files[start : start + batch_size]:
            try:
                image = data.decode(file.read_bytes())
            except data.DecodeError:
                bad.append(f"{file} (no image, or damaged)")
                continue
            except OSError as error:
                bad.append(f"{file} ({error.strerror})")
                continue
            # Small images of the right size are evaluated uncropped.
            as_is = settings.augmentation == "small" and image.shape == (size, size, 3)
            images[len(good)] = image if as_is else resize([image], np.zeros((1, 0)))[0]
            good.append(file)
        rows = np.asarray(probabilities(variables, jnp.asarray(images)))
        for file, row in zip(good, rows, strict=False):
            best = np.argsort(-row, stable=True)[:top]
            yield Prediction(str(file), tuple((int(i), names[i], float(row[i])) for i in best))
    problems = []
    if bad:
        problems.append(f"{len(bad)} of {len(files)} files cannot be read: {_few(bad)}")
    if closed:
        problems.append(f"photos may be missing, cannot read {_few(closed)}")
    if problems:
        raise UserError("; ".join(problems))


def _few(items: Sequence[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return "; ".join(items[:3]) + more
