"""A checkpoint of a smaller network from one of a trained network."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from wae_jax import data
from wae_jax.checkpoints import folders, manifest
from wae_jax.checkpoints.load import load_step
from wae_jax.compress.asymmetric import asymmetric
from wae_jax.compress.by_time import within
from wae_jax.compress.low_rank import cp_ranks, decompose_network, tucker_ranks
from wae_jax.compress.network import Network, check_compressible
from wae_jax.compress.report import Report, compare
from wae_jax.compress.taylor import taylor
from wae_jax.compress.thinet import (
    PRESETS,
    thinet,
    widths_by_budget,
    widths_of_preset,
    with_pool_head,
)
from wae_jax.config import CompressSettings, Settings, as_dict, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.export.runtimes import check_extra
from wae_jax.pretrained.checkpoint import check_out, write_variables
from wae_jax.schema.fields import hint
from wae_jax.schema.trees import changed, differences

STAGE = "compressed"
_PIXELS = 16 * 224 * 224  # of the images in a batch
Batches = Sequence[data.Batch]


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to compress.

    run: network, images with labels, and the fraction of MACs to keep or None -> smaller network.
    budget: whether it needs that fraction; None: it may have one.
    images: whether it looks at any.
    products: whether it takes networks with convs that are products already.
    streams: how it runs where residual streams lose channels too; None: it cannot.
    """

    run: Callable[[Network, Batches, Any], Network]
    budget: bool | None
    images: bool
    products: bool = False
    streams: Callable[[Network, Batches, Any], Network] | None = None


def _preset(name: str) -> Method:
    def run(network, batches, macs):
        network = thinet(network, batches, widths_of_preset(network, name))
        return with_pool_head(network) if PRESETS[name][1] else network

    return Method(run, budget=False, images=True)


METHODS = {
    "taylor": Method(
        taylor, budget=True, images=True, streams=functools.partial(taylor, streams=True)
    ),
    "thinet": Method(lambda n, b, m: thinet(n, b, widths_by_budget(n, m)), True, True),
    **{name: _preset(name) for name in PRESETS},
    "tucker": Method(lambda n, b, m: decompose_network(n, tucker_ranks(n, m)), None, False, True),
    "cp": Method(lambda n, b, m: decompose_network(n, cp_ranks(n, m)), True, False, True),
    "asymmetric": Method(asymmetric, budget=True, images=True, products=True),
}


def compress_checkpoint(
    checkpoint: str, out: str, wanted: CompressSettings
) -> tuple[Report, list[str]]:
    """Writes a checkpoint of a smaller network; its stage is "compressed", its step 0.

    Args:
        checkpoint: a training workdir or one of its checkpoint steps.
        out: a folder that does not exist yet, or is empty.
        wanted: the method, its budget, and what judges the layers.

    Returns:
        The report, and the flags of training that the smaller network needs beside
        ``--config.restore``.

    Raises:
        UserError: no usable checkpoint, an unknown method, a budget that it cannot meet, no such
            data, or there is something at ``out``.
    """
    check_out(out)
    chosen = check_method(wanted)
    folder = folders.find(checkpoint)
    model, variables, meta = load_step(folder)
    check_compressible(model)
    settings = settings_from_config(meta["config"])
    before = Network(
        changed(settings.model, {"dtype": "float32"}),
        jax.device_get(variables),
        meta["num_classes"],
        settings.data.image_size,
    )
    if before.model.backbone.ranks and not chosen.products:
        raise UserError(
            f"{checkpoint} has convs that are products of smaller ones already; remove filters "
            f"first (--method={wanted.method}), then decompose"
        )
    batches = _batches(settings, meta, str(folder), wanted.images) if chosen.images else []
    run = chosen.streams if wanted.streams else chosen.run
    assert run is not None  # as was checked
    if wanted.ms:
        after = within(lambda macs: run(before, batches, macs), before, wanted.ms)
    else:
        after = run(before, batches, wanted.macs or None)
    smaller = changed(after.settings, {"dtype": settings.model.dtype})
    config = as_dict(dataclasses.replace(settings, model=smaller))
    write_variables(
        after.variables,
        {
            **{k: v for k, v in meta.items() if k not in ("format", "step")},
            **{"config": config, "stage": STAGE, "data": None, "ema": False, "teacher": None},
            "compressed": made_by(manifest.fingerprint(folder), wanted),
            "train_seconds": 0.0,
        },
        out,
    )
    return compare(before, after), _flags(settings, smaller)


def made_by(sha256: str, wanted: CompressSettings) -> dict[str, Any]:
    """What a compressed checkpoint says of its making; ``sha256``: of what it was made of."""
    keys = ("method", "macs", "ms", "images", "streams")
    return {"of_sha256": sha256, **{key: getattr(wanted, key) for key in keys}}


def check_method(wanted: CompressSettings, of: str = "--") -> Method:
    """The method of a name.

    Args:
        wanted: as for :func:`compress_checkpoint`.
        of: what stands before the keys where the user gave them.

    Raises:
        UserError: no such method, one that needs a budget, or takes none, or not these options.
    """
    method, budget = wanted.method, bool(wanted.macs or wanted.ms)
    if method not in METHODS:
        known = f"there are {', '.join(METHODS)}"
        raise UserError(f"{of}method={method}: no such method{hint(method, METHODS)}; {known}")
    chosen = METHODS[method]
    if wanted.macs and wanted.ms:
        raise UserError(f"{of}macs and {of}ms exclude each other")
    if chosen.budget and not budget:
        raise UserError(
            f"{of}method={method} needs {of}macs, the fraction of MACs to keep, or {of}ms"
        )
    if chosen.budget is False and budget:
        key = "macs" if wanted.macs else "ms"
        raise UserError(f"{of}method={method} has widths of its own and takes no {of}{key}")
    if wanted.streams and chosen.streams is None:
        raise UserError(f"{of}streams is for taylor; {method} leaves residual streams as they are")
    if method == "cp":
        check_extra("tensorly")
    return chosen


def _batches(settings: Settings, meta, folder: str, images: int) -> Batches:
    d = settings.data
    classes = classes_of(meta, f"the checkpoint {folder}")
    size = max(1, min(128, _PIXELS // d.image_size**2))
    return list(data.sample_batches(d, d.train_split, images, size, classes))


def _flags(settings: Settings, smaller) -> list[str]:
    """What a config must say besides the sizes of layers, which training takes over itself."""
    taken = ("backbone.widths", "backbone.ranks")
    return [
        f"--config.model.{key}={new}"
        for key, (_, new) in differences(settings.model, smaller).items()
        if key not in taken
    ]
