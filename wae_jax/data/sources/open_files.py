"""A bounded number of open ArrayRecord files, shared by threads."""

import collections
import contextlib
import dataclasses
import os
import resource
import threading
import weakref
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

    One in use is never closed: where all are, the next waits. A child of a fork starts with none.

    Attributes:
        limit: files open at a time; default: a quarter of what the system allows this process.
    """

    def __init__(self, limit: int | None = None):
        self.limit = limit or _default_limit()
        self.start_empty()
        _ALL.add(self)

    def start_empty(self) -> None:
        """Forgets all files; they close once nobody uses them."""
        self._files: collections.OrderedDict[Path, _File] = collections.OrderedDict()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def borrow(self, path: Path) -> Iterator[ArrayRecordReader]:
        """The reader of a file, for the time of the block.

        Raises:
            UserError: the file cannot be opened. That of a damaged file raises RuntimeError when it
                reads.
        """
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


_ALL: "weakref.WeakSet[OpenFiles]" = weakref.WeakSet()


def _after_fork() -> None:
    # Another thread may have held the lock, and an offset in a file would be shared.
    for files in list(_ALL):
        files.start_empty()


os.register_at_fork(after_in_child=_after_fork)
