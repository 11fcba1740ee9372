"""From a full-resolution network to one that reads sub-images."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from wae_jax.config import ModelSettings
from wae_jax.errors import UserError
from wae_jax.models.backbones import VGG, ResNet
from wae_jax.models.classifier import Classifier
from wae_jax.models.frontends import WAE
from wae_jax.models.frontends.start import wavelet_start
from wae_jax.pretrained.network import Imported
from wae_jax.pretrained.slim import slim
from wae_jax.schema.trees import changed, differences

# What a pretrained trunk was trained with, or compressed to: a config that differs takes it over.
ADOPTED = (
    "input.channel_order",
    "input.mean",
    "input.std",
    "backbone.norm_epsilon",
    "backbone.stem_pool",
    "backbone.stride_on",
    "backbone.widths",
    "backbone.ranks",
)
# Of the trunk's keys, those that its weights do not depend on.
FREE = ("pool_rounding", "halve_after_stem")
# Standard deviation of photos, per channel in RGB, 0..255.
PHOTO_STD = (58.395, 57.12, 57.375)


def adopt(model: ModelSettings, imported: Imported) -> tuple[ModelSettings, list[str]]:
    """``config.model`` with the input convention and the norms of ``imported``, and what changed.

    Raises:
        UserError: the config's backbone is another network than the imported one.
    """
    ours, theirs = (dataclasses.asdict(each.backbone) for each in (model, imported.model))
    taken = {key.removeprefix("backbone.") for key in ADOPTED}
    different = [
        f"{key} {theirs[key]!r}, not {ours[key]!r}"
        for key in sorted(theirs)
        if key not in taken.union(FREE) and theirs[key] != ours[key]
    ]
    if different:
        raise UserError(
            f"config.init.pretrained is a {imported.origin}, another network than "
            f"config.model.backbone: its {'; its '.join(different)}"
        )
    lines = [
        f"config.model.{path} is {new!r} (not {old!r}), as the pretrained network"
        for path, (old, new) in differences(model, imported.model).items()
        if path in ADOPTED
    ]
    return adopt_convention(model, imported.model), lines


def adopt_convention(model: ModelSettings, other: ModelSettings) -> ModelSettings:
    """``model`` with the keys :data:`ADOPTED` of ``other``."""
    different = differences(model, other)
    return changed(model, {path: different[path][1] for path in ADOPTED if path in different})


def with_unit_variance(imported: Imported) -> Imported:
    """The same network for inputs of about unit variance: its first conv takes in the scale.

    Networks of Caffe and Keras read 0..255. The auto-encoder normalises its sub-images, and the
    weight of its loss is meant for such inputs. A user's own trunk is left as it is.
    """
    inputs, trunk = imported.model.input, imported.variables["params"]["backbone"]
    first = next((name for name in ("stem_conv", "conv1_1") if name in trunk), None)
    if first is None or min(inputs.std) > 10:
        return imported
    std = PHOTO_STD if inputs.channel_order == "RGB" else PHOTO_STD[::-1]
    scale = np.asarray(std, np.float32) / np.asarray(inputs.std, np.float32)
    variables = flatten_dict(imported.variables, sep="/")
    path = f"params/backbone/{first}/kernel"
    variables[path] = np.asarray(variables[path]) * scale[:, None]
    return dataclasses.replace(
        imported,
        variables={"batch_stats": {}, **unflatten_dict(variables, sep="/")},
        model=changed(imported.model, {"input.std": std}),
    )


def start_from(
    imported: Imported, variables, model: Classifier, *, light: str, known: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """``variables`` of ``model`` with all that ``imported`` has for it, and a report in lines.

    The backbone is taken, with early fusion widened by zeros for I_H, and of the low head the
    layers up to the first that does not fit. With ``light="slim"`` the light branch starts from the
    backbone's strongest filters (see :func:`wae_jax.pretrained.slim.slim`). Everything else stays
    as it was initialised.

    ``known``: parts that have their start already, which the report leaves out.

    Raises:
        UserError: the backbones differ, or the light branch is no narrower copy of the backbone.
    """
    theirs, ours = (flatten_dict(tree, sep="/") for tree in (imported.variables, variables))
    trunk, wanted = (
        {path: array for path, array in tree.items() if path.split("/")[1] == "backbone"}
        for tree in (theirs, ours)
    )
    if model.fusion == "early":
        trunk = _widened(trunk, wanted)
    wrong = sorted(
        path
        for path in trunk.keys() | wanted.keys()
        if path not in trunk or path not in wanted or trunk[path].shape != wanted[path].shape
    )
    if wrong:
        raise UserError(
            f"config.init.pretrained is a {imported.origin}, another network than "
            f"config.model.backbone: {len(wrong)} arrays differ, the first is "
            f"{wrong[0]}"
        )
    head = _fitting_layers(theirs, ours)
    taken = trunk | head
    fresh = {
        "/".join(path.split("/")[1 : 3 if "/head_low/" in path else 2])
        for path in ours.keys() - taken.keys()
        if path.split("/")[1] not in known
    }
    lines = [f"pretrained: backbone ({len(trunk)} arrays) of {imported.origin}"]
    if head:
        lines.append("pretrained: " + ", ".join(sorted({_layer(path) for path in head})))
    if light == "slim":
        taken |= _slim_light(imported, ours, model)
        fresh.discard("light")
        lines.append("pretrained: light, the strongest filters of the backbone")
    if fresh:
        lines.append("freshly initialised: " + ", ".join(sorted(fresh)))
    ours |= {path: jnp.asarray(array, jnp.float32) for path, array in taken.items()}
    return {"batch_stats": {}, **unflatten_dict(ours, sep="/")}, [*imported.report, *lines]


def _widened(trunk: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk with zeros for the input channels that the one conv that reads I_H has more."""
    wide = dict(trunk)
    for path, array in trunk.items():
        shape = wanted[path].shape if path in wanted else array.shape
        if array.ndim == 4 and array.shape[2] < shape[2] and array.shape[3:] == shape[3:]:
            more = shape[2] - array.shape[2]
            wide[path] = np.pad(array, ((0, 0), (0, 0), (0, more), (0, 0)))
            break
    return wide


