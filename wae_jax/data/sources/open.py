"""Opens a data set by its name.

`cifar10`, `grocery`, `foolbox_photos` and `photos_500x375` prepare themselves; `folder` is a folder
of photos; every other name is a data set in TFDS's ArrayRecord layout, prepared by TFDS or anything
that writes its layout.
"""

import os
from pathlib import Path

from wae_jax.config import DataSettings
from wae_jax.data.sources import array_record, cifar10, folder, grocery, lookup, photos
from wae_jax.data.sources.base import Source
from wae_jax.data.sources.classes import Classes, check_same_classes
from wae_jax.errors import UserError

_SELF_PREPARED = {
    "cifar10": cifar10.prepare,
    "grocery": grocery.prepare,
    "foolbox_photos": photos.prepare_foolbox_photos,
    "photos_500x375": photos.prepare_photos_500x375,
}


def open_source(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike = "",
    cache_dir: str | os.PathLike = "",
    classes: Classes | None = None,
) -> Source:
    """Opens one split of a data set.

    Args:
        name: "cifar10", "grocery", "foolbox_photos", "photos_500x375", "folder", or a TFDS data
            set as `name[/config][:version]`.
        split: split or part of one in TFDS's notation: "train", "train[:99%]", "validation[5000:]".
        data_dir: folder of TFDS data sets; default: environment variable TFDS_DATA_DIR, else
            `~/tensorflow_datasets`. A self-preparing data set is looked up here only if this is
            given. For "folder": where the photos are, as split/class/photo.jpg.
        cache_dir: where self-preparing data sets are kept, see `fetch.cache_root`.
        classes: what labels must stand for: those of the split that a network was, or will be,
            trained on. A split of "folder" may lack some. None, for the split to train on: its own.

    Raises:
        UserError: no such data set or split, not in ArrayRecord format, without the features
            `image` and `label`, or of other classes.
    """
    source = _open(name, split, data_dir, cache_dir, classes)
    if classes is not None:
        check_same_classes(source.info.classes, classes)
    return source


def open_split(settings: DataSettings, split: str, classes: Classes | None = None) -> Source:
    """:func:`open_source` of the data set that ``settings`` name."""
    return open_source(
        settings.name,
        split,
        data_dir=settings.data_dir,
        cache_dir=settings.cache_dir,
        classes=classes,
    )


def _open(name: str, split: str, data_dir, cache_dir, classes: Classes | None) -> Source:
    if name == folder.NAME:
        if not data_dir:
            raise UserError(
                "the data set 'folder' needs --config.data.data_dir=FOLDER, the folder "
                "that holds SPLIT/CLASS/PHOTO.jpg"
            )
        return folder.open_folder(Path(data_dir).expanduser(), split, classes)
    prepare = _SELF_PREPARED.get(name)
    if prepare is not None and not (data_dir and (Path(data_dir) / name).is_dir()):
        directory = prepare(cache_dir)
    else:
        directory = lookup.find_prepared(
            name, data_dir, self_prepared=(*_SELF_PREPARED, folder.NAME)
        )
    return array_record.open_array_record(name, split, directory)
