"""A bounded number of open ArrayRecord files, shared by threads."""

import collections
import contextlib
import dataclasses
import functools
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader

from wae_jax.errors import UserError

# Opening a file costs three reads of a record, so keep many; but a source and its like, as those of
# training and evaluation, should leave most of what the system allows to others.
_MOST, _FEWEST, _SHARE = 2048, 4, 4


@dataclasses.dataclass
class _File:
    reader: ArrayRecordReader
    users: int = 0


class OpenFiles:
    """Opens files when they are needed, and closes the ones that were not for the longest time.

    One in use is never closed: where all are, the next waits. A process forked from one that has
    read may not read: ArrayRecord's library has a thread of its own, whose lock a child gets as it
    is at the fork, and where it is held then the child would wait for ever (9 of 1,350 forks soon
    after the first read, on busy cores).

    Attributes:
        limit: files open at a time; default: a quarter of what the system allows this process.
    """

    def __init__(self, limit: int | None = None):
        self.limit = limit or _default_limit()
        self._files: collections.OrderedDict[Path, _File] = collections.OrderedDict()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def borrow(self, path: Path) -> Iterator[ArrayRecordReader]:
        """The reader of a file, for the time of the block.

        Raises:
            UserError: the file cannot be opened, or this process is a fork of one that has read.
                The reader of a damaged file raises RuntimeError when it reads.
        """
        _check_process()
        with self._changed:
            file = self._files.get(path)
            while file is None:
                if self._make_room():
                    file = self._files[path] = _File(_open(path))
                else:
                    self._changed.wait()
                    file = self._files.get(path)
            file.users += 1
            self._files.move_to_end(path)
        try:
            yield file.reader
        finally:
            with self._changed:
                file.users -= 1
                self._changed.notify_all()

    def _make_room(self) -> bool:
        """Closes a file if one more would be too many; False where all are in use."""
        if len(self._files) < self.limit:
            return True
        idle = next((path for path, file in self._files.items() if not file.users), None)
        if idle is None:
            return False
        self._files.pop(idle).reader.close()
        return True


@functools.cache
def _first_to_read() -> int:
    """This process, or the one that it was forked from after a first call there."""
    return os.getpid()


def _check_process() -> None:
    if _first_to_read() != os.getpid():
        raise UserError(
            "cannot read ArrayRecord files in a process forked from one that has read some: start "
            'it by multiprocessing\'s "spawn" or "forkserver"'
        )


def _open(path: Path) -> ArrayRecordReader:
    reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
    if not reader.ok():  # without a reason; damage will be told by reading
        try:
            open(path, "rb").close()
        except OSError as error:
            raise cannot_open(path, error) from error
    return reader


def cannot_open(path: Path, error: OSError) -> UserError:
    """The error for a file that no policy for bad records passes over."""
    return UserError(f"cannot open {path}: {error.strerror}")


def _default_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return max(_FEWEST, min(_MOST, soft // _SHARE))
