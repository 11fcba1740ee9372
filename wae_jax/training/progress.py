"""What a person and other programs see of a running training."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.errors import UserError
from wae_jax.runtime.console import duration
from wae_jax.runtime.files import write_atomically
from wae_jax.training.stages import Stage

METRICS_FILE = "metrics.jsonl"


class Totals:
    """Sums of the steps' metrics on the device: the host gets nothing before a log step."""

    def __init__(self, kept: dict[str, Any] | None = None) -> None:
        """Goes on with what :meth:`keep` gave; else begins anew."""
        self.count: int = kept["count"] if kept else 0
        self._first: dict[str, float] = kept["sums"] if kept else {}
        self._sums: Any = None
        self._add = jax.jit(_add)

    def add(self, step: int, metrics: Any) -> None:
        """Adds the metrics of one global step.

        Args:
            step: its number, from 1.
            metrics: what the step returned, "loss" among it; on the device.
        """
        before = self._sums
        if before is None:
            sums = {n: jnp.full_like(x, self._first.get(n, 0)) for n, x in metrics.items()}
            before = sums, jax.tree.map(lambda x: jnp.zeros_like(x, int), metrics)
        else:
            # At most two steps are queued, so that memory is bounded and the host not idle.
            jax.block_until_ready(before)
        self._sums = self._add(before, metrics, step)
        self.count += 1

    def first_bad(self, value: Callable[[jax.Array], np.ndarray]) -> tuple[int, list[str]] | None:
        """The first step since the last :meth:`take` whose loss was no number, and its terms.

        Waits for the steps. Terms are the metrics that were no numbers in that step, "loss" left
        out where there are others.
        """
        if self._sums is None:
            return None
        steps = {name: int(np.max(value(step))) for name, step in self._sums[1].items()}
        first = steps.pop("loss")
        terms = [name for name, step in steps.items() if step == first]
        return (first, terms or ["loss"]) if first else None

    def keep(self, value: Callable[[jax.Array], np.ndarray]) -> dict[str, Any] | None:
        """What a checkpoint keeps, so that the next line of a resumed run lacks no step."""
        if self._sums is None:
            return None
        sums = {name: float(np.mean(value(x))) for name, x in self._sums[0].items()}
        return {"count": self.count, "sums": sums}

    def take(self, value: Callable[[jax.Array], np.ndarray]) -> dict[str, float]:
        """Means of the metrics over the steps since the last time; starts anew.

        Steps that were skipped are left out, and "skipped" is their number where steps can be;
        of none but skipped ones there are no means.

        Args:
            value: brings a device value to the host, as :meth:`Parallel.local_value` does.
        """
        sums, count = self._sums[0], self.count
        self._sums, self._first, self.count = None, {}, 0
        totals = {name: float(np.mean(value(total))) for name, total in sums.items()}
        skipped = {name: round(totals.pop(name)) for name in ("skipped",) if name in totals}
        count -= sum(skipped.values())
        return {name: total / count for name, total in totals.items() if count} | skipped


def _add(totals, metrics, step):
    sums, bad = totals

    def first(bad, metric):
        now = jnp.where(jnp.isfinite(metric), 0, step).astype(bad.dtype)
        return jnp.where(bad == 0, now, bad)

    return jax.tree.map(jnp.add, sums, metrics), jax.tree.map(first, bad, metrics)


@jax.jit
def _all_finite(arrays: list[jax.Array]) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in arrays]))


def all_finite(tree: Any) -> bool:
    """Whether a tree's arrays hold finite numbers only; computed where they are."""
    return bool(
        _all_finite([x for x in jax.tree.leaves(tree) if jnp.isdtype(x.dtype, "real floating")])
    )


