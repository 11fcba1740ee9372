"""Measures cost and speed of all methods on one backbone, against full resolution.

    python bench.py --config=configs/vgg16.py --batch_sizes=1,8 --json=results.json
    wae-jax bench --config=configs/vgg16.py --batch_sizes=1,8 --json=results.json     (the same)
    wae-jax bench --config=configs/vgg16.py --runtimes=jax,onnxruntime,openvino
    wae-jax bench --input=wae.onnx,full.onnx --runtimes=onnxruntime,openvino

Prints Markdown tables; progress goes to stderr. Give the config without a variant: --methods picks
them. Config keys can be set as for train.py, for example --config.data.image_size=160. Weights are
random unless --checkpoints names trained ones, whose accuracy is then evaluated too. --input times
exported files instead; there --batch_sizes is for those that take any batch.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from wae_jax.commands.flags import run_with_flags
from wae_jax.commands.options import PICTURES, check_out
from wae_jax.config import Settings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.methods import METHODS, set_method
from wae_jax.runtime import cache, process, tables
from wae_jax.runtime.files import write_atomically

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, without a variant, as configs/vgg16.py.", flag_values=FLAGS
)
_METHODS = flags.DEFINE_list(
    "methods",
    ["full", "lowres", "wae", "wae-fast"],
    f"Methods to compare, of: {', '.join(METHODS)}, lowres-SIZE.",
    flag_values=FLAGS,
)
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1", "8"], "Images per call.", flag_values=FLAGS)
_DTYPES = flags.DEFINE_list(
    "dtypes", ["float32"], "Types to compute in, of: float32, bfloat16.", flag_values=FLAGS
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    20.0,
    "How long all methods together are timed, for each batch size and dtype.",
    flag_values=FLAGS,
)
_DEVICES = flags.DEFINE_enum(
    "devices",
    None,
    ["cpu", "gpu", "tpu"],
    "Where to measure; default: what jax picks.",
    flag_values=FLAGS,
)
_CHECKPOINTS = flags.DEFINE_list(
    "checkpoints", [], "Trained weights, as wae=WORKDIR,full=WORKDIR.", flag_values=FLAGS
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    0,
    "Classes of the networks; 0: as many as the config's data set has.",
    flag_values=FLAGS,
)
_JSON = flags.DEFINE_string(
    "json", None, "File for everything measured, with the environment.", flag_values=FLAGS
)
_CSV = flags.DEFINE_string(
    "csv", None, "File for the rows; NAME.env.json is written beside it.", flag_values=FLAGS
)
_PLOT = flags.DEFINE_string(
    "plot", None, "Picture of speed-up against MAC ratio (or top-1).", flag_values=FLAGS
)
_END_TO_END = flags.DEFINE_bool(
    "end_to_end", False, "Also time the way from JPEG bytes to scores.", flag_values=FLAGS
)
_BREAKDOWN = flags.DEFINE_bool(
    "breakdown", False, "Also time the parts of each network.", flag_values=FLAGS
)
_TRAIN_STEP = flags.DEFINE_bool(
    "train_step", False, "Also time a training step of the config's last stage.", flag_values=FLAGS
)
_THROUGHPUT = flags.DEFINE_bool(
    "throughput", False, "Also time calls that are queued, not waited for.", flag_values=FLAGS
)
_PEER = flags.DEFINE_enum(
    "peer", None, ["torch"], "Also time the same networks in PyTorch.", flag_values=FLAGS
)
_RUNTIMES = flags.DEFINE_list(
    "runtimes",
    ["jax"],
    "What computes, each in a process of its own: jax, onnxruntime, openvino, torch.",
    flag_values=FLAGS,
)
_INPUT = flags.DEFINE_list(
    "input", [], "Exported files to time: .onnx, .stablehlo.", flag_values=FLAGS
)


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    run_with_flags(_bench, ["wae-jax bench", *argv], FLAGS)


def _settings() -> dict[str, Settings]:
    """By method."""
    if _CONFIG.value.model.frontend.name != "wae":
        raise UserError(
            "give --config without a variant (its front end must be wae); --methods "
            "makes the others from it"
        )
    try:
        return {
            method: settings_from_config(
                set_method(_CONFIG.value.copy_and_resolve_references(), method)
            )
            for method in _METHODS.value
        }
    except ValueError as error:
        raise UserError(f"--methods: {error}") from error


def _batch_sizes() -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in _BATCH_SIZES.value)
    except ValueError as error:
        raise UserError(f"--batch_sizes takes whole numbers: {error}") from error


def _options() -> dict:
    """The fields of :class:`wae_jax.bench.run.Options`."""
    pairs = [item.split("=", 1) for item in _CHECKPOINTS.value]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError("--checkpoints takes METHOD=PATH, separated by commas")
    return {
        "batch_sizes": _batch_sizes(),
        "dtypes": tuple(_DTYPES.value),
        "seconds": _SECONDS.value,
        "device": _DEVICES.value or "",
        "checkpoints": dict(pairs),
        "num_classes": _NUM_CLASSES.value,
        "end_to_end": _END_TO_END.value,
        "breakdown": _BREAKDOWN.value,
        "train_step": _TRAIN_STEP.value,
        "throughput": _THROUGHPUT.value,
        "peer": _PEER.value or "",
        "runtimes": tuple(dict.fromkeys(_RUNTIMES.value)),
    }


def _bench() -> None:
    if bool(_INPUT.value) == bool(_CONFIG.value):
        raise UserError("give either --config=FILE.py or --input=FILE; see wae-jax bench --help")
    for flag, kinds in ((_JSON, ()), (_CSV, ()), (_PLOT, PICTURES)):
        if flag.value:
            check_out(f"--{flag.name}", flag.value, kinds)
    if _INPUT.value:
        _bench_files()
    else:
        _bench_methods()


def _bench_methods() -> None:
    settings, options = _settings(), _options()
    process.call_on_own_thread()
    cache.compile_afresh()  # compile_s must not be a cached program's
    from wae_jax.bench import plots, report
    from wae_jax.bench.run import Options, run_benchmark

    results = run_benchmark(settings, Options(**options))
    if _JSON.value:
        write_atomically(Path(_JSON.value), report.as_json(results))
    if _CSV.value:
        report.write_csv(results, Path(_CSV.value))
    if _PLOT.value:
        plots.plot_rows(results.rows, Path(_PLOT.value))
    print(report.as_text(results), flush=True)


def _bench_files() -> None:
    if _JSON.value or _PLOT.value:
        raise UserError("--input writes --csv only")
    from wae_jax.bench import exported, report
    from wae_jax.bench.environment import environment, pick_device

    runtimes = _RUNTIMES.value
    if not FLAGS["runtimes"].present:  # what reads them
        kinds = [Path(path).suffix.lower() for path in _INPUT.value]
        runtimes = [exported.SUFFIXES.get(kind, ("jax",))[0] for kind in kinds]
    rows = exported.time_files(
        _INPUT.value, list(dict.fromkeys(runtimes)), _batch_sizes(), seconds=_SECONDS.value
    )
    record = environment(pick_device("cpu"))
    if _CSV.value:
        tables.write_csv(Path(_CSV.value), [report.record(row) for row in rows], record)
    print(exported.as_text(rows, record), flush=True)
