"""What a person and other programs see of a running training."""

import json
import time
from pathlib import Path

from wae_jax.runtime.console import duration, say
from wae_jax.runtime.files import write_atomically
from wae_jax.training.stages import Stage

METRICS_FILE = "metrics.jsonl"


class Meter:
    """Averages a stage's metrics between log steps and tells rate, waiting and time left."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.sums: dict[str, float] = {}
        self.count = 0
        self.waited = 0.0
        self.since = time.perf_counter()
        # Step and time of the first report: before it, compilation hides the rate.
        self.warm: tuple[int, float] | None = None

    def add(self, metrics: dict[str, float]) -> None:
        """The metrics of one step."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def report(self, step: int, learning_rate: float) -> dict:
        """One line for metrics.jsonl on the steps since the last; starts the next one."""
        now = time.perf_counter()
        elapsed = now - self.since
        line = {
            "stage": self.stage.name,
            "step": step,
            "epoch": round((step - self.stage.first_step) / self.stage.steps_per_epoch, 4),
            **{name: total / self.count for name, total in self.sums.items()},
            "learning_rate": learning_rate,
            "images_per_s": self.count * self.stage.settings.batch_size / elapsed,
            # Share of the time in which the program waited for the input pipeline.
            "wait_fraction": self.waited / elapsed,
        }
        if self.warm is None:
            self.warm = (step, now)
            rate = elapsed / self.count
        else:
            rate = (now - self.warm[1]) / (step - self.warm[0])
        left = duration(rate * (self.stage.last_step - step))
        shown = " ".join(f"{name} {line[name]:.4g}" for name in ("loss", "top1") if name in line)
        say(
            f"[{self.stage.name}] step {step}/{self.stage.last_step} epoch {line['epoch']:.2f} "
            f"{shown} | {line['images_per_s']:.0f} images/s, waiting for data "
            f"{100 * line['wait_fraction']:.1f} %, {left} left",
        )
        self.sums, self.count, self.waited, self.since = {}, 0, 0.0, now
        return line


class MetricsLog:
    """``metrics.jsonl`` (one JSON object a line) and TensorBoard event files in a workdir."""

    def __init__(self, workdir: Path, *, resume_step: int, write: bool = True):
        """Continues after ``resume_step``: later lines, of a run that was stopped, are dropped."""
        self.file = self.board = None
        self.evaluated: set[int] = set()
        if not write:
            return
        from tensorboardX import SummaryWriter

        path = workdir / METRICS_FILE
        if path.exists():
            kept = list(_lines_until(path, resume_step))
            self.evaluated = {
                line["step"] for line in map(json.loads, kept) if "eval_count" in line
            }
            write_atomically(path, "".join(kept))
        self.file = path.open("a", buffering=1)
        self.board = SummaryWriter(str(workdir), purge_step=resume_step + 1, flush_secs=20)

    def write(self, line: dict) -> None:
        """Appends one line; numbers go to TensorBoard too. A step's evaluation is kept once."""
        if self.file is None:
            return
        kind = "eval" if "eval_count" in line else "train"
        if kind == "eval":
            if line["step"] in self.evaluated:
                return
            self.evaluated.add(line["step"])
        self.file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if isinstance(value, int | float) and name != "step":
                self.board.add_scalar(f"{kind}/{name}", value, line["step"])

    def close(self) -> None:
        """Flushes both."""
        if self.file is not None:
            self.file.close()
            self.board.close()


def _lines_until(path: Path, step: int):
    for line in path.read_text().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                yield line
        except (ValueError, KeyError):
            continue  # a line that a kill cut short