class Meter:
    """Tells a stage's rate, waiting and time left."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.waited = 0.0
        self.began = self.since = time.perf_counter()
        # Step and time of the first report: before it, compilation hides the rate.
        self.warm: tuple[int, float] | None = None

    @property
    def seconds(self) -> float:
        """Time in training since this meter was made."""
        return time.perf_counter() - self.began

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves what is done inside out of all times: evaluation, and saving."""
        began = time.perf_counter()
        yield
        away = time.perf_counter() - began
        self.began += away
        self.since += away
        if self.warm is not None:
            self.warm = self.warm[0], self.warm[1] + away

    def report(
        self, step: int, count: int, means: dict[str, float], learning_rate: float
    ) -> tuple[dict[str, Any], str]:
        """One line for metrics.jsonl on the steps since the last, and what people see of it.

        Args:
            step: the last of them. count: how many they are.
            means: of their metrics.
            learning_rate: of the last.
        """
        now = time.perf_counter()
        elapsed = now - self.since
        rate = count * self.stage.settings.batch_size / elapsed
        # Share of the time in which the program waited for the input pipeline.
        waiting = self.waited / elapsed
        epoch = round((step - self.stage.first_step) / self.stage.steps_per_epoch, 4)
        line = {
            "stage": self.stage.name,
            "step": step,
            "epoch": epoch,
            **means,
            "learning_rate": learning_rate,
            "images_per_s": rate,
            "wait_fraction": waiting,
        }
        if self.warm is None:
            self.warm = (step, now)
            seconds = elapsed / count
        else:
            seconds = (now - self.warm[1]) / (step - self.warm[0])
        left = duration(seconds * (self.stage.last_step - step))
        shown = " ".join(f"{name} {means[name]:.4g}" for name in ("loss", "top1") if name in means)
        text = (
            f"epoch {epoch:.2f} {shown} | {rate:.0f} images/s, waiting for data "
            f"{100 * waiting:.1f} %, {left} left"
        )
        self.waited, self.since = 0.0, now
        return line, text


class MetricsLog:
    """``metrics.jsonl`` (one JSON object a line) and TensorBoard event files in a workdir."""

    def __init__(self, workdir: Path, *, resume_step: int, write: bool = True):
        """Continues after ``resume_step``: later lines, of a run that was stopped, are dropped."""
        self.workdir = workdir
        self.file = self.board = None
        path = workdir / METRICS_FILE
        kept = list(_lines_until(path, resume_step)) if path.exists() else []
        # All processes need it: they evaluate together, or not at all.
        self.evaluated: dict[int, float] = {  # step -> top1
            line["step"]: line["top1"] for line in map(json.loads, kept) if "eval_count" in line
        }
        if not write:
            return
        with _one_line(workdir):
            if path.exists():
                write_atomically(path, "".join(kept))
            self.file = path.open("a", buffering=1)
            self.board = _Board(workdir, resume_step + 1)

    def write(self, line: dict) -> None:
        """Appends one line; numbers go to TensorBoard too. A step's evaluation is kept once."""
        kind = "eval" if "eval_count" in line else "train"
        if kind == "eval":
            if line["step"] in self.evaluated:
                return
            self.evaluated[line["step"]] = line["top1"]
        if self.file is None:
            return
        with _one_line(self.workdir):
            self.file.write(json.dumps(line) + "\n")
            numbers = {n: x for n, x in line.items() if isinstance(x, int | float) and n != "step"}
            self.board.write({f"{kind}/{n}": x for n, x in numbers.items()}, line["step"])

    @property
    def best(self) -> int | None:
        """The evaluated step with the highest top1, the latest of equals; None: none is."""
        steps = sorted(self.evaluated, reverse=True)
        return max(steps, key=lambda step: self.evaluated[step], default=None)

    def close(self) -> None:
        """Ends both; all that was written is on its way to the disk already."""
        if self.file is not None:
            for each in (self.file, self.board):
                with contextlib.suppress(OSError):  # write() has told, of a disk that is full
                    each.close()


class _Board:
    """TensorBoard's event file, written line by line: what is logged is there after a kill."""

    def __init__(self, workdir: Path, purge_step: int):
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter

        # Nanoseconds: a run started again at once must not write over this file.
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._file = RecordWriter(str(workdir / name))
        self._event = Event
        self._put(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)  # hides what a stopped run logged beyond it
        self._put(Event(step=purge_step, wall_time=time.time(), session_log=start))

    def write(self, scalars: dict[str, float], step: int) -> None:
        from tensorboardX.summary import scalar

        for name, value in scalars.items():
            summary = scalar(name, value)
            self._put(self._event(step=step, wall_time=time.time(), summary=summary))

    def _put(self, event) -> None:
        self._file.write(event.SerializeToString())
        self._file._writer.flush()  # its own flush() waits for the disk too

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _one_line(workdir: Path) -> Iterator[None]:
    """Turns what the disk refuses into UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write the metrics in {workdir}: {error.strerror}") from error


def _lines_until(path: Path, step: int):
    for line in path.read_text().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                yield line
        except (ValueError, KeyError):
            continue  # a line that a kill cut short
