"""A network with weights from elsewhere, and how an importer makes one."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.config import model_settings
from wae_jax.models.classifier import build_model, init_variables, variable_shapes
from wae_jax.pretrained.mapping import Entry, apply, flatten, unflatten


@dataclasses.dataclass(frozen=True)
class Imported:
    """A network of this package with weights from elsewhere.

    origin: in words, for messages: source, model and file.
    model_config: its ``config.model`` as a plain dict, the input convention included.
    variables: {"params": ..., "batch_stats": ...}, float32 numpy.
    class_names: one per class, or empty where the source has none.
    report: lines that say what did not come from the source.
    """

    origin: str
    model_config: dict[str, Any]
    variables: dict[str, Any]
    num_classes: int
    image_size: int
    class_names: tuple[str, ...] = ()
    report: tuple[str, ...] = ()


# A network at full resolution, as everybody but the released WAE has it.
SINGLE_BRANCH = {"dtype": "float32", "frontend.name": "identity", "backbone.width": 1.0}


def with_changes(model_config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``config.model`` with dotted keys changed, as {"backbone.name": "vgg16"}; JSON-able."""
    changed = copy.deepcopy(dict(model_config))
    for path, value in changes.items():
        *parents, name = path.split(".")
        node = changed
        for parent in parents:
            node = node[parent]
        if name not in node:
            raise KeyError(path)
        node[name] = list(value) if isinstance(value, tuple) else value
    return changed


def assemble(
    arrays: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    *,
    file: Path,
    origin: str,
    model_config: Mapping[str, Any],
    num_classes: int,
    image_size: int,
    class_names: Sequence[str] = (),
    ignored: str = "",
    fresh: Sequence[str] = (),
) -> Imported:
    """Builds the network of ``model_config`` and fills it from ``arrays``, see :func:`apply`.

    fresh: paths (as "params/frontend/decoder_low") that the source does not have; they get initial
    values, and the report names them.

    Raises:
        UserError: the arrays are not those of this network.
    """
    model = build_model(
        model_settings({"model": model_config}), num_classes=num_classes, image_size=image_size
    )
    shapes = flatten(variable_shapes(model, image_size))
    new = {path for path in shapes if path.startswith(tuple(f"{part}/" for part in fresh))}
    variables = apply(
        arrays,
        entries,
        unflatten({p: s for p, s in shapes.items() if p not in new}),
        what=f"{file} is not a {origin}",
        ignored=ignored,
    )
    if new:
        images = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)

        @jax.jit  # nothing but the new parts is compiled and computed
        def initial(x):
            every = flatten(init_variables(model, x, seed=0))
            return {path: every[path] for path in sorted(new)}

        variables = unflatten(flatten(variables) | jax.device_get(initial(images)))
    report = tuple(f"freshly initialised: {part}" for part in fresh)
    return Imported(
        origin=f"{origin} of {file}",
        model_config=dict(model_config),
        num_classes=num_classes,
        variables={"params": variables["params"], "batch_stats": variables.get("batch_stats", {})},
        image_size=image_size,
        class_names=tuple(class_names),
        report=report,
    )
