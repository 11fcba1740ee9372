"""What each method would gain on this machine and runtime, before any training.

    wae-jax recommend --config=configs/resnet50.py --runtime=onnxruntime --budget_ms=25
    wae-jax recommend --pretrained=runs/keras-resnet50

Times networks of every front end, and of plain low resolution at several sizes, with random
weights, each in turn with full resolution, and some in int8 where ONNX Runtime is; says in words
what pays, what does not, which part eats the gain, and what to train. Give the config without a
variant; its keys can be set as for train.py. --pretrained takes a checkpoint in its place, as of
wae-jax import-weights.
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from wae_jax.commands.flags import run_with_flags
from wae_jax.commands.options import check_out
from wae_jax.config import Settings, default_config, settings_from_config
from wae_jax.errors import UserError
from wae_jax.methods import METHODS, set_method
from wae_jax.runtime import process, tables
from wae_jax.runtime.files import write_atomically

SIDES = (96, 112, 128, 144, 160, 192)  # of plain low resolution, for images of 224 pixels

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, without a variant, as configs/resnet50.py.", flag_values=FLAGS
)
_PRETRAINED = flags.DEFINE_string(
    "pretrained", "", "In place of a config: a checkpoint with the network.", flag_values=FLAGS
)
_RUNTIME = flags.DEFINE_enum(
    "runtime",
    None,
    ["jax", "onnxruntime", "openvino"],
    "Where it will run; default: onnxruntime where it is installed, else jax.",
    flag_values=FLAGS,
)
_METHODS = flags.DEFINE_list(
    "methods",
    None,
    f"Methods to time, of: {', '.join(METHODS)}, lowres-SIZE; default: all.",
    flag_values=FLAGS,
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 1, "Images in a call.", lower_bound=1, upper_bound=4096, flag_values=FLAGS
)
_BUDGET = flags.DEFINE_float(
    "budget_ms",
    0.0,
    "Milliseconds that a call may take; 0: no limit.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
_SECONDS = flags.DEFINE_float(
    "seconds", 1.0, "How long each method is timed.", lower_bound=0.0, flag_values=FLAGS
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    0,
    "Classes of the network; 0: as many as the config's data set has.",
    flag_values=FLAGS,
)
_JSON = flags.DEFINE_string("json", None, "File for all figures.", flag_values=FLAGS)
_CSV = flags.DEFINE_string(
    "csv", None, "File for the table; NAME.env.json is written beside it.", flag_values=FLAGS
)


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    run_with_flags(_recommend, ["wae-jax recommend", *argv], FLAGS)


def _recommend() -> None:
    if bool(_CONFIG.value) == bool(_PRETRAINED.value):
        raise UserError("give either --config=FILE.py or --pretrained=CHECKPOINT")
    for flag in (_JSON, _CSV):
        if flag.value:
            check_out(f"--{flag.name}", flag.value)
    runtime = _RUNTIME.value or ("onnxruntime" if _there("onnx", "onnxruntime") else "jax")
    process.call_on_own_thread()
    from wae_jax.bench.environment import environment, pick_device
    from wae_jax.bench.report import runtime_title
    from wae_jax.runtime.machine import int8_instructions
    from wae_jax.study import verdict
    from wae_jax.study.recommend import recommend

    config, num_classes = _config()
    settings = _settings(config)
    found = recommend(
        settings,
        runtime,
        batch_size=_BATCH_SIZE.value,
        seconds=_SECONDS.value,
        num_classes=num_classes,
    )
    record = environment(pick_device("" if runtime == "jax" else "cpu"))
    backbone = settings["full"].model.backbone
    question = verdict.Question(
        network=f"{backbone.name} {backbone.plan}".strip(),
        image_size=settings["full"].data.image_size,
        batch_size=_BATCH_SIZE.value,
        where=f"{runtime_title(runtime, record)} on {record['device']} "
        f"({record['cpu_threads']} CPU threads)",
        config=f"--config={_config_path()}" if _CONFIG.value else "",
        budget_ms=_BUDGET.value,
        int8_instructions=int8_instructions(),
    )
    rows = verdict.as_records(question, found)
    if _JSON.value:
        held = {"environment": record, "methods": rows, "impossible": found.impossible}
        text = json.dumps(held, indent=1)
        write_atomically(Path(_JSON.value), text + "\n")
    if _CSV.value:
        tables.write_csv(Path(_CSV.value), rows, record)
    print(verdict.as_text(question, found), flush=True)


def _there(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


def _config_path() -> str:
    return FLAGS["config"].config_filename.partition(":")[0]  # type: ignore[attr-defined]


def _config() -> tuple[ConfigDict, int]:
    """The config whose front end is WAE's, and the number of classes; 0 for the data set's."""
    if _CONFIG.value:
        config = _CONFIG.value
        if config.model.frontend.name != "wae":
            raise UserError("give --config without a variant (its front end must be wae)")
        return config, _NUM_CLASSES.value
    from wae_jax.checkpoints import folders, store

    meta = store.read_meta(folders.find(_PRETRAINED.value))
    config = default_config()
    kept = {k: v for k, v in meta["config"]["model"].items() if k not in ("frontend", "fusion")}
    config.model.update(kept)
    config.data.image_size = meta["config"]["data"]["image_size"]
    config.model.frontend.update(encoder="polyphase", decoder="polyphase")
    return config, _NUM_CLASSES.value or meta["num_classes"]


def _settings(config: ConfigDict) -> dict[str, Settings]:
    """By method; full and lowres come first."""
    size = config.data.image_size
    sides = dict.fromkeys(2 * round(side * size / 224 / 2) for side in SIDES)
    methods = _METHODS.value or [
        *METHODS,
        *(f"lowres-{side}" for side in sides if side not in (size, size // 2)),
    ]
    try:
        return {
            method: settings_from_config(set_method(config.copy_and_resolve_references(), method))
            for method in dict.fromkeys(["full", "lowres", *methods])
        }
    except ValueError as error:
        raise UserError(f"--methods: {error}") from error
