"""From a config to a trained, smaller network and its int8 file: what ``config.compress`` asks for.

In the workdir: ``base/`` (a workdir, of the network that is made smaller, unless
``config.compress.checkpoint`` names one), ``compressed/`` (the checkpoint of the smaller one), the
fine-tuning's own files as of any run, ``int8.onnx``, and ``compression.json``, the steps' figures.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wae_jax.bench.environment import pick_device
from wae_jax.bench.measure import count_params, inference_macs
from wae_jax.bench.networks import Network, build_network
from wae_jax.bench.places import open_place, platform_of, program_of
from wae_jax.bench.timing import time_in_passes
from wae_jax.checkpoints import folders, manifest, store
from wae_jax.compress.by_time import runtime_here
from wae_jax.compress.checkpoint import check_method, compress_checkpoint, made_by
from wae_jax.config import CompressSettings, InitSettings, Settings, as_dict, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.evaluation.outcomes import Outcomes
from wae_jax.export.int8 import classify_with_file, export_int8
from wae_jax.export.runtimes import check_extra
from wae_jax.runtime import files, tables
from wae_jax.runtime.console import say
from wae_jax.schema.trees import changed, differences
from wae_jax.training import loop

BASE, COMPRESSED, INT8_FILE, STEPS_FILE = "base", "compressed", "int8.onnx", "compression.json"
TRAINED, FINE_TUNED, INT8 = "trained", "fine-tuned", "int8"
TIMING_SECONDS = 2.0  # of all steps' networks


@dataclasses.dataclass(frozen=True)
class Step:
    """What a network was after a step.

    Attributes:
        step: "trained", "compressed", "fine-tuned" or "int8".
        top1: fraction, of the inference form; in int8 of the file itself in ONNX Runtime.
        macs, parameters: of the inference form.
        ms: median time of a call with one image in ``runtime``.
        runtime: "onnxruntime" where it is installed, else "jax".
    """

    step: str
    top1: float
    macs: int
    parameters: int
    ms: float
    runtime: str


def train(
    settings: Settings, workdir: str, *, continue_with_changes: bool = False
) -> dict[str, Any]:
    """Trains as the config says, and makes the network smaller where ``config.compress`` asks.

    A stopped run goes on where it was: what a step has written is not computed again.

    Args:
        settings: of the whole config.
        workdir, continue_with_changes: as for :func:`wae_jax.training.loop.train`.

    Returns:
        Its figures, those of the smaller network; with ``compression``, fields of a :class:`Step`
        for every step, where there were any.

    Raises:
        UserError: as there; or no such method, a budget that it cannot meet, or a checkpoint of
            another network.
    """
    wanted = settings.compress
    if wanted == CompressSettings():
        return loop.train(as_dict(settings), workdir, continue_with_changes=continue_with_changes)
    check(settings)
    plain = dataclasses.replace(settings, compress=CompressSettings())
    folder, networks = Path(workdir), {}
    if wanted.method:
        base = wanted.checkpoint
        if not base:
            base = str(folder / BASE)
            loop.train(as_dict(plain), base, continue_with_changes=continue_with_changes)
        _compress(settings, base, folder / COMPRESSED)
        networks = {TRAINED: base, COMPRESSED: str(folder / COMPRESSED)}
        plain = fine_tuning(settings, workdir)
    figures = loop.train(as_dict(plain), workdir, continue_with_changes=continue_with_changes)
    networks[FINE_TUNED if wanted.method else TRAINED] = workdir
    steps = measure_steps(networks, folder / INT8_FILE if wanted.int8 else None)
    write_steps(folder, steps)
    say(_table(steps))
    return {**figures, "compression": [dataclasses.asdict(step) for step in steps]}


def check(settings: Settings) -> None:
    """Raises UserError for what is wrong in ``config.compress``, before anything is computed."""
    wanted = settings.compress
    if wanted.method:
        check_method(wanted, of="config.compress.")
        if wanted.checkpoint:
            _check_same_network(settings, wanted.checkpoint)
    elif dataclasses.replace(wanted, int8=False) != CompressSettings():
        raise UserError("config.compress has keys, but config.compress.method is empty")
    if wanted.int8:
        check_extra("onnx")
        check_extra("onnxruntime")
    if settings.parallel.num_processes > 1:
        raise UserError("config.compress is for one process; or take wae-jax compress between runs")


def _check_same_network(settings: Settings, checkpoint: str) -> None:
    meta = store.read_meta(folders.find(checkpoint))
    theirs = settings_from_config(meta["config"])
    keys = [f"model.{k}" for k in ("frontend.name", "fusion", "backbone.name", "backbone.plan")]
    for key, (held, ours) in differences(theirs, settings).items():
        if key in (*keys, "data.image_size"):
            raise UserError(
                f"config.compress.checkpoint={checkpoint} is of another network: {key} is {held!r} "
                f"there, {ours!r} here"
            )


def last_stage(settings: Settings) -> Settings:
    """The settings whose only stage is the fine-tuning."""
    wanted, name = settings.compress, settings.run_stages[-1]
    changes: dict[str, Any] = {"run_stages": (name,), "compress": CompressSettings()}
    stage = settings.stages[name]
    if wanted.epochs:
        stage = dataclasses.replace(stage, epochs=wanted.epochs, steps=0)
    if wanted.learning_rate:
        stage = dataclasses.replace(stage, learning_rate=wanted.learning_rate)
    return dataclasses.replace(settings, **changes, stages={**settings.stages, name: stage})


def fine_tuning(settings: Settings, workdir: str) -> Settings:
    """What the fine-tuning in a workdir is trained with, once the smaller network is there."""
    small = str(Path(workdir) / COMPRESSED)
    model = settings_from_config(store.read_meta(folders.find(small))["config"]).model
    # Nothing of how the network began: these are its weights.
    tuned = dataclasses.replace(last_stage(settings), model=model, init=InitSettings())
    return changed(tuned, {"restore": small, "init.frontend": "random"})


def _compress(settings: Settings, base: str, out: Path) -> None:
    """Writes the smaller network, or finds that it is there."""
    wanted = settings.compress
    if out.exists():
        held = store.read_meta(folders.find(str(out)))["compressed"]
        now = made_by(manifest.fingerprint(folders.find(base)), wanted)
        for key, value in now.items():
            if held[key] != value:
                raise UserError(
                    f"{out} holds a network made otherwise: {key} is {held[key]!r} there, "
                    f"{value!r} now; choose another --workdir"
                )
        return
    say(f"making {base} smaller by {wanted.method}")
    report, _ = compress_checkpoint(base, str(out), wanted)
    say(report.table())


def measure_steps(checkpoints: Mapping[str, str], int8_file: Path | None) -> list[Step]:
    """Evaluates and times networks, and the last one in int8.

    Args:
        checkpoints: of the networks, by step.
        int8_file: the file that is written for that; None for none.
    """
    networks = {step: _network(step, path) for step, path in checkpoints.items()}
    top1 = {step: network.top1 or 0.0 for step, network in networks.items()}
    if int8_file is not None:
        last = list(checkpoints)[-1]
        networks[INT8] = networks[last]
        top1[INT8] = _quantised(checkpoints[last], int8_file)
    runtime = runtime_here()
    ms = _times(networks, runtime)
    return [
        Step(
            step,
            top1[step],
            inference_macs(each),
            count_params(each.variables["params"]),
            ms[step],
            runtime,
        )
        for step, each in networks.items()
    ]


def write_steps(folder: Path, steps: list[Step]) -> None:
    """Keeps the steps' figures in a workdir."""
    held = {"steps": [dataclasses.asdict(step) for step in steps]}
    files.write_atomically(folder / STEPS_FILE, json.dumps(held, indent=1) + "\n")


