"""Finds files in uncompressed tars, tars in tars included, without unpacking anything."""

import os
import tarfile
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from wae_jax.errors import UserError

_BLOCK_BYTES = 512


class Member(NamedTuple):
    """A file in a tar: its path there, and where its bytes are in the outermost tar's file."""

    name: str
    offset: int
    size: int


class _Until:
    """A file that ends at a byte: tarfile asks for as many as a header claims, 8 GiB and more."""

    def __init__(self, file: BinaryIO, stop: int):
        self._file, self._stop, self.tell = file, stop, file.tell

    def read(self, size: int) -> bytes:
        return self._file.read(max(0, min(size, self._stop - self.tell())))

    def seek(self, position: int) -> int:
        return self._file.seek(min(position, self._stop))


def list_tar(path: Path, within: Member | None = None) -> list[Member]:
    """Lists the regular files of a tar, or of a tar that is a member of that tar.

    Hidden files are left out, as TFDS does. Only headers are read.

    Raises:
        UserError: this is no tar, or it is damaged or cut short.
    """
    start = within.offset if within else 0
    what = f"{within.name} in {path}" if within else f"{path}"
    members = []
    try:
        with open(path, "rb") as file:
            stop = start + within.size if within else os.fstat(file.fileno()).st_size
            file.seek(start)
            with tarfile.open(fileobj=cast(BinaryIO, _Until(file, stop)), mode="r:") as tar:
                for entry in tar:
                    name = os.path.normpath(entry.name)
                    if entry.isreg() and not os.path.basename(name).startswith("."):
                        members.append(Member(name, entry.offset_data, entry.size))
                # Python's tarfile takes a damaged header for the end; the true end is all zeros.
                file.seek(tar.offset)
                end = file.read(_BLOCK_BYTES)
                if tar.offset + _BLOCK_BYTES > stop or any(end) or len(end) < _BLOCK_BYTES:
                    raise UserError(f"{what} is damaged or cut short at byte {tar.offset}")
    except tarfile.TarError as error:
        raise UserError(f"{what} is no tar, or is damaged or cut short ({error})") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
    return members


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Reads `size` bytes at `offset`, in any thread.

    Raises:
        UserError: the file ends before.
    """
    parts = []
    while size:
        part = os.pread(file.fileno(), size, offset)
        if not part:
            raise UserError(f"{file.name} is cut short at byte {offset}")
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts)
