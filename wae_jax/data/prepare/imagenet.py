"""TFDS's `imagenet2012` straight from the two official tars, which are never unpacked.

One pass over the headers tells where each photo is. That settles order, shards and metadata, so
that the shards can then be written independently, each reading its photos where they are.
"""

import concurrent.futures
import contextlib
import io
import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.datasets.imagenet2012 import imagenet2012_dataset_builder as tfds_imagenet

from wae_jax.data.images.decode import DecodeError
from wae_jax.data.prepare import examples, shards, tars, tfds_fixes, workspace
from wae_jax.data.sources import lookup
from wae_jax.errors import UserError
from wae_jax.runtime.console import say
from wae_jax.runtime.files import write_atomically

NAME = "imagenet2012"
# Photos in ILSVRC2012.
OFFICIAL_COUNTS = {"train": 1_281_167, "validation": 50_000}

_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_VALIDATION_LABELS = "datasets/imagenet2012/validation_labels.txt"


def prepare_imagenet2012(
    train: str | os.PathLike = "",
    validation: str | os.PathLike = "",
    *,
    data_dir: str | os.PathLike = "",
    workers: int = 0,
) -> Path:
    """Prepares `imagenet2012`: the same records in the same shards as TFDS would.

    Args:
        train: ILSVRC2012_img_train.tar, a tar of a tar of photos for each class; "": no such split.
        validation: ILSVRC2012_img_val.tar; "": no such split.
        data_dir: the TFDS data folder, see `lookup.data_root`.
        workers: shards written at a time; 0: as many as there are CPU cores.

    Returns:
        The folder of the data set. If it is there already, nothing is done.

    Raises:
        UserError: a tar is missing, damaged or none of ImageNet's, or a file cannot be written.
    """
    paths = {
        split: Path(path).expanduser().absolute()
        for split, path in (("train", train), ("validation", validation))
        if path
    }
    if not paths:
        raise UserError(
            "name at least one of --train=ILSVRC2012_img_train.tar and --val=ILSVRC2012_img_val.tar"
        )
    inputs = {split: _identity(path) for split, path in paths.items()}
    builder = tfds_imagenet.Builder(
        data_dir=lookup.data_root(data_dir), file_format=examples.FILE_FORMAT
    )
    final = Path(builder.data_dir)
    if workspace.is_finished(final):
        return final
    with workspace.open_workspace(final) as work, contextlib.ExitStack() as files:
        if work is None:
            return final
        work.start(inputs)
        todo, infos = [], []
        for split, path in paths.items():
            photos = _list_photos(split, path, builder.info.features["label"], work.root)
            read = _reader(files.enter_context(open(path, "rb")))
            split_shards, info = examples.plan_split(photos, split, NAME, read)
            todo += split_shards
            infos.append(info)
        shards.write_shards(todo, work.result, workers)
        examples.write_metadata(builder.info, infos, work.result)
        work.finish()
    return final


def _identity(path: Path) -> list:
    """What tells this file from others, and from itself after a change."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _list_photos(split: str, path: Path, label: tfds.features.ClassLabel, root: Path) -> np.ndarray:
    """The photos of a tar in their final order; kept in a file for the next run."""
    kept = root / f"{split}.npy"
    if not kept.exists():
        say(f"reading the table of contents of {path.name}")
        scan = scan_train if split == "train" else scan_validation
        photos = examples.in_tfds_order(scan(path, label), split)
        if len(photos) != OFFICIAL_COUNTS[split]:
            say(
                f"warning: {path.name} has {len(photos):,} photos and not the official "
                f"{OFFICIAL_COUNTS[split]:,}"
            )
        buffer = io.BytesIO()
        np.save(buffer, photos)
        write_atomically(kept, buffer.getbuffer())
    return np.load(kept)


def scan_train(path: Path, label: tfds.features.ClassLabel) -> np.ndarray:
    """Lists the photos in the tars of the classes, see `examples.photo_list`.

    Raises:
        UserError: a tar is damaged, or has the name of no class.
    """
    wnids = {name: number for number, name in enumerate(label.names)}
    class_tars = tars.list_tar(path)
    for class_tar in class_tars:
        if class_tar.name.removesuffix(".tar") not in wnids or class_tar.name[-4:] != ".tar":
            raise UserError(
                f"{path} has a member {class_tar.name}, which is not the tar of an ImageNet class "
                "such as n01440764.tar; is this ILSVRC2012_img_train.tar?"
            )

    def scan(class_tar: tars.Member) -> np.ndarray:
        number = wnids[class_tar.name.removesuffix(".tar")]
        return _photo_list(path, [(m, number) for m in tars.list_tar(path, within=class_tar)])

    # Threads for the sake of slow disks.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return np.concatenate([examples.photo_list([]), *pool.map(scan, class_tars)])


def scan_validation(path: Path, label: tfds.features.ClassLabel) -> np.ndarray:
    """Lists the photos with their labels, which are not in the tar; see `examples.photo_list`.

    TFDS has the classes in the order of the file names, which are numbered. It takes the n-th photo
    found for number n; we take the number, so that labels are right if photos are missing.

    Raises:
        UserError: the tar is damaged, or a photo has no known label.
    """
    wnids = tfds.core.tfds_path(_VALIDATION_LABELS).read_text().split()
    labelled = []
    for member in tars.list_tar(path):
        match = _VALIDATION_NAME.fullmatch(member.name)
        if not match or not 1 <= int(match[1]) <= len(wnids):
            raise UserError(
                f"no label is known for {member.name} in {path}; is this ILSVRC2012_img_val.tar?"
            )
        labelled.append((member, label.str2int(wnids[int(match[1]) - 1])))
    return _photo_list(path, labelled)


def _photo_list(path: Path, labelled: list[tuple[tars.Member, int]]) -> np.ndarray:
    rows = []
    for member, number in labelled:
        stored = member.size
        if member.name in tfds_fixes.NAMES:
            with open(path, "rb") as file:
                stored = len(_stored(member.name, tars.read_at(file, member.offset, member.size)))
        rows.append((member.name, number, member.offset, member.size, stored))
    return examples.photo_list(rows)


def _reader(file: BinaryIO) -> examples.ReadPhoto:
    def read(photo: np.void) -> bytes:
        data = tars.read_at(file, int(photo["offset"]), int(photo["size"]))
        return _stored(photo["name"].decode(), data)

    return read


def _stored(name: str, data: bytes) -> bytes:
    """The bytes that TFDS stores for a photo: those in the tar but for a few of a wrong kind."""
    if name not in tfds_fixes.NAMES:
        return data
    try:
        return tfds_fixes.to_rgb_jpeg(data)
    except DecodeError as error:
        raise UserError(f"{name} cannot be converted to RGB: {error}") from error
