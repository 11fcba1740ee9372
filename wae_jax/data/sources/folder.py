"""Photos in folders `split/class/photo.jpg`, read in place.

The classes are the names of the training split's class folders, sorted; other splits may lack some
of them, and have no others. The records of a split are its photos in a fixed shuffled order, as
TFDS shuffles when it prepares, so that a part such as `train[:99%]` has photos of all classes.
Hidden files, and files that are no images by their names, are passed over.
"""

import os
import re
from collections.abc import Mapping, Sized
from pathlib import Path

import numpy as np
from tensorflow_datasets.core import splits as tfds_splits

from wae_jax.data import order
from wae_jax.data.bad import BadRecordError
from wae_jax.data.images.decode import PHOTO_SUFFIXES
from wae_jax.data.sources.base import Source, SourceInfo
from wae_jax.data.sources.classes import Classes
from wae_jax.data.sources.open_files import cannot_open
from wae_jax.errors import UserError
from wae_jax.runtime.files import NotRegularError, open_regular

NAME = "folder"
# The photos in the folder of a data set: {split: {class: photos}}.
Photos = Mapping[str, Mapping[str, Sized]]

_LAYOUT = "photos are expected as SPLIT/CLASS/PHOTO.jpg"


class FolderSource(Source):
    """One split of a folder of photos."""

    def __init__(self, info: SourceInfo, directory: Path, paths: np.ndarray, labels: np.ndarray):
        """Reads nothing yet.

        Args:
            info: what is known of the split.
            directory: the folder of the data set.
            paths: bytes (N,), relative to `directory`.
            labels: int32 (N,).
        """
        # Arrays and not lists: ImageNet's 1.3 million paths take 60 MB, in each worker too.
        self.info, self._directory, self._paths, self._labels = info, directory, paths, labels

    def _read(self, indices):
        return [(self._read_file(index), int(self._labels[index])) for index in indices]

    def _read_file(self, index: int) -> bytes:
        path = self._path(index)
        try:
            file = open_regular(path)
        except NotRegularError as error:
            raise BadRecordError(f"it cannot be read: {error.strerror}") from error
        except OSError as error:
            raise cannot_open(path, error) from error
        try:
            with file:
                return file.read()
        except OSError as error:
            raise BadRecordError(f"it cannot be read: {error.strerror}") from error

    def _path(self, index: int) -> Path:
        return self._directory / os.fsdecode(self._paths[index])

    def where(self, index):
        return f"file {self._path(index)}"


def open_folder(directory: Path, split: str, known: Classes | None = None) -> FolderSource:
    """Opens a split, or a part of one in TFDS's notation, of a folder of photos.

    Args:
        directory: the folder with the splits.
        split: for example "train", "train[:99%]" or "train+val".
        known: whose numbers the labels are; the split may lack some of these classes. Default, also
            where they have no names: the split's own classes, those of both in a union, sorted.

    Raises:
        UserError: no such folder or split, no class folders, a class without photos, or one that is
            none of `known`.
    """
    if not directory.is_dir():
        raise UserError(
            f"there is no folder {directory}; say with --config.data.data_dir where the photos "
            f"are ({_LAYOUT})"
        )
    names = subfolders(directory)
    if not names:
        raise UserError(f"{directory} has no folders in it; {_LAYOUT}")
    # Only splits that the specification names are listed in full: it takes seconds for ImageNet.
    wanted = [n for n in names if re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", split)]
    if not wanted:
        # A folder without class folders is no split (downloads, unlabelled photos).
        splits = ", ".join(n for n in names if subfolders(directory / n))
        raise UserError(
            f"{directory} has no split {split!r}; its splits are {splits or 'none'}, or a part "
            "such as 'train[:99%]'"
        )
    listed = {name: _list_split(directory / name) for name in wanted}
    if known is None or known.names is None:
        classes = own_classes(directory, listed)
    else:
        check_no_others(directory, listed, known.names, known.whose)
        classes = known.names
    ordered = {name: _in_record_order(name, listed[name], classes) for name in wanted}
    pieces = _parts(split, {name: len(labels) for name, (_, labels) in ordered.items()})
    paths = np.concatenate([ordered[name][0][part] for name, part in pieces])
    labels = np.concatenate([ordered[name][1][part] for name, part in pieces])
    if not len(paths):
        raise UserError(f"split {split!r} of {directory} is empty")
    info = SourceInfo(NAME, split, len(classes), classes, len(paths), image_shape=None)
    return FolderSource(info, directory, paths, labels)


def subfolders(directory: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(directory) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def own_classes(directory: Path, found: Photos) -> tuple[str, ...]:
    """The classes of a training split, or of several together, in the order of their labels.

    Raises:
        UserError: there is no photo of one.
    """
    classes = sorted(set().union(*found.values()))
    for name in classes:
        splits = [split for split in found if name in found[split]]
        if not any(len(found[split][name]) for split in splits):
            raise UserError(
                f"the class folder {directory / splits[0] / name} has no photos "
                f"({', '.join(PHOTO_SUFFIXES)}); fill it, or remove it from all splits"
            )
    return tuple(classes)


def check_no_others(directory: Path, found: Photos, known: tuple[str, ...], whose: str) -> None:
    """Raises UserError where there is a photo of a class that the training split lacks."""
    for split, photos in found.items():
        others = sorted(name for name in photos if len(photos[name]) and name not in known)
        if others:
            raise UserError(
                f"{directory / split} has photos of classes that {whose} lacks: "
                f"{', '.join(others[:5])}{' and more' if len(others) > 5 else ''}"
            )


def _list_split(folder: Path) -> dict[str, list[str]]:
    """File names of the photos of each class folder, both sorted."""
    found = {}
    for name in subfolders(folder):
        with os.scandir(folder / name) as entries:
            found[name] = sorted(
                e.name
                for e in entries
                if e.name.lower().endswith(PHOTO_SUFFIXES) and not e.name.startswith(".")
            )
    if not found:
        raise UserError(f"{folder} has no class folders in it; {_LAYOUT}")
    return found


def _in_record_order(
    split: str, found: Mapping[str, list[str]], classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Paths and labels of a whole split. The order is that of the photos, not of the labels."""
    paths = [os.fsencode(f"{split}/{name}/{photo}") for name in found for photo in found[name]]
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for name in found for _ in found[name]], np.int32)
    shuffled = order.permutation(0, 0, len(paths))
    return np.array(paths, "S")[shuffled], labels[shuffled]


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
