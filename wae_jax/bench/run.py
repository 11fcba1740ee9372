"""One benchmark: builds the networks, times them in the same run, and collects the results."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from wae_jax.bench import breakdown, end_to_end, runtimes, torch_peer
from wae_jax.bench.breakdown import Part
from wae_jax.bench.environment import busy_warning, environment, pick_device
from wae_jax.bench.measure import BASE, Job, Row, model_job, rows_of_cell
from wae_jax.bench.networks import Network, build_network
from wae_jax.bench.timing import Call, time_in_passes
from wae_jax.bench.torch_peer import PeerRow
from wae_jax.bench.training import train_job
from wae_jax.checkpoints import folders
from wae_jax.config import Settings
from wae_jax.errors import UserError
from wae_jax.models.classifier import DTYPES
from wae_jax.runtime.console import say
from wae_jax.schema.fields import check_choice
from wae_jax.schema.trees import plain

QUEUED = 16  # calls that are waited for together, to measure throughput


@dataclasses.dataclass(frozen=True)
class Options:
    """What a benchmark measures, beside the networks themselves.

    seconds: of timing for each batch size and dtype, all methods together.
    device: "cpu", "gpu", "tpu", or empty for jax's choice.
    checkpoints: method -> workdir or step. num_classes: 0 for the data set's own.
    end_to_end, breakdown, train_step, throughput: what else to measure. peer: "" or "torch".
    runtimes: what the networks alone are timed in, see :data:`wae_jax.bench.runtimes.NAMES`.
    """

    batch_sizes: tuple[int, ...] = (1, 8)
    dtypes: tuple[str, ...] = ("float32",)
    seconds: float = 20.0
    device: str = ""
    checkpoints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    num_classes: int = 0
    end_to_end: bool = False
    breakdown: bool = False
    train_step: bool = False
    throughput: bool = False
    peer: str = ""
    runtimes: tuple[str, ...] = (runtimes.JAX,)


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a benchmark found; ``warnings`` are sentences, ``networks`` model configs."""

    environment: dict[str, Any]
    networks: dict[str, Any]
    rows: list[Row]
    breakdown: list[Part]
    peer: list[PeerRow]
    warnings: list[str]


def run_benchmark(settings: Mapping[str, Settings], options: Options) -> Results:
    """Measures methods against each other.

    settings: by method.

    Raises:
        UserError: an option, config or checkpoint that cannot be used, or no such device.
    """
    _check(settings, options)
    device = pick_device(options.device)
    with jax.default_device(device):
        record = environment(device)
        runtimes.check_runtimes(options.runtimes, device.platform)
        jobs = _make_jobs(_make_networks(settings, options, device.platform), options, device)
        pairs = torch_peer.prepare(jobs, device) if options.peer else []
        with runtimes.elsewhere(options.runtimes, jobs) as places:
            rows = _time(jobs, places, options, device)
        parts, shortfalls = _explain(jobs, rows, options, device)
        peer = torch_peer.compare(pairs, seconds=options.seconds)
    return Results(
        record,
        {method: plain(each.model, list) for method, each in settings.items()},
        rows,
        parts,
        peer,
        [w for w in (busy_warning(record), *shortfalls) if w],
    )


def _check(settings: Mapping[str, Settings], options: Options) -> None:
    unknown = options.checkpoints.keys() - settings.keys()
    if unknown:
        raise UserError(f"--checkpoints names {', '.join(sorted(unknown))}, which --methods lacks")
    if not settings or not options.batch_sizes or not options.dtypes:
        raise UserError("name at least one method, batch size and dtype")
    if min(options.batch_sizes) < 1 or not options.seconds > 0 or options.num_classes < 0:
        raise UserError("--batch_sizes and --seconds must be above 0, --num_classes at least 0")
    for dtype in options.dtypes:
        check_choice("--dtypes", dtype, DTYPES)
    for path in options.checkpoints.values():
        folders.find(path)
    if options.peer:
        if "float32" not in options.dtypes:
            raise UserError("--peer compares in float32; add it to --dtypes")
        torch_peer.import_torch()


