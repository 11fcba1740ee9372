"""One self-contained HTML page of a run or of a study."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wae_jax.bench.environment import environment, pick_device
from wae_jax.errors import UserError
from wae_jax.report.charts import accuracy_charts
from wae_jax.report.files import RunFiles, is_run, read_run, runs_in
from wae_jax.report.sections import Options, RunView, view_run
from wae_jax.runtime.files import write_atomically
from wae_jax.study import measure, runs
from wae_jax.study import report as study_report
from wae_jax.study.plot import timed
from wae_jax.study.rows import make_rows


@dataclasses.dataclass(frozen=True)
class StudyView:
    """What a page shows of a study beside its runs.

    Attributes:
        table: Cells of text, the headings first; empty without a finished run.
        charts: Accuracy against time, SVG.
        warnings: Sentences.
    """

    table: list[list[str]]
    charts: list[str]
    warnings: list[str]


def write_report(workdir: str, out: str, options: Options) -> None:
    """Writes the page of the run or the study in a folder.

    Args:
        workdir: Of a run, finished or not; or a study's folder, of which each variant's first seed
            is shown in full.
        out: The HTML file.
        options: What it may spend.

    Raises:
        UserError: There is neither in the folder, or its files cannot be read or written.
    """
    folder = Path(workdir)
    study = None
    machines: dict[str, Mapping[str, Any]] = {}
    if is_run(folder):
        found = [read_run(folder, folder.absolute().name)]
    else:
        study, machines, found = _read_study(folder)
    views = [view_run(run, options) for run in found]
    machines |= {f"training of {run.name}": run.record.machine for run in found if run.record}
    machines["this report"] = environment(pick_device(""))
    page = _render(folder.absolute().name, study, views, machines)
    try:
        # File names may hold bytes that are no text.
        write_atomically(Path(out), page.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"--out: cannot write {out}: {error.strerror or error}") from error


def _read_study(folder: Path) -> tuple[StudyView, dict[str, Mapping[str, Any]], list[RunFiles]]:
    """A study's tables, where it was timed, and its runs: the first seed of each variant."""
    records = runs.read_all(str(folder))
    firsts: dict[str, Path] = {}
    for path in runs_in(folder):
        firsts.setdefault(path.name.rpartition("-")[0], path)
    if not records and not firsts:
        reason = "no such folder" if not folder.exists() else "neither is in it"
        raise UserError(f"{folder} is no workdir of a run and no folder of a study: {reason}")
    order = {name: number for number, name in enumerate(dict.fromkeys(r.variant for r in records))}
    names = sorted(firsts, key=lambda name: (order.get(name, len(order)), name))
    found = [read_run(firsts[name], firsts[name].name) for name in names]
    if not records:
        return StudyView([], [], ["No run of this study is finished."]), {}, found
    times = measure.read_times(str(folder))
    chosen = runs.select(records, (), (), str(folder))
    rows = make_rows(chosen, times)
    shown = timed(rows)
    view = StudyView(
        study_report.table_lines(rows),
        list(accuracy_charts(shown)) if shown else [],
        study_report.warnings(chosen, times),
    )
    return view, {"the study's times": times.environment} if times else {}, found


def _render(
    title: str,
    study: StudyView | None,
    views: list[RunView],
    machines: Mapping[str, Mapping[str, Any]],
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("wae_jax.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("page.html").render(
        title=title,
        study=study,
        runs=views,
        machines={
            name: [
                (key, value) for key, value in held.items() if isinstance(value, str | int | float)
            ]
            for name, held in machines.items()
        },
    )
