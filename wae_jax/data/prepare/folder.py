"""A folder of photos, `ROOT/split/class/photo.jpg`, to a TFDS data set."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from wae_jax.data.prepare import examples, shards, workspace
from wae_jax.data.sources import lookup
from wae_jax.errors import UserError
from wae_jax.runtime.console import say

VERSION = "1.0.0"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

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
    names) and `file_name` ("class/photo.jpg"). The order is shuffled in the same way.

    Args:
      root: the folder with the splits.
      name: name of the data set: small letters, digits and underscores.
      data_dir: the TFDS data folder, see `lookup.data_root`.
      workers: shards written at a time; 0: as many as there are CPU cores.

    Returns:
      The folder of the data set. If it is there already, nothing is done.

    Raises:
      UserError: there are no such photos, or a file cannot be read or written.
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
                photos, split, name, lambda photo, split=split: _read(root / split, photo)
            )
            todo += split_shards
            infos.append(info)
        shards.write_shards(todo, work.result, workers)
        examples.write_metadata(_info(name, final, classes, splits), infos, work.result)
        work.finish()
    return final


def scan(root: Path) -> tuple[dict[str, np.ndarray], list[str], str]:
    """Finds the photos.

    Returns:
      A photo list per split, in the final order; the names of all classes; a hash of the names,
      sizes and times of all photos.

    Raises:
      UserError: there are none.
    """
    found = {split.name: {c.name: c for c in _folders(split)} for split in _folders(root)}
    classes = sorted(set().union(*found.values()))
    digest = hashlib.sha256()
    splits, ignored = {}, []
    for split, class_folders in found.items():
        parts = []
        for label, class_name in enumerate(classes):
            rows = []
            for entry in _files(class_folders.get(class_name)):
                if not entry.name.lower().endswith(SUFFIXES):
                    ignored.append(entry.path)
                    continue
                name, status = f"{class_name}/{entry.name}", entry.stat()
                digest.update(f"{split}/{name} {status.st_size} {status.st_mtime_ns}\n".encode())
                rows.append((name, label, 0, status.st_size, status.st_size))
            parts.append(examples.photo_list(rows))
        if any(map(len, parts)):
            splits[split] = examples.in_tfds_order(np.concatenate(parts), split)
    if not splits:
        raise UserError(f"no photo is at {root}/SPLIT/CLASS/PHOTO; names end in {SUFFIXES}")
    if ignored:
        say(f"{len(ignored)} files are left out, as their names are no photos': {ignored[0]}, ...")
    return splits, classes, digest.hexdigest()


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path | None) -> Iterator[os.DirEntry]:
    if folder is None:  # a class without photos in this split
        return
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


def _info(name: str, folder: Path, classes: list[str], splits) -> tfds.core.DatasetInfo:
    suffixes = {p.rpartition(b".")[2].lower() for s in splits.values() for p in s["name"]}
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                encoding_format="jpeg" if suffixes <= {b"jpg", b"jpeg"} else None
            ),
            "label": tfds.features.ClassLabel(names=classes),
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
