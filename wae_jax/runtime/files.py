"""Files that are whole or absent, their hashes and locks, and JSON that may be damaged."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Names that begin so are files in the making: whoever finds one after a crash may remove it.
PARTIAL = ".partial-"


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part.

    Args:
        path: the file; its folder must exist.
        content: text is written as UTF-8.

    Raises:
        OSError: it cannot be written; the old content stays.
    """
    with in_the_making(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def in_the_making(path: Path) -> Iterator[Path]:
    """Gives a file its name at the end of the block, where nothing went wrong; else removes it.

    Yields:
        The name under which to write it until then, in the same folder.
    """
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def pinned(folder: Path) -> Iterator[Path]:
    """Yields a path to a folder that stays the folder's own.

    Where the folder is renamed the path still leads into it, and once it is removed nothing can be
    made under the path: so a library that makes missing parents does not bring the folder back. On
    systems without ``/proc/self/fd`` (not Linux) it is the folder's usual path.

    Raises:
        OSError: the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        path = Path(f"/proc/self/fd/{descriptor}")
        yield path if path.is_dir() else folder
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Has a file or folder written to the disk before anything that comes after."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NotRegularError(OSError):
    """A pipe, socket, device or folder where a regular file was expected."""


def open_regular(path: str | os.PathLike) -> io.BufferedReader:
    """Opens a regular file to read. Others are never read: they may have no end.

    Raises:
        NotRegularError: it is of another kind.
        OSError: it cannot be opened.
    """
    # Opening a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise NotRegularError(errno.EINVAL, f"it is {kind}")
    return open(descriptor, "rb")


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file `PATH.lock` while others wait; a killed process frees it."""
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON, or nested deeper than Python can read.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
