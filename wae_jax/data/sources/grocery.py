"""The Grocery Store data set as a TFDS ArrayRecord data set, prepared on first use.

Source: Klasson, Zhang and Kjellstroem, "A Hierarchical Grocery Store Image Dataset with Visual and
Semantic Labels", WACV 2019 (MIT licence): photos of 81 fine classes of fruit, vegetables and
packages, taken in shops, shorter side 348 pixels; 2,640 for training, 296 for validation (of 60
classes) and 2,485 for testing. The JPEG files are kept as they are.

Its public repository is tried first, then a local archive. Neither has fixed bytes, as the
repository's archives are packed on demand, so what is checked is each file in them.
"""

import base64
import csv
import dataclasses
import hashlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds
from absl import logging

from wae_jax.data.sources import fetch
from wae_jax.data.sources.grocery_photos import CHECKS
from wae_jax.data.sources.photo_builder import Photo, PhotoBuilder
from wae_jax.errors import UserError
from wae_jax.runtime.files import PARTIAL

URL = (
    "https://github.com/marcusklasson/GroceryStoreDataset/archive/"
    "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc.tar.gz"
)
LOCAL = "grocery.tar"  # in the cache's folder of downloads

CLASSES = "classes.csv"
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
_CHECK_BYTES = 3
_MOST = 1 << 30  # bytes of all files in an archive, unpacked; the data set's is an eighth of it

# Below the archive's folder `dataset`, which may lie in another one.
_MEMBER = re.compile(r"(?:\./)?(?:[^/]+/)?dataset/((?:train|val|test)/.+\.jpg|[a-z]+\.(?:txt|csv))")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What must be in an archive, byte for byte.

    Attributes:
        texts: sha256 of the class names and of the splits' lists, by path.
        checks: the first 3 bytes of each photo's sha256, photos in the order of their paths; they
            tell which photo is wrong.
        digest: sha256 of a line "PATH SHA256" for each file, in the order of their paths.
    """

    texts: Mapping[str, str]
    checks: bytes
    digest: str


MANIFEST = Manifest(
    texts={
        "classes.csv": "6e1115adf36741498034165778a3300cd11f24c419e32a60d0a5057dd92998c1",
        "train.txt": "b6d6a4d25fc2a7604f4bbd4e8010516f3bb643f727fc60ef5fca042edd01294f",
        "val.txt": "a2a2bdf8ce34196c1a1dd554bd67e780793aab9363dd40d6cf50fe2d168a78b6",
        "test.txt": "9a464934780665c0024db405571c0dd2d149488a245f476557de7f1c31cf8a93",
    },
    checks=base64.b64decode(CHECKS),
    digest="0c2b3eccf0710b79e4d1e5b3fec6e13b152625383214a2440eba5bcdc691bfd5",
)


def prepare(cache_dir: str | os.PathLike = "") -> Path:
    """Returns the folder of the prepared data set; fetches and writes it if need be.

    Raises:
        UserError: it cannot be had, or what came is something else.
    """
    return Grocery.prepare(cache_dir)


with tfds.core.registered.skip_registration():

    class Grocery(PhotoBuilder):
        """The photos, by their names in the repository."""

        name = "grocery"
        VERSION = tfds.core.Version("1.0.0")
        about = "Photos of 81 classes of groceries (Klasson et al., 2019)."
        count: ClassVar[int] = 81

        def class_label(self):
            return tfds.features.ClassLabel(num_classes=self.count)

        def photos(self, cache_dir):
            members = load(cache_dir)
            self.info.features["label"].names = class_names(members)
            return {split: split_photos(members, split) for split in LISTS}


def load(cache_dir: str | os.PathLike = "") -> dict[str, bytes]:
    """The data set's files by path, 120 MB in all.

    Raises:
        UserError: neither the repository nor a local archive can be had, or they are wrong.
    """
    root = fetch.cache_root(cache_dir)
    local = root / "downloads" / LOCAL
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=PARTIAL) as folder:
            return read(fetch.download(URL, Path(folder) / "grocery.tar.gz"), MANIFEST, URL)
    except UserError as error:
        logging.info("Grocery Store data set: %s. Trying %s.", error, local)
        failure = f"the Grocery Store data set cannot be had: {error}"
    if not local.exists():
        raise UserError(
            f"{failure}; connect to the internet, or put a tar file of its folder `dataset` at "
            f"{local} yourself"
        )
    try:
        return read(local, MANIFEST, str(local))
    except UserError as error:
        raise UserError(f"{failure}; nor from the local archive: {error}") from error


def read(archive: Path, manifest: Manifest, whose: str) -> dict[str, bytes]:
    """Reads and checks an archive; nothing is unpacked, and links are no files.

    Args:
        archive: a tar file, compressed or not.
        manifest: what must be in it.
        whose: its name in messages.

    Returns:
        The files of the manifest, by path below the folder `dataset`.

    Raises:
        UserError: it is no such file, or one of the files is missing or another.
    """
    members, left = {}, _MOST
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                left -= member.size
                if left < 0:
                    raise UserError(f"{whose} is another: it claims more than {_MOST >> 20} MiB")
                match = _MEMBER.fullmatch(member.name)
                if match and member.isreg():
                    file = tar.extractfile(member)
                    assert file is not None  # a regular file
                    members[match[1]] = file.read()
    # TypeError: tarfile's for a gzip header that is cut.
    except (OSError, EOFError, TypeError, tarfile.TarError) as error:
        raise UserError(f"{whose} cannot be read: {error}") from error
    return _checked(members, manifest, whose)


def _checked(members: Mapping[str, bytes], manifest: Manifest, whose: str) -> dict[str, bytes]:
    hashes: dict[str, str] = {}

    def check(path: str, beginning: str) -> None:
        if path not in members:
            raise UserError(f"{whose} lacks {path}, a file of the Grocery Store data set")
        hashes[path] = hashlib.sha256(members[path]).hexdigest()
        if not hashes[path].startswith(beginning):
            raise UserError(f"{path} in {whose} is not the Grocery Store data set's file")

    for path, sha256 in manifest.texts.items():
        check(path, sha256)
    photos = sorted(path for split in LISTS for path, _ in _listed(members, split))
    for i, path in enumerate(photos):
        check(path, manifest.checks[_CHECK_BYTES * i : _CHECK_BYTES * (i + 1)].hex())
    if digest_of(hashes) != manifest.digest:
        raise UserError(f"the photos in {whose} are not the Grocery Store data set's")
    return {path: members[path] for path in hashes}


def digest_of(hashes: Mapping[str, str]) -> str:
    """The digest of a manifest, from the sha256 of each file by path."""
    lines = "".join(f"{path} {hashes[path]}\n" for path in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def _listed(members: Mapping[str, bytes], split: str) -> list[tuple[str, int]]:
    """(path, fine class) of each photo of a split; a line is "PATH, FINE CLASS, COARSE CLASS"."""
    lines = members[LISTS[split]].decode().splitlines()
    return [(path, int(fine)) for path, fine, _ in (line.split(", ") for line in lines)]


def split_photos(members: Mapping[str, bytes], split: str) -> Iterator[Photo]:
    """The photos of a split, named by their paths in its folder."""
    for path, label in _listed(members, split):
        yield Photo(path.partition("/")[2], io.BytesIO(members[path]), label)


def class_names(members: Mapping[str, bytes]) -> list[str]:
    """Names of the fine classes, by number."""
    rows = csv.reader(io.StringIO(members[CLASSES].decode()))
    next(rows)  # the heads of the columns
    return [name for _, name in sorted((int(row[1]), row[0]) for row in rows)]
