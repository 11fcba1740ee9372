"""TFDS data sets that we write ourselves: built aside, whole or absent, one builder at a time."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from wae_jax.data import fetch

# Written last into a prepared folder: {file name: size in bytes} of everything else in it.
_MANIFEST = "prepared.json"


def prepare(
    make_builder: Callable[[Path], tfds.core.DatasetBuilder],
    name: str,
    version: str,
    *,
    cache_dir: str | os.PathLike = "",
) -> Path:
    """Prepares a data set under `<cache>/tfds/<name>/<version>` unless it is complete already.

    The data set is written to a scratch folder and renamed when whole, under a lock, so that a
    killed run leaves nothing that looks finished and two runs at once build it only once.

    Args:
      make_builder: gets a data folder, returns the TFDS builder that writes there.
      name: TFDS name of the data set.
      version: its version, "major.minor.patch".
      cache_dir: see `fetch.cache_root`.

    Returns:
      The folder, for `tfds.builder_from_directory`.

    Raises:
      UserError: what the builder needs cannot be fetched.
    """
    root = fetch.cache_root(cache_dir) / "tfds"
    final = root / name / version
    if is_complete(final):
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with fetch.exclusive(root / name):
        if is_complete(final):  # another process was first
            return final
        scratch = root / f".preparing-{name}"
        for leftover in (scratch, final):
            shutil.rmtree(leftover, ignore_errors=True)
        if not sys.stderr.isatty():
            tfds.disable_progress_bar()
        # TFDS prints its messages on stdout, which belongs to the program's results.
        with contextlib.redirect_stdout(sys.stderr):
            make_builder(scratch).download_and_prepare(download_dir=scratch / "downloads")
        built = scratch / name / version
        sizes = {path.name: path.stat().st_size for path in sorted(built.iterdir())}
        (built / _MANIFEST).write_text(json.dumps(sizes, indent=1))
        os.replace(built, final)
        shutil.rmtree(scratch)
    return final


with tfds.core.registered.skip_registration():

    class PackagedPhotos(tfds.core.GeneratorBasedBuilder):
        """JPEG photos from a PyPI package, features named as in TFDS's `imagenet2012`.

        A subclass says `name`, `VERSION`, `package` (name, version, sha256), `splits` (name ->
        argument of `_generate_examples`, after the package's file) and `about`.
        """

        url_infos: ClassVar[dict] = {}  # nothing is downloaded through TFDS
        package: ClassVar[tuple[str, str, str]]
        splits: ClassVar[dict[str, Any]]
        about: ClassVar[str]

        def __init__(self, cache_dir: str | os.PathLike, **kwargs):
            self._cache_dir = cache_dir
            super().__init__(**kwargs)

        @classmethod
        def prepare(cls, cache_dir: str | os.PathLike = "") -> Path:
            """Returns the folder of the prepared data set; fetches and writes it if need be.

            Raises:
              UserError: the package cannot be fetched.
            """
            return prepare(
                lambda folder: cls(cache_dir, data_dir=folder, file_format="array_record"),
                cls.name,
                str(cls.VERSION),
                cache_dir=cache_dir,
            )

        def _label(self) -> tfds.features.ClassLabel:
            return tfds.features.ClassLabel(num_classes=1000)

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                description=self.about,
                features=tfds.features.FeaturesDict(
                    {
                        "file_name": tfds.features.Text(),
                        # Without its size: photos differ in theirs.
                        "image": tfds.features.Image(encoding_format="jpeg"),
                        "label": self._label(),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            file = fetch.fetch_pypi(*self.package, cache_dir=self._cache_dir)
            return {
                split: self._generate_examples(file, argument)
                for split, argument in self.splits.items()
            }


def is_complete(folder: Path) -> bool:
    """Says whether `folder` has every file of a finished preparation, at its full size."""
    try:
        sizes = json.loads((folder / _MANIFEST).read_text())
        return bool(sizes) and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, AttributeError):
        return False
