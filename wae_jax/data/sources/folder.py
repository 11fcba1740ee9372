"""Photos in folders `split/class/photo.jpg`, read in place.

The classes are the names of the class folders, sorted. The records of a split are its photos in a
fixed shuffled order, as TFDS shuffles when it prepares, so that a part such as `train[:99%]` has
photos of all classes. Hidden files, and files that are no images by their names, are passed over.
"""

import os
import re
from pathlib import Path

import numpy as np
from tensorflow_datasets.core import splits as tfds_splits

from wae_jax.data import order
from wae_jax.data.bad import BadRecordError
from wae_jax.data.sources.base import Source, SourceInfo
from wae_jax.errors import UserError

NAME = "folder"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_LAYOUT = "photos are expected as SPLIT/CLASS/PHOTO.jpg"


class FolderSource(Source):
    """One split of a folder of photos."""

    def __init__(self, info: SourceInfo, directory: Path, paths: np.ndarray, labels: np.ndarray):
        """`paths`: bytes (N,), relative to `directory`; `labels`: int32 (N,)."""
        # Arrays and not lists: ImageNet's 1.3 million paths take 60 MB, in each worker too.
        self.info, self._directory, self._paths, self._labels = info, directory, paths, labels

    def _read(self, indices):
        return [(self._read_file(index), int(self._labels[index])) for index in indices]

    def _read_file(self, index: int) -> bytes:
        try:
            return self._path(index).read_bytes()
        except OSError as error:
            raise BadRecordError(f"it cannot be read: {error.strerror}") from error

    def _path(self, index: int) -> Path:
        return self._directory / os.fsdecode(self._paths[index])

    def where(self, index):
        return f"file {self._path(index)}"


def open_folder(directory: Path, split: str) -> FolderSource:
    """Opens a split, or a part of one in TFDS's notation, of a folder of photos.

    Raises:
      UserError: no such folder or split, no class folders, a class without photos, or splits whose
        classes differ.
    """
    if not directory.is_dir():
        raise UserError(
            f"there is no folder {directory}; say with --config.data.data_dir where the photos "
            f"are ({_LAYOUT})"
        )
    names = _folders(directory)
    if not names:
        raise UserError(f"{directory} has no folders in it; {_LAYOUT}")
    # Only splits that the specification names are listed in full: it takes seconds for ImageNet.
    wanted = [n for n in names if re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", split)]
    if not wanted:
        raise UserError(
            f"{directory} has no split {split!r}; its splits are {', '.join(names)}, or a part "
            "such as 'train[:99%]'"
        )
    classes = _classes(directory, names, wanted[0])
    listed = {name: _list_split(directory, name, classes) for name in wanted}
    pieces = _parts(split, {name: len(labels) for name, (_, labels) in listed.items()})
    paths = np.concatenate([listed[name][0][part] for name, part in pieces])
    labels = np.concatenate([listed[name][1][part] for name, part in pieces])
    if not len(paths):
        raise UserError(f"split {split!r} of {directory} is empty")
    info = SourceInfo(NAME, split, len(classes), classes, len(paths), image_shape=None)
    return FolderSource(info, directory, paths, labels)


def _folders(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _classes(directory: Path, splits: list[str], split: str) -> tuple[str, ...]:
    """The classes of `split`, once all splits that have class folders agree on them."""
    classes = _folders(directory / split)
    if not classes:
        raise UserError(f"{directory / split} has no class folders in it; {_LAYOUT}")
    for other in splits:
        differing = set(_folders(directory / other)) ^ set(classes)
        # A folder without class folders is no split (downloads, unlabelled test photos).
        if differing and len(differing) != len(classes):
            raise UserError(
                f"{directory / split} and {directory / other} have different classes: only one "
                f"of them has {', '.join(sorted(differing)[:5])}"
                f"{' and more' if len(differing) > 5 else ''}"
            )
    return tuple(classes)


def _list_split(
    directory: Path, split: str, classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Paths and labels of a whole split in record order."""
    paths, counts = [], []
    for name in classes:
        with os.scandir(directory / split / name) as entries:
            photos = sorted(
                e.name
                for e in entries
                if e.name.lower().endswith(SUFFIXES) and not e.name.startswith(".")
            )
        if not photos:
            raise UserError(
                f"the class folder {directory / split / name} has no photos "
                f"({', '.join(SUFFIXES)}); fill it, or remove it from all splits"
            )
        paths += [os.fsencode(f"{split}/{name}/{photo}") for photo in photos]
        counts.append(len(photos))
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    shuffled = order.permutation(0, 0, len(paths))
    return np.array(paths)[shuffled], labels[shuffled]


def _parts(spec: str, sizes: dict[str, int]) -> list[tuple[str, slice]]:
    """(split, its records) for each piece of `spec`, by TFDS's arithmetic."""
    infos = [
        tfds_splits.SplitInfo(name=name, shard_lengths=[size], num_bytes=0)
        for name, size in sizes.items()
    ]
    try:
        pieces = tfds_splits.AbstractSplit.from_spec(spec).to_absolute(tfds_splits.SplitDict(infos))
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{spec!r} is no split, or part of one such as 'train[:99%]': "
            f"{str(error).splitlines()[0]}"
        ) from error
    return [(piece.splitname, slice(piece.from_, piece.to)) for piece in pieces]
