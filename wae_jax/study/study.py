"""Trains several variants of one config with the same budget and sets them side by side."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wae_jax.bench.environment import pick_device
from wae_jax.bench.measure import model_job
from wae_jax.bench.networks import Network, build_network
from wae_jax.bench.timing import Timings, time_in_passes
from wae_jax.checkpoints import folders, store
from wae_jax.config import Settings, as_dict, settings_from_config
from wae_jax.errors import UserError
from wae_jax.models.classifier import build_model
from wae_jax.runtime import tables
from wae_jax.runtime.console import say
from wae_jax.schema.trees import changed
from wae_jax.training.loop import train
from wae_jax.training.progress import METRICS_FILE

BATCH_SIZES = (1, 32)
TIMING_SECONDS = 4.0  # for each batch size, all variants
DISTILLED = "+distill"  # ends the name of a variant that the first one teaches


@dataclasses.dataclass
class Row:
    """One variant: accuracies are fractions, one per seed; times are milliseconds per image."""

    variant: str
    top1_per_seed: tuple[float, ...]
    macs: int
    train_images_per_s: float
    ms: dict[int, float]
    speedup: dict[int, tuple[float, float, float]]

    @property
    def top1(self) -> float:
        return float(np.mean(self.top1_per_seed))


def check_variants(variants: Mapping[str, Settings]) -> None:
    """Finds out what does not fit before anything is computed.

    Args:
        variants: Settings by name, as for :func:`run_study`.

    Raises:
        UserError: A network that cannot be built for its images, or a first variant that would
            teach itself.
    """
    base = next(iter(variants))
    if base.endswith(DISTILLED):
        raise UserError(f"the first variant is the teacher, so it cannot be {base}")
    for name, settings in variants.items():
        try:
            build_model(settings.model, num_classes=2, image_size=settings.data.image_size)
        except UserError as error:
            raise UserError(f"variant {name}: {error}") from error


def run_study(variants: Mapping[str, Settings], seeds: Sequence[int], workdir: str) -> list[Row]:
    """Trains every variant with every seed (or continues), then counts and times the networks.

    Each run has its own folder ``WORKDIR/VARIANT-SEED``. Timing compares the first seed's networks
    in one interleaved run; speed-ups are against the first variant. A variant "NAME+distill" is
    taught by the first variant of the same seed.

    Args:
        variants: Settings by name; seed and teacher are the study's.
        seeds: Different ones.
        workdir: The folder of all runs.

    Returns:
        A row per variant, in their order.

    Raises:
        UserError: As :func:`check_variants` and :func:`wae_jax.training.loop.train`.
    """
    check_variants(variants)
    base = next(iter(variants))
    results = {}
    for seed in seeds:
        for name, settings in variants.items():
            changes: dict[str, Any] = {"seed": seed}
            if name.endswith(DISTILLED):
                changes["distill.teacher"] = folder_of(workdir, base, seed)
            say(f"== {name}, seed {seed}")
            config = as_dict(changed(settings, changes))
            results[name, seed] = train(config, folder_of(workdir, name, seed))
    folders = {name: folder_of(workdir, name, seeds[0]) for name in variants}
    macs, times = _measure({name: _network(name, folder) for name, folder in folders.items()})
    return [
        Row(
            variant=name,
            top1_per_seed=tuple(results[name, seed]["top1"] for seed in seeds),
            macs=macs[name],
            train_images_per_s=_training_rate(folder),
            ms={batch: each.median(name) / batch for batch, each in times.items()},
            speedup={batch: each.speedup(base, name) for batch, each in times.items()},
        )
        for name, folder in folders.items()
    ]


def folder_of(workdir: str, variant: str, seed: int) -> str:
    """The workdir of one run."""
    return str(Path(workdir) / f"{variant}-{seed}")


def _network(name: str, folder: str) -> Network:
    """A trained run's network in its inference form."""
    held = settings_from_config(store.read_meta(folders.find(folder))["config"])
    return build_network(
        name,
        held,
        held.model.dtype,
        platform=pick_device("").platform,
        checkpoint=folder,
        evaluate=False,
    )


def _measure(networks: Mapping[str, Network]) -> tuple[dict[str, int], dict[int, Timings]]:
    """MACs per image by name, and times by batch size, as ``bench`` measures them."""
    device = pick_device("")
    jobs = {
        batch: {name: model_job(network, batch, device) for name, network in networks.items()}
        for batch in BATCH_SIZES
    }
    times = time_in_passes(
        {
            (f"batch {batch}",): {name: job.call for name, job in members.items()}
            for batch, members in jobs.items()
        },
        seconds=TIMING_SECONDS,
    )
    return (
        {name: job.macs for name, job in jobs[BATCH_SIZES[0]].items()},
        dict(zip(BATCH_SIZES, times.values(), strict=True)),
    )


def _training_rate(workdir: str) -> float:
    """Median images/s of a run's last stage, from its metrics log."""
    text = (Path(workdir) / METRICS_FILE).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    lines = [line for line in lines if "images_per_s" in line]
    return float(
        np.median([line["images_per_s"] for line in lines if line["stage"] == lines[-1]["stage"]])
    )


def gap_recovered(rows: Sequence[Row], row: Row) -> float | None:
    """(err(low-res) - err(row)) / (err(low-res) - err(full)); None without both baselines."""
    by_name = {r.variant: r for r in rows}
    if "full" not in by_name or "lowres" not in by_name:
        return None
    gap = by_name["full"].top1 - by_name["lowres"].top1
    return (row.top1 - by_name["lowres"].top1) / gap if gap else None


def _record(rows: Sequence[Row], row: Row) -> dict[str, object]:
    gap = gap_recovered(rows, row)
    return {
        "variant": row.variant,
        "top1": round(row.top1, 4),
        "top1_per_seed": " ".join(f"{top1:.4f}" for top1 in row.top1_per_seed),
        "gap_recovered": "" if gap is None else round(gap, 3),
        "macs": row.macs,
        "mac_ratio": round(rows[0].macs / row.macs, 3),
        **{f"ms_batch_{b}": round(ms, 4) for b, ms in row.ms.items()},
        **{f"speedup_batch_{b}": round(s[0], 3) for b, s in row.speedup.items()},
        "train_images_per_s": round(row.train_images_per_s),
    }


def write_csv(rows: Sequence[Row], environment: Mapping[str, Any], path: Path) -> None:
    """One line per variant; the environment beside it, ``NAME.env.json``."""
    tables.write_csv(path, [_record(rows, row) for row in rows], environment)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    heads = [
        "network",
        "top-1",
        "gap recovered",
        "MACs / image",
        *(f"ms / image, batch {b}" for b in BATCH_SIZES),
        "training images/s",
    ]
    lines = [heads]
    for row in rows:
        gap = gap_recovered(rows, row)
        baseline = row.variant in ("full", "lowres")
        lines.append(
            [
                row.variant,
                f"{100 * row.top1:.2f} %",
                "" if gap is None or baseline else f"{100 * gap:.0f} %",
                f"{row.macs / 1e6:.2f} M ({rows[0].macs / row.macs:.2f}x fewer)",
                *(f"{row.ms[b]:.3f} ({row.speedup[b][0]:.2f}x)" for b in BATCH_SIZES),
                f"{row.train_images_per_s:.0f}",
            ]
        )
    return tables.markdown(lines)
