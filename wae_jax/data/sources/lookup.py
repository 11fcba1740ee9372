"""Finds the folder of a prepared TFDS data set, or says what the user must do to have one."""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from wae_jax.errors import UserError

_SPEC = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")

_IMAGENET_HELP = (
    "get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from https://image-net.org/download "
    "(free account) and run `python -m wae_jax prepare imagenet2012 "
    "--train=ILSVRC2012_img_train.tar --val=ILSVRC2012_img_val.tar`"
)


def data_root(data_dir: str | os.PathLike = "") -> Path:
    """Returns the folder of TFDS data sets: as given, or from TFDS_DATA_DIR, or TFDS's default."""
    root = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(root).expanduser().absolute()


def find_prepared(
    spec: str, data_dir: str | os.PathLike = "", *, self_prepared: Sequence[str] = ()
) -> Path:
    """Returns the version folder of `spec` under the TFDS data folder.

    Args:
        spec: `name[/config][:version]`; the newest version is taken if none is given, and the
            config may be left out if only one is there.
        data_dir: see `data_root`.
        self_prepared: further names to propose when `spec` is misspelt.

    Raises:
        UserError: nothing fits; the message names the folder looked in and what to do.
    """
    match = _SPEC.fullmatch(spec)
    if not match:
        raise UserError(f"data set {spec!r} is not of the form name[/config][:major.minor.patch]")
    name, config, version = match["name"], match["config"], match["version"]
    root = data_root(data_dir)
    folder = root / name
    if not folder.is_dir():
        raise _missing(name, root, self_prepared)
    if config is None and not _versions(folder):
        configs = sorted(child.name for child in folder.iterdir() if _versions(child))
        if len(configs) > 1:
            raise UserError(
                f"{name} in {root} has several configs; choose one of "
                f"{', '.join(f'{name}/{c}' for c in configs)}"
            )
        config = configs[0] if configs else None
    if config is not None:
        folder = folder / config
    versions = _versions(folder)
    if not versions:
        raise UserError(f"{folder} holds no finished data set; {_how_to_prepare(name)}")
    if version is not None and version not in versions:
        raise UserError(f"{folder} has no version {version}; it has {', '.join(versions)}")
    return folder / (version or versions[-1])


def _versions(folder: Path) -> list[str]:
    """Names of the finished versions in a folder, oldest first."""
    if not folder.is_dir():
        return []
    names = [
        child.name
        for child in folder.iterdir()
        if _VERSION.fullmatch(child.name) and (child / "dataset_info.json").is_file()
    ]
    return sorted(names, key=lambda name: tuple(int(part) for part in name.split(".")))


def _missing(name: str, root: Path, self_prepared: Sequence[str]) -> UserError:
    known = tfds.list_builders(with_community_datasets=False)
    if name in known:
        return UserError(
            f"{name} is not in {root} (change it with --config.data.data_dir or TFDS_DATA_DIR); "
            f"{_how_to_prepare(name)}"
        )
    present = [child.name for child in root.iterdir() if child.is_dir()] if root.is_dir() else []
    close = difflib.get_close_matches(name, {*known, *present, *self_prepared}, n=5)
    hint = (
        f"did you mean {', '.join(close)}?"
        if close
        else (
            "names of data sets are listed at https://www.tensorflow.org/datasets/catalog/overview"
        )
    )
    return UserError(f"there is no data set {name!r}, neither in {root} nor in TFDS; {hint}")


def _how_to_prepare(name: str) -> str:
    if name == "imagenet2012":
        return _IMAGENET_HELP
    return (
        f"prepare it with `tfds build {name} --file_format=array_record` where TensorFlow is "
        "installed, or turn TFRecord files of it into ArrayRecord with `python -m wae_jax prepare "
        "tfrecord --in=DIR --out=DIR`"
    )