def read_steps(folder: Path) -> list[Step]:
    """What :func:`write_steps` kept; none where there is nothing.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / STEPS_FILE
    if not path.exists():
        return []
    try:
        return [Step(**step) for step in files.read_json(path)["steps"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _network(step: str, checkpoint: str) -> Network:
    folder = folders.find(checkpoint)
    settings = settings_from_config(store.read_meta(folder)["config"])
    platform = pick_device("").platform
    return build_network(
        step, settings, settings.model.dtype, platform=platform, checkpoint=str(folder)
    )


def _quantised(checkpoint: str, out: Path) -> float:
    """Writes the int8 file; its top-1 on the whole evaluation split."""
    trial = export_int8(checkpoint, out, batch=None)
    say("\n".join(trial.lines()))
    return classify(folders.find(checkpoint), out).top1


def classify(step: Path, file: Path) -> Outcomes:
    """What the file that was made of a step directory says of every image of the run's split."""
    meta = store.read_meta(step)
    held = settings_from_config(meta["config"]).data
    classes = classes_of(meta, f"the checkpoint {step}")
    return classify_with_file(file, held, held.eval_split, classes)


def _times(networks: Mapping[str, Network], runtime: str) -> dict[str, float]:
    """Median milliseconds of a call with one image, in turn."""
    with contextlib.closing(open_place(runtime)) as place:
        for step, network in networks.items():
            same = build_network(
                step,
                network.settings,
                network.dtype,
                platform=platform_of(runtime),
                num_classes=network.num_classes,
                for_times_only=True,
            )
            place.add(step, program_of(same, runtime, 1)._replace(int8=step == INT8))
        keys = {step: step for step in networks}
        timed = time_in_passes(
            {(runtime,): functools.partial(place.time, keys)}, seconds=TIMING_SECONDS, shown=False
        )[runtime,]
    return {step: timed.median(step) for step in networks}


def _table(steps: list[Step]) -> str:
    return tables.markdown(lines_of(steps))


def lines_of(steps: list[Step]) -> list[list[str]]:
    """Cells of a table for people, the headings first; ratios are of the first step."""
    first = steps[0]
    lines = [["step", "top-1", "MACs", "fewer", "ms", "faster", "parameters"]]
    lines += [
        [
            step.step,
            f"{100 * step.top1:.2f} %",
            f"{step.macs / 1e6:.2f} M",
            f"{first.macs / step.macs:.2f}x",
            f"{step.ms:.3f}",
            f"{first.ms / step.ms:.2f}x",
            f"{step.parameters / 1e6:.3f} M",
        ]
        for step in steps
    ]
    return lines