def start_as_low_resolution(model: Classifier, variables) -> dict[str, Any]:
    """``variables`` with which an auto-encoder's network is plain low resolution's.

    The front end is as :func:`wae_jax.models.frontends.start.wavelet_start` says, and the fused
    head's scores are zero. Other front ends have no start to choose, and keep theirs.

    Raises:
        UserError: an encoder or decoder with too few channels.
    """
    if not isinstance(model.frontend, WAE):
        return variables
    params, stats = dict(variables["params"]), dict(variables["batch_stats"])
    params["frontend"], norms = wavelet_start(
        model.frontend, params["frontend"], stats.get("frontend", {})
    )
    if norms:
        stats["frontend"] = norms
    if "head_fused" in params:
        scores = {name: np.zeros_like(x) for name, x in params["head_fused"]["scores"].items()}
        params["head_fused"] = {**params["head_fused"], "scores": scores}
    return jax.tree.map(jnp.asarray, {"params": params, "batch_stats": stats})


def _layer(path: str) -> str:
    return "/".join(path.split("/")[1:3])


def _fitting_layers(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of the low head, input side first, up to the first layer that does not fit."""
    prefix = "params/head_low/"
    layers = sorted({_layer(path) for path in ours if path.startswith(prefix)})
    if layers != sorted({_layer(path) for path in theirs if path.startswith(prefix)}):
        return {}
    taken: dict[str, Any] = {}
    for layer in layers:
        paths = [f"params/{layer}/{name}" for name in ("kernel", "bias")]
        # Above a fresh layer there is nothing that an old one could read.
        if any(theirs[path].shape != ours[path].shape for path in paths):
            break
        taken |= {path: theirs[path] for path in paths}
    return taken


def _slim_light(imported: Imported, ours: Mapping[str, Any], model: Classifier) -> dict[str, Any]:
    """Arrays of the light branch by path."""
    trunk, light = model.backbone, model.light
    if light is None:
        raise UserError("config.init.light=slim needs a front end with a light branch")
    if not isinstance(light, VGG | ResNet) or light.clone(width=trunk.width) != trunk:
        raise UserError(
            "config.init.light=slim needs a light branch that is the backbone made "
            "narrower (config.model.light.name empty), and a VGG or ResNet"
        )
    wide = {
        kind: flatten_dict(tree.get("backbone", {}), sep="/")
        for kind, tree in imported.variables.items()
    }
    prefix = "params/light/"
    fresh = {
        path.removeprefix(prefix): array for path, array in ours.items() if path.startswith(prefix)
    }
    params, stats = slim(wide["params"], wide["batch_stats"], fresh)
    return {f"{prefix}{path}": array for path, array in params.items()} | {
        f"batch_stats/light/{path}": array for path, array in stats.items()
    }
