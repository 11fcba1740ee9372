"""The sections of a run in a report: figures, curves, costs, photos, classes, card, config."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from wae_jax.bench.networks import Network
from wae_jax.checkpoints.load import load_step
from wae_jax.compress.pipeline import lines_of
from wae_jax.config import DataSettings, Settings, as_dict
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.evaluation.metrics import METRIC_NAMES
from wae_jax.evaluation.outcomes import Outcomes, evaluate_each
from wae_jax.export.runtimes import TITLES
from wae_jax.report.card import Entry, make_card
from wae_jax.report.charts import stage_charts
from wae_jax.report.classes import Classes, examples_of, find_classes
from wae_jax.report.costs import Costs, measure_costs
from wae_jax.report.files import RunFiles, is_number
from wae_jax.report.thumbnails import picture
from wae_jax.runtime.console import say
from wae_jax.schema.trees import differences
from wae_jax.study import runs
from wae_jax.study.panels import make_panels
from wae_jax.study.photos import photos_of_split
from wae_jax.study.study import trained_network
from wae_jax.training.stages import plan_stages

T = TypeVar("T")

# What a reader calls the figures of an evaluation, and how each is shown.
_FIGURES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "top1": ("top-1", lambda x: f"{100 * x:.2f} %"),
    "top5": ("top-5", lambda x: f"{100 * x:.2f} %"),
    "top1_low": ("top-1, low branch alone", lambda x: f"{100 * x:.2f} %"),
    "top1_fused": ("top-1, fused score alone", lambda x: f"{100 * x:.2f} %"),
    "top1_without_high": ("top-1 without I_H", lambda x: f"{100 * x:.2f} %"),
    "psnr": ("PSNR of the reconstruction", lambda x: f"{x:.2f} dB"),
    "high_energy": ("energy of I_H over I_L", lambda x: f"{x:.3g}"),
    "low_correlation": ("correlation of I_L with the half-resolution image", lambda x: f"{x:.4f}"),
    "eval_count": ("images evaluated", lambda x: f"{x:,}"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What a report may spend.

    Attributes:
        photos: How many are shown.
        seconds: Of timing the parts of each network; 0: no times.
        evaluate: Whether checkpoints without a record are evaluated.
        data_dir: Where the data set is; empty for the run's own.
    """

    photos: int = 8
    seconds: float = 2.0
    evaluate: bool = True
    data_dir: str = ""


