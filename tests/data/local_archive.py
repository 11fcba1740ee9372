"""The Grocery Store data set's local archive, for machines without the internet."""

import os
import shutil
from pathlib import Path

from wae_jax.data.sources import fetch, grocery


def provide(root: Path) -> None:
    """Puts the archive into the cache, where one lies beside the repository ``root``.

    Whole or not at all, as tests run in several processes.
    """
    found = root.parent / "shared" / "data" / grocery.LOCAL
    wanted = fetch.cache_root() / "downloads" / grocery.LOCAL
    if found.is_file() and not wanted.exists():
        wanted.parent.mkdir(exist_ok=True)
        partial = wanted.with_name(f".partial-{os.getpid()}-{wanted.name}")
        shutil.copyfile(found, partial)
        partial.replace(wanted)
