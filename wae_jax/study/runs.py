"""The record of a finished run, ``WORKDIR/VARIANT-SEED.json``: all that tables are made of."""

import collections
import dataclasses
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax.checkpoints import formats
from wae_jax.config import Settings
from wae_jax.errors import UserError
from wae_jax.runtime import files
from wae_jax.training.progress import METRICS_FILE

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Run:
    """What is kept of a finished run.

    Attributes:
        variant: Its name; seed: Its seed.
        finished: Date and time.
        top1: Fraction, of the inference form.
        macs: Per image, of the inference form.
        figures: Those of the training's last evaluation, see :func:`wae_jax.training.loop.train`.
        stages: Each with ``name``, ``steps``, ``batch_size`` and ``images_per_s`` (median).
        images_seen: In all steps.
        hours: Wall-clock time from its last start to its end.
        resumed_from_step: Of that start: 0, or where a stopped run went on.
        teacher: ``path``, ``step`` and ``sha256`` of its checkpoint, or None.
        load: Fields of :class:`wae_jax.study.load.Load`, and ``warning``, a sentence or empty.
        machine: See :func:`wae_jax.bench.environment.environment`.
        differs: Key -> value where its config is not that of the study's first variant.
        config: All of it, with the ``format`` of a workdir's config.
        labels: Of the evaluation's images in their order, numbers with spaces between them.
        predicted: The classes that the inference form gives them; see
            :class:`wae_jax.evaluation.outcomes.Outcomes`.
        model: The config's ``model`` as trained, where compression changed it; else None.
        compression: Fields of a :class:`wae_jax.compress.pipeline.Step` for each step.
        totals: ``epochs``, ``images_seen`` and ``hours`` with those of the runs that it is made of;
            None in older records.
    """

    variant: str
    seed: int
    finished: str
    top1: float
    macs: int
    figures: dict[str, Any]
    stages: list[dict[str, Any]]
    images_seen: int
    hours: float
    resumed_from_step: int
    teacher: dict[str, str] | None
    load: dict[str, Any]
    machine: dict[str, Any]
    differs: dict[str, Any]
    config: dict[str, Any]
    labels: str
    predicted: str
    model: dict[str, Any] | None = None
    compression: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    totals: dict[str, float] | None = None

    @property
    def name(self) -> str:
        """Of its folder and file."""
        return f"{self.variant}-{self.seed}"

    @property
    def image_size(self) -> int:
        return self.config["data"]["image_size"]

    @property
    def images_per_s(self) -> float | None:
        """Of training, in the last stage; None where its log is gone, or nothing is trained."""
        return self.stages[-1]["images_per_s"] if self.stages else None

    @property
    def layers(self) -> dict[str, Any]:
        """The config's ``model`` with the sizes of all layers."""
        return self.config["model"] if self.model is None else self.model

    def total(self, key: str) -> float | None:
        """One of ``totals``; in older records, which are made of nothing, the run's own."""
        own = {"images_seen": self.images_seen, "hours": self.hours}
        return (own if self.totals is None else self.totals).get(key)

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """bool (N,): whether it is right about each image of the evaluation; bad ones left out."""
        labels = numbers(self.labels)
        return (labels == numbers(self.predicted))[labels >= 0]

    def settings(self, workdir: str) -> Settings:
        """Those that the study asked for."""
        return formats.settings_of_run(self.config, path_of(workdir, self.variant, self.seed))

    def network_settings(self, workdir: str) -> Settings:
        """Those of the network that came out."""
        held = {**self.config, "model": self.layers}
        return formats.settings_of_run(held, path_of(workdir, self.variant, self.seed))


def folder_of(workdir: str, variant: str, seed: int) -> str:
    """The workdir of one run."""
    return str(Path(workdir) / f"{variant}-{seed}")


def path_of(workdir: str, variant: str, seed: int) -> Path:
    """The record of one run; there once it is finished."""
    return Path(f"{folder_of(workdir, variant, seed)}.json")


def as_text(classes: np.ndarray) -> str:
    """Class numbers as they stand in a record."""
    return " ".join(map(str, classes.tolist()))


def numbers(text: str) -> np.ndarray:
    """int32 (N,), the inverse of :func:`as_text`."""
    return np.array(text.split(), np.int32)


def write(workdir: str, run: Run) -> None:
    """Keeps the record of a finished run."""
    held = {"format": FORMAT, **dataclasses.asdict(run)}
    path = path_of(workdir, run.variant, run.seed)
    files.write_atomically(path, json.dumps(held, indent=1) + "\n")


def read(path: Path) -> Run:
    """The record in a file.

    Raises:
        UserError: It is none, or one of a newer version.
    """
    try:
        held = files.read_json(path)
        if not isinstance(held, dict) or held.pop("format", 0) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        return Run(**held)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is no record of a run ({error}); take it out of the folder, and the study "
            "evaluates the run again"
        ) from error


def read_all(workdir: str) -> list[Run]:
    """The records in a study's folder, in the order in which the runs were finished."""
    found = [p for p in Path(workdir).glob("*.json") if re.fullmatch(r".+-\d+\.json", p.name)]
    return sorted(map(read, found), key=lambda run: (run.finished, run.name))


def select(
    found: Sequence[Run], variants: Sequence[str], seeds: Sequence[int], workdir: str
) -> dict[str, list[Run]]:
    """The runs that are asked for, by variant, seeds ascending.

    Args:
        found: All in the folder.
        variants: Their order is kept; none for all, "full" first.
        seeds: None for all.
        workdir: For messages.

    Raises:
        UserError: There is no run, or none of a variant, or two that were evaluated on other
            images.
    """
    asked = [run for run in found if not seeds or run.seed in seeds]
    if not variants:
        names = list(dict.fromkeys(run.variant for run in asked))
        variants = sorted(names, key=lambda name: name != "full")  # a stable sort
    chosen = {
        name: sorted((r for r in asked if r.variant == name), key=lambda r: r.seed)
        for name in variants
    }
    lacking = [name for name, runs in chosen.items() if not runs]
    if lacking or not chosen:
        gone = "" if Path(workdir).exists() or lacking else ": no such folder"
        of = f" of {', '.join(lacking)}" if lacking else ""
        raise UserError(f"{workdir} has no record of a finished run{of}{gone}")
    runs = [run for each in chosen.values() for run in each]
    for run in runs:
        if run.labels != runs[0].labels:
            raise UserError(
                f"{runs[0].name} and {run.name} in {workdir} were evaluated on other images: they "
                "cannot be compared"
            )
    return chosen


def rates(folder: str) -> dict[str, float]:
    """Median training images/s of every stage in a run's metrics log."""
    path = Path(folder) / METRICS_FILE
    by_stage: dict[str, list[float]] = collections.defaultdict(list)
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line: Mapping[str, Any] = json.loads(text)
        except ValueError:
            continue  # a line that a kill cut short
        if "images_per_s" in line:
            by_stage[line["stage"]].append(line["images_per_s"])
    return {stage: float(np.median(found)) for stage, found in by_stage.items()}