@dataclasses.dataclass(frozen=True)
class PhotoView:
    """A photo: its name, its figures in words, and its panels (name, size in words, src)."""

    name: str
    lines: list[str]
    panels: list[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class RunView:
    """All that a page shows of a run; sections that do not exist are empty or None.

    Attributes:
        name: Of the run.
        status: How far it is, in words; finished: Whether all its steps were taken.
        figures: Name and value; figures_of: Where they are from, in words.
        curves: Of each stage, name and SVG charts.
        compression: Cells of a table of its steps, the headings first, and the runtime of its
            times; None without any.
        costs: By part. photos: With panels. classes: Hardest and confused.
        card: Of the model.
        changed: Key, default and value, where a config differs from the defaults.
        config: Key and value, all.
        notes: Sentences about what is missing.
    """

    name: str
    status: str
    finished: bool
    figures: list[tuple[str, str]]
    figures_of: str
    curves: list[tuple[str, list[str]]]
    compression: tuple[list[list[str]], str] | None
    costs: Costs | None
    photos: list[PhotoView]
    classes: Classes | None
    card: list[Entry]
    changed: list[tuple[str, str, str]]
    config: list[tuple[str, str]]
    notes: list[str]


def view_run(run: RunFiles, options: Options) -> RunView:
    """Computes the sections of one run; a part that cannot be had becomes a note."""
    notes = list(run.notes)

    def attempt(what: str, compute: Callable[[], T]) -> T | None:
        try:
            return compute()
        except UserError as error:
            notes.append(f"No {what}: {error}.")
            return None

    settings = run.settings
    data_dir = options.data_dir or settings.data.data_dir
    held = dataclasses.replace(settings.data, data_dir=data_dir)
    costs = classes = None
    photos: list[PhotoView] = []
    if run.step is not None:
        step = run.step
        say(f"{run.name}: costs, photos and classes")
        network = attempt("costs", lambda: trained_network(run.name, step))
        if network is not None:
            costs = measure_costs(network, options.seconds)
            classes = attempt("classes", lambda: _classes(run, network, held, options))
        if settings.model.frontend.name != "identity":
            photos = attempt("photos", lambda: _photos(run, held, options.photos)) or []
    status, finished = _status(run)
    figures, figures_of = _figures(run)
    return RunView(
        run.name,
        status,
        finished,
        figures,
        figures_of,
        [(name, stage_charts(name, run.log)) for name in settings.run_stages],
        (lines_of(run.compression), TITLES[run.compression[0].runtime])
        if run.compression
        else None,
        costs,
        photos,
        classes,
        make_card(run, costs, classes),
        _changed(settings),
        [(key, _text(value)) for key, value in _flat(as_dict(settings))],
        notes,
    )


def _status(run: RunFiles) -> tuple[str, bool]:
    """How far a run is, and whether it is at its end."""
    done = max([line["step"] for line in run.log] + [run.meta["step"] if run.meta else 0])
    if run.meta and run.meta["origin"]:
        return f"imported weights ({run.meta['origin']})", True
    position = run.meta["data"] if run.meta else None
    if not position or "num_examples" not in position:
        return f"step {done:,}; not finished", False
    plan = plan_stages(run.settings.running_stages, position["num_examples"])
    last = plan[-1].last_step
    if done >= last:
        return f"finished, {last:,} steps", True
    stage = next(stage for stage in plan if done < stage.last_step)
    return f"step {done:,} of {last:,}, in stage {stage.name}; not finished", False


def _figures(run: RunFiles) -> tuple[list[tuple[str, str]], str]:
    """Of the record, or of the last evaluation in the log; and which one that is."""
    evaluations = [line for line in run.log if "eval_count" in line]
    found = run.record.figures if run.record else (evaluations or [{}])[-1]
    figures = [
        (_FIGURES[name][0], _FIGURES[name][1](found[name]))
        for name in METRIC_NAMES
        if is_number(found.get(name))
    ]
    if not figures:
        return [], ""
    return figures, f"evaluation of {run.settings.data.eval_split} at step {found.get('step')}"


def _classes(run: RunFiles, network: Network, held: DataSettings, options: Options) -> Classes:
    """From the record's predictions, else from an evaluation."""
    assert run.step is not None and run.meta is not None  # as the caller checks
    known = classes_of(run.meta, f"the checkpoint {run.step}")
    if run.record:
        outcomes = Outcomes(runs.numbers(run.record.labels), runs.numbers(run.record.predicted))
    elif options.evaluate:
        outcomes = evaluate_each(network.scores, network.variables, held, held.eval_split, known)
    else:
        raise UserError("the run has no record, and --skip=evaluation was given")
    names = run.meta["class_names"] or [f"class {n}" for n in range(run.meta["num_classes"])]
    return find_classes(outcomes, names, examples_of(held, known, outcomes, names))


def _photos(run: RunFiles, held: DataSettings, count: int) -> list[PhotoView]:
    assert run.step is not None  # as the caller checks
    model, variables, meta = load_step(run.step)
    photos = photos_of_split(held, held.eval_split, meta, run.step, count)
    panels, figures = make_panels(model, variables, photos.images)
    return [
        PhotoView(
            name,
            own.lines,
            [
                (panel.name, f"{panel.size[0]} x {panel.size[1]}", picture(panel.images[number]))
                for panel in panels
            ],
        )
        for number, (name, own) in enumerate(zip(photos.names, figures, strict=True))
    ]


def _changed(settings: Settings) -> list[tuple[str, str, str]]:
    """Stages that do not run left out."""
    idle = tuple(f"stages.{name}." for name in settings.stages if name not in settings.run_stages)
    return [
        (key, _text(old), _text(new))
        for key, (old, new) in sorted(differences(Settings(), settings).items())
        if not key.startswith(idle)
    ]


def _flat(tree: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{before}{key}.")
        else:
            found.append((f"{before}{key}", value))
    return found


def _text(value: Any) -> str:
    return "" if value is None else str(value)
