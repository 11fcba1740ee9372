"""Classes of image files; decoded by threads while the network computes."""

import contextlib
import dataclasses
import json
import os
import queue
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from wae_jax import data
from wae_jax.errors import UserError
from wae_jax.evaluation.predictor import Predictor
from wae_jax.runtime.files import open_regular
from wae_jax.runtime.machine import usable_cores

# Batches that are decoded ahead of the network.
_AHEAD = 2
_SECONDS_BETWEEN_LOOKS = 0.1  # of a thread that has to notice that nobody wants its photos any more
_NO_IMAGES = f"no image files in it (they end in {', '.join(data.PHOTO_SUFFIXES)})"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, (number, name, probability), likeliest first.

    The name is empty where the network has none.
    """

    file: str
    classes: tuple[tuple[int, str, float], ...]

    def as_text(self) -> str:
        """The file and a line per class."""
        lines = (
            f"  {100 * probability:5.1f} %  {number:4d}  {name}".rstrip()
            for number, name, probability in self.classes
        )
        return "\n".join([self.file, *lines])

    def as_json(self) -> str:
        """One JSON object on one line."""
        keys = ("class", "name", "probability")
        return json.dumps(
            {
                "file": self.file,
                "classes": [
                    dict(zip(keys, (number, name or None, round(probability, 6)), strict=True))
                    for number, name, probability in self.classes
                ],
            }
        )

    def as_row(self) -> list:
        """The file, then number, name and probability of each class."""
        row: list = [self.file]
        for number, name, probability in self.classes:
            row += [number, name, round(probability, 6)]
        return row


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file or folder that could not be read, and why."""

    file: str
    reason: str

    def as_text(self) -> str:
        """One line."""
        return " ".join(f"skipped {self.file}: {self.reason}".splitlines())


# What is to be read, or cannot be.
Found = str | Skipped


def find_images(paths: Sequence[str]) -> list[Found]:
    """The files themselves, and the image files in folders (at any depth), sorted.

    Raises:
        UserError: a path that does not exist, or no image files in a folder or at all.
    """
    found: list[Found] = []
    for path in paths:
        try:
            inside = _expand(path)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        if inside == [Skipped(path, _NO_IMAGES)]:
            raise UserError(f"{path}: {_NO_IMAGES}")
        found += inside
    closed = [item for item in found if isinstance(item, Skipped)]
    if len(closed) == len(found):
        raise UserError(
            "no image files: cannot read " + "; ".join(f"{s.file} ({s.reason})" for s in closed[:3])
        )
    return found


def find_listed(lines: Iterable[bytes]) -> Iterator[Found]:
    """The same of a list of paths, one a line, while it is being read.

    What does not exist, or is empty, is passed on as skipped.
    """
    for line in lines:
        path = os.fsdecode(line.rstrip(b"\r\n"))
        if path:
            try:
                yield from _expand(path)
            except OSError as error:
                yield Skipped(path, error.strerror or str(error))


def _expand(path: str) -> list[Found]:
    """A file, or the image files in a folder; raises OSError where there is neither."""
    if not stat.S_ISDIR(os.stat(path).st_mode):
        return [path]
    unread: list[OSError] = []
    inside = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(path, onerror=unread.append)
        for name in names
        if Path(name).suffix.lower() in data.PHOTO_SUFFIXES
    )
    closed = [
        Skipped(f"the folder {error.filename}", error.strerror or str(error)) for error in unread
    ]
    if not inside and not closed:
        return [Skipped(path, _NO_IMAGES)]
    return [*closed, *map(str, inside)]


def predict(
    predictor: Predictor, files: Iterable[Found], *, top: int = 5, patience: float | None = None
) -> Iterator[Prediction | Skipped]:
    """The ``top`` classes of every image, as the network sees them in evaluation, in their order.

    Args:
        predictor: the network.
        files: whose classes are wanted; gone through on another thread, some batches ahead.
        top: how many classes.
        patience: seconds after which a batch that is not full is classified all the same, where
            ``files`` have to be waited for; None: only full batches, until the end.
    """
    images: list[np.ndarray] = []
    waiting: list[Found] = []

    def flush() -> Iterator[Prediction | Skipped]:
        rows = iter(predictor.classify(images) if images else ())
        for file in waiting:
            yield (
                file if isinstance(file, Skipped) else _prediction(predictor, file, next(rows), top)
            )
        images.clear()
        waiting.clear()

    cv2.setNumThreads(1)  # there are threads enough
    with _decoding(predictor, files) as decoded:
        while True:
            try:
                item = decoded.get(timeout=patience if waiting else None)
            except queue.Empty:
                yield from flush()
                continue
            if item is None:
                break
            file, image = item.result() if isinstance(item, Future) else (item, None)
            waiting.append(file)
            if image is not None:
                images.append(image)
            if not images or len(images) == predictor.batch_size:
                yield from flush()
    yield from flush()


def _prediction(predictor: Predictor, file: str, row: np.ndarray, top: int) -> Prediction:
    best = np.argsort(-row, stable=True)[:top]
    return Prediction(file, tuple((int(i), predictor.name(i), float(row[i])) for i in best))


def _prepared(predictor: Predictor, file: str) -> tuple[Found, np.ndarray | None]:
    """The file with its image, or why there is none."""
    try:
        with open_regular(file) as opened:
            encoded = opened.read()
        return file, predictor.prepare(encoded)
    except (OSError, data.DecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Skipped(file, reason), None


@contextlib.contextmanager
def _decoding(predictor: Predictor, files: Iterable[Found]) -> Iterator[queue.Queue]:
    """A queue of futures of :func:`_prepared`, or what was skipped; None at the end.

    Bounded: what is decoded waits until the network has taken what came before.
    """
    decoded: queue.Queue = queue.Queue(_AHEAD * predictor.batch_size)
    pool = ThreadPoolExecutor(usable_cores())
    stop = threading.Event()

    def put(item) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                return decoded.put(item, timeout=_SECONDS_BETWEEN_LOOKS)

    def feed() -> None:
        try:
            for file in files:
                if stop.is_set():
                    return
                put(file if isinstance(file, Skipped) else pool.submit(_prepared, predictor, file))
            put(None)
        except Exception as error:
            failed: Future = Future()
            failed.set_exception(error)
            put(failed)

    # A daemon: it may be waiting for a line when the program ends.
    threading.Thread(target=feed, daemon=True).start()
    try:
        yield decoded
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