def _make_networks(
    settings: Mapping[str, Settings], options: Options, platform: str
) -> list[Network]:
    networks = []
    for dtype in options.dtypes:
        for method, each in settings.items():
            say(f"building {method} in {dtype}")
            networks.append(
                build_network(
                    method,
                    each,
                    dtype,
                    platform=platform,
                    num_classes=options.num_classes,
                    checkpoint=options.checkpoints.get(method, ""),
                )
            )
    return networks


def _make_jobs(networks: Sequence[Network], options: Options, device: jax.Device) -> list[Job]:
    jobs = []
    for network in networks:
        for batch_size in options.batch_sizes:
            say(f"compiling {network.method} for batch {batch_size}")
            jobs.append(model_job(network, batch_size, device))
    if options.end_to_end:
        photos = end_to_end.load_photos(networks[0].settings.data.cache_dir)
        jobs += [end_to_end.end_to_end_job(job, photos, device) for job in jobs]
    if options.train_step:
        jobs += [train_job(network, device) for network in networks]
    return jobs


def _time(
    jobs: Sequence[Job],
    places: Sequence[runtimes.Elsewhere],
    options: Options,
    device: jax.Device,
) -> list[Row]:
    """Rows of all jobs, those of a cell together; cells of all runtimes take turns."""
    here = jobs if runtimes.JAX in options.runtimes else [j for j in jobs if j.scope != "model"]
    cells: dict[tuple, list[Job]] = {}
    for job in (*here, *(job for place in places for job in place.jobs)):
        cells.setdefault(job.cell, []).append(job)
    timers = {cell: timer for place in places for cell, timer in place.timers().items()}
    timings = time_in_passes(
        {
            cell: timers.get(cell, {job.network.method: job.call for job in members})
            for cell, members in cells.items()
        },
        seconds=options.seconds,
    )
    rows = {cell: rows_of_cell(jobs, timings[cell], device) for cell, jobs in cells.items()}
    if options.throughput:
        queued = {c: js for c, js in cells.items() if c[0] == "model" and c not in timers}
        _add_throughput(rows, queued, options.seconds)
    return [row for members in rows.values() for row in members]


def _add_throughput(
    rows: dict[tuple, list[Row]], cells: Mapping[tuple, Sequence[Job]], seconds: float
) -> None:
    """Times calls that are queued, and waited for together, as a server's are under load."""

    def queue(call: Call) -> Call:
        return lambda: [call() for _ in range(QUEUED)]

    timings = time_in_passes(
        {
            cell: {job.network.method: queue(job.call) for job in jobs}
            for cell, jobs in cells.items()
        },
        seconds=seconds,
    )
    for cell, timing in timings.items():
        rows[cell] = [
            dataclasses.replace(
                row,
                throughput_images_per_s=1e3 * QUEUED * row.batch_size / timing.median(row.method),
            )
            for row in rows[cell]
        ]


def _explain(
    jobs: Sequence[Job], rows: Sequence[Row], options: Options, device: jax.Device
) -> tuple[list[Part], list[str]]:
    """The breakdown (asked for, or of rows that need a warning) and the warnings."""

    def key(x: Row | Part) -> tuple[str, str, int]:
        return x.method, x.dtype, x.batch_size

    rows = [row for row in rows if row.scope == "model" and row.runtime == runtimes.JAX]
    bases = {(row.dtype, row.batch_size): row for row in rows if row.method == BASE}
    short = [row for row in rows if breakdown.falls_short(row)]
    wanted = {key(row) for row in (rows if options.breakdown else short)}
    parts = breakdown.measure_parts(
        [
            job
            for job in jobs
            if job.scope == "model"
            and (job.network.method, job.network.dtype, job.batch_size) in wanted
        ],
        device,
        seconds=options.seconds / 4,
    )
    return parts, [breakdown.warning(row, bases[row.dtype, row.batch_size], parts) for row in short]
