"""The manifest of a step directory: the hashes of its files, written last, verified before use.

Orbax itself restores flipped bytes without an error, and takes an empty directory for a step.
"""

import json
import re
from pathlib import Path
from typing import Any

from wae_jax.runtime import files

MANIFEST = "manifest.json"
# The Orbax items of a step, each a folder in it.
ITEMS = ("variables", "training", "meta")

_Stamps = tuple[tuple[str, int, int], ...]
# Step directories that this process has written or verified, with the stamps of their files.
_verified: dict[Path, _Stamps] = {}


def write(folder: Path) -> None:
    """Writes the manifest of a step directory whose other files are all in place."""
    present = _files(folder)
    for path in present.values():
        files.sync(path)  # an older step may be removed once this one counts
    hashes = {name: files.sha256_of(path) for name, path in present.items()}
    files.write_atomically(folder / MANIFEST, json.dumps(hashes, indent=1))


def remember(folder: Path) -> None:
    """Notes that a step directory is sound, for :func:`problem_with` with ``cached``."""
    _verified[folder.absolute()] = _stamps(folder)


def forget(folder: Path) -> None:
    """Drops what is known of a step directory."""
    _verified.pop(folder.absolute(), None)


def problem_with(folder: Path, *, cached: bool = False) -> str:
    """Why a step directory cannot be used, in words; empty where it can.

    Args:
        folder: the step directory.
        cached: trust this process's earlier verdict where names, sizes and times of all files are
            still those of then, in place of hashing them again.
    """
    known = _verified.get(folder.absolute())
    if cached and known and known == _stamps(folder):
        return ""
    forget(folder)
    problem = _problem_with(folder)
    if not problem:
        remember(folder)
    return problem


def fingerprint(folder: Path) -> str:
    """A hash of all that a verified step directory holds."""
    return files.sha256_of(folder / MANIFEST)


def _problem_with(folder: Path) -> str:
    try:
        expected = files.read_json(folder / MANIFEST)
    except FileNotFoundError:
        return "it was not finished (no manifest)"
    except (OSError, ValueError):
        return "its manifest is unreadable"
    if not _is_manifest(expected):
        return "its manifest is none: it must map file names to sha256 hashes"
    lacking = [item for item in ITEMS if not any(name.startswith(f"{item}/") for name in expected)]
    if lacking:
        return f"its manifest lists no file of {', '.join(lacking)}"
    try:
        present = _files(folder)
        bad = sorted(
            name
            for name, sha256 in expected.items()
            if name not in present or files.sha256_of(present[name]) != sha256
        )
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return f"damaged or missing: {', '.join(bad[:3])}" if bad else ""


def _is_manifest(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)
        for sha256 in value.values()
    )


def _files(folder: Path) -> dict[str, Path]:
    """All files of a step but the manifest, by their path in the step."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def _stamps(folder: Path) -> _Stamps:
    """Name, time and size of all files, the manifest too."""
    try:
        stats = {str(p): p.stat() for p in (*_files(folder).values(), folder / MANIFEST)}
    except OSError:
        return ()  # a file has just gone
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items())
