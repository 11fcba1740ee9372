"""Trains several variants of one config with the same budget and sets them side by side."""

import csv
import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.bench.macs import count_macs
from wae_jax.bench.timing import speedup, time_interleaved
from wae_jax.checkpoints import folders
from wae_jax.checkpoints.load import load_step
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.inference.fold import for_inference
from wae_jax.runtime.console import say
from wae_jax.training.loop import train
from wae_jax.training.progress import METRICS_FILE

BATCH_SIZES = (1, 32)
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


def load_config_file(path: str) -> ModuleType:
    """The module of a config file.

    Raises:
        UserError: no such file, or one without ``get_config``.
    """
    spec = importlib.util.spec_from_file_location("study_config", path)
    if spec is None or not Path(path).is_file():
        raise UserError(f"no config file {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} has no get_config function")
    return module


def run_study(
    config_file: str, variants: Sequence[str], seeds: Sequence[int], workdir: str
) -> list[Row]:
    """Trains every variant with every seed (or continues), then counts and times the networks.

    Each run has its own folder ``WORKDIR/VARIANT-SEED``. Timing compares the first seed's networks
    in one interleaved run; speed-ups are against the first variant. A variant "NAME+distill" is
    NAME taught by the first variant of the same seed.
    """
    module = load_config_file(config_file)
    results = {}
    for seed in seeds:
        for variant in variants:
            config = _config(module, variant)
            config.seed = seed
            if variant.endswith(DISTILLED):
                config.distill.teacher = _folder(workdir, variants[0], seed)
            say(f"== {variant}, seed {seed}")
            results[variant, seed] = train(config, _folder(workdir, variant, seed))
    networks = {variant: _network(_folder(workdir, variant, seeds[0])) for variant in variants}
    times = {batch: _time(networks, batch) for batch in BATCH_SIZES}
    return [
        Row(
            variant=variant,
            top1_per_seed=tuple(results[variant, seed]["top1"] for seed in seeds),
            macs=networks[variant][2],
            train_images_per_s=_training_rate(_folder(workdir, variant, seeds[0])),
            ms={b: float(np.median(t[variant])) / b for b, t in times.items()},
            speedup={b: speedup(t[variants[0]], t[variant]) for b, t in times.items()},
        )
        for variant in variants
    ]


def _config(module: ModuleType, variant: str):
    try:
        return module.get_config(variant.removesuffix(DISTILLED))
    except ValueError as error:
        raise UserError(str(error)) from error


def _folder(workdir: str, variant: str, seed: int) -> str:
    return str(Path(workdir) / f"{variant}-{seed}")


def _network(workdir: str):
    """(apply function, variables, MACs per image, image size) of a trained run, for inference."""
    model, variables, meta = load_step(folders.find(workdir))
    model, variables = for_inference(model, variables)
    size = settings_from_config(meta["config"]).data.image_size

    def scores(variables, images):
        return model.apply(variables, images, train=False).scores

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    return scores, variables, count_macs(scores, variables, image).total, size


def _time(networks, batch: int) -> dict[str, np.ndarray]:
    calls = {}
    for name, (scores, variables, _, size) in networks.items():
        rng = np.random.default_rng(0)
        images = jnp.asarray(rng.integers(0, 256, (batch, size, size, 3), np.uint8))
        compiled = jax.jit(scores).lower(variables, images).compile()
        calls[name] = lambda c=compiled, v=variables, x=images: c(v, x)
    return time_interleaved(calls, seconds=4.0)


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


COLUMNS = (
    "variant",
    "top1",
    "top1_per_seed",
    "gap_recovered",
    "macs",
    "mac_ratio",
    *(f"ms_batch_{b}" for b in BATCH_SIZES),
    *(f"speedup_batch_{b}" for b in BATCH_SIZES),
    "train_images_per_s",
)


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


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line per variant with :data:`COLUMNS`."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(_record(rows, row) for row in rows)


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
    lines = [heads, ["---"] * len(heads)]
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
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )
