"""A folder of photos, `ROOT/split/class/photo.jpg`, to a TFDS data set."""

import functools
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from wae_jax.data.images.decode import PHOTO_SUFFIXES
from wae_jax.data.prepare import examples, shards, workspace
from wae_jax.data.sources import lookup
from wae_jax.data.sources.folder import check_no_others, own_classes, subfolders
from wae_jax.errors import UserError
from wae_jax.runtime.console import say

VERSION = "1.0.0"
TRAIN = "train"  # the split that numbers the classes, where there is one of this name

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def prepare_folder(
    root: str | os.PathLike,
    name: str,
    *,
    data_dir: str | os.PathLike = "",
    workers: int = 0,
) -> Path:
    """Prepares a data set of the photos `ROOT/split/class/photo.jpg`, whose bytes stay as they are.

    Its features are those of TFDS's `imagenet2012`: `image`, `label` (classes in the order of their
    names) and `file_name` ("class/photo.jpg"). The order is shuffled in the same way. As in folders
    that are read in place, the classes are those of the training split, `train`, where there is
    one; other splits may lack some, and have no others.

    Args:
        root: the folder with the splits.
        name: name of the data set: small letters, digits and underscores.
        data_dir: the TFDS data folder, see `lookup.data_root`.
        workers: shards written at a time; 0: as many as there are CPU cores.

    Returns:
        The folder of the data set. If it is there already, nothing is done.

    Raises:
        UserError: there are no such photos, or none of a class, a split has classes that `train`
            lacks, or a file cannot be read or written.
    """
    root = Path(root).expanduser().absolute()
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name of a data set: use small letters, digits and _")
    if not root.is_dir():
        raise UserError(f"there is no folder {root}")
    final = lookup.data_root(data_dir) / name / VERSION
    if workspace.is_finished(final):
        return final
    with workspace.open_workspace(final) as work:
        if work is None:
            return final
        splits, classes, digest = scan(root)
        work.start({"root": str(root), "classes": classes, "photos": digest})
        todo, infos = [], []
        for split, photos in splits.items():
            split_shards, info = examples.plan_split(
                photos, split, name, functools.partial(_read, root / split)
            )
            todo += split_shards
            infos.append(info)
        shards.write_shards(todo, work.result, workers)
        examples.write_metadata(_info(name, final, classes, splits), infos, work.result)
        work.finish()
    return final


def scan(root: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """Finds the photos.

    Returns:
        A photo list per split, in the final order; the names of all classes, in the order of their
        numbers; a hash of the names, sizes and times of all photos.

    Raises:
        UserError: there are none, or none of a class, or a split has classes that `train` lacks.
    """
    digest, ignored = hashlib.sha256(), []
    found: dict[str, dict[str, np.ndarray]] = {}
    for split in subfolders(root):
        found[split] = {}
        for class_name in subfolders(root / split):
            rows = []
            for entry in _files(root / split / class_name):
                if not entry.name.lower().endswith(PHOTO_SUFFIXES):
                    ignored.append(entry.path)
                    continue
                name, status = f"{class_name}/{entry.name}", entry.stat()
                digest.update(f"{split}/{name} {status.st_size} {status.st_mtime_ns}\n".encode())
                rows.append((name, 0, 0, status.st_size, status.st_size))
            found[split][class_name] = examples.photo_list(rows)
        if not any(map(len, found[split].values())):
            del found[split]  # a folder without photos is no split
    if not found:
        suffixes = ", ".join(PHOTO_SUFFIXES)
        raise UserError(f"no photo is at {root}/SPLIT/CLASS/PHOTO; names end in {suffixes}")
    if ignored:
        say(f"{len(ignored)} files are left out, as their names are no photos': {ignored[0]}, ...")
    classes = _label(root, found)
    splits = {
        split: examples.in_tfds_order(np.concatenate(list(photos.values())), split)
        for split, photos in found.items()
    }
    return splits, classes, digest.hexdigest()


def _label(root: Path, found: dict[str, dict[str, np.ndarray]]) -> tuple[str, ...]:
    """Sets the label of each photo in {split: {class: photo list}}; the classes in their order."""
    classes = own_classes(root, {TRAIN: found[TRAIN]} if TRAIN in found else found)
    check_no_others(root, found, classes, f"the split {TRAIN}")
    for photos in found.values():
        for label, name in enumerate(classes):
            if name in photos:
                photos[name]["label"] = label
    return classes


def _files(folder: Path) -> Iterator[os.DirEntry]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_file() and not entry.name.startswith("."):
                yield entry


def _read(split_folder: Path, photo: np.void) -> bytes:
    path = split_folder / os.fsdecode(photo["name"])
    data = path.read_bytes()
    if len(data) != photo["size"]:
        raise UserError(f"{path} has changed; run the same command again")
    return data


def _info(name: str, folder: Path, classes: tuple[str, ...], splits) -> tfds.core.DatasetInfo:
    suffixes = {p.rpartition(b".")[2].lower() for s in splits.values() for p in s["name"]}
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                encoding_format="jpeg" if suffixes <= {b"jpg", b"jpeg"} else None
            ),
            "label": tfds.features.ClassLabel(names=list(classes)),
            "file_name": tfds.features.Text(),
        }
    )
    identity = tfds.core.DatasetIdentity(
        name=name,
        version=tfds.core.Version(VERSION),
        data_dir=str(folder),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=features, supervised_keys=("image", "label")
    )
    info.set_file_format(examples.FILE_FORMAT)
    return info
