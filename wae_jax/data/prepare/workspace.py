"""The scratch folder of a preparation: locked, kept for the next try, renamed when whole."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from wae_jax.errors import UserError
from wae_jax.runtime import files
from wae_jax.runtime.console import say

_INPUTS = "inputs.json"
_LOCK = "lock"


class Workspace:
    """A folder `.preparing-NAME` beside the data set's own folder NAME.

    Attributes:
        final: the data set's folder; it comes into being by one rename, when all is in place.
        root: the scratch folder; files directly in it do not become part of the data set.
        result: what will be renamed to `final`.
    """

    def __init__(self, final: Path):
        self.final = final
        self.root = final.parent / f".preparing-{final.name}"
        self.result = self.root / "result"

    def start(self, inputs: dict) -> None:
        """Keeps the work of an earlier run if it had the same inputs, else clears it.

        Args:
            inputs: what the result follows from, as JSON values: files with sizes and times.
        """
        note = self.root / _INPUTS
        text = json.dumps(inputs, indent=1, sort_keys=True)
        if note.exists() and note.read_text() != text:
            say(f"the input has changed since the last try: starting over in {self.root}")
            note.unlink()  # first: a kill amid the clearing must not leave old work with it
        if not note.exists():
            for path in self.root.iterdir():
                if path.name != _LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            files.write_atomically(note, text)
        self.result.mkdir(exist_ok=True)
        for leftover in self.result.glob(f"{files.PARTIAL}*"):
            leftover.unlink()

    def finish(self) -> None:
        """Makes the result the data set: from one moment to the next, it is there and whole."""
        for path in self.result.iterdir():
            files.sync(path)
        files.sync(self.result)
        os.rename(self.result, self.final)
        files.sync(self.final.parent)
        shutil.rmtree(self.root, ignore_errors=True)


def is_finished(folder: Path) -> bool:
    """Says whether a data set is there.

    Raises:
        UserError: there is something else.
    """
    if (folder / "dataset_info.json").is_file():
        # A run that was killed right after its last step leaves its scratch folder.
        shutil.rmtree(Workspace(folder).root, ignore_errors=True)
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no finished data set; move it out of the way")
    return False


@contextlib.contextmanager
def open_workspace(final: Path) -> Iterator[Workspace | None]:
    """Gives the workspace for `final`, or None if another run has finished it meanwhile.

    On an error, finished shards are kept for the next try; if there is none, nothing is left.

    Raises:
        UserError: another run is at work there, or the file system refuses something.
    """
    work = Workspace(final)
    try:
        work.root.mkdir(parents=True, exist_ok=True)
        with open(work.root / _LOCK, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another run is preparing {final} right now") from error
            if is_finished(final):
                yield None
                return
            try:
                yield work
            except BaseException:
                _remove_if_empty(work)
                raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UserError(f"{where}{error.strerror or error}") from error


def _remove_if_empty(work: Workspace) -> None:
    """Removes a workspace without a finished shard, and the folders made for it."""
    if any(not path.name.startswith(files.PARTIAL) for path in work.result.glob("*")):
        return
    shutil.rmtree(work.root, ignore_errors=True)
    with contextlib.suppress(OSError):
        work.final.parent.rmdir()
