"""A network with weights from elsewhere, and how an importer makes one."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from wae_jax.config import ModelSettings
from wae_jax.models.classifier import build_model, init_variables, variable_shapes
from wae_jax.pretrained.mapping import Entry, apply


@dataclasses.dataclass(frozen=True)
class Imported:
    """A network of this package with weights from elsewhere.

    Attributes:
        origin: in words, for messages: source, model and file.
        model: its settings, the input convention included.
        variables: {"params": ..., "batch_stats": ...}, float32 numpy.
        class_names: one per class, or empty where the source has none.
        report: lines that say what did not come from the source.
    """

    origin: str
    model: ModelSettings
    variables: dict[str, Any]
    num_classes: int
    image_size: int
    class_names: tuple[str, ...] = ()
    report: tuple[str, ...] = ()


# A network at full resolution, as everybody but the released WAE has it.
SINGLE_BRANCH = {"dtype": "float32", "frontend.name": "identity", "backbone.width": 1.0}


def assemble(
    arrays: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    *,
    file: Path,
    origin: str,
    model: ModelSettings,
    num_classes: int,
    image_size: int,
    class_names: Sequence[str] = (),
    ignored: str = "",
    fresh: Sequence[str] = (),
) -> Imported:
    """Builds the network that ``model`` describes and fills it from ``arrays``, see :func:`apply`.

    Args:
        arrays: the source's, by name.
        entries: one for each array that is filled.
        file: where they come from, for messages.
        origin: in words, see :class:`Imported`.
        model: settings of the network.
        num_classes: of the scores.
        image_size: side of the images in pixels.
        class_names: one per class, or empty.
        ignored: regular expression on names of arrays that the network has no use for.
        fresh: paths (as "params/frontend/decoder_low") that the source does not have; they get
            initial values, and the report names them.

    Raises:
        UserError: the arrays are not those of this network.
    """
    network = build_model(model, num_classes=num_classes, image_size=image_size)
    shapes = flatten_dict(variable_shapes(network, image_size), sep="/")
    new = {path for path in shapes if path.startswith(tuple(f"{part}/" for part in fresh))}
    variables = apply(
        arrays,
        entries,
        unflatten_dict({p: s for p, s in shapes.items() if p not in new}, sep="/"),
        what=f"{file} is not a {origin}",
        ignored=ignored,
    )
    if new:
        images = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)

        @jax.jit  # nothing but the new parts is compiled and computed
        def initial(x):
            every = flatten_dict(init_variables(network, x, seed=0), sep="/")
            return {path: every[path] for path in sorted(new)}

        filled = flatten_dict(variables, sep="/") | jax.device_get(initial(images))
        variables = unflatten_dict(filled, sep="/")
    report = tuple(f"freshly initialised: {part}" for part in fresh)
    return Imported(
        origin=f"{origin} of {file}",
        model=model,
        num_classes=num_classes,
        variables={"params": variables["params"], "batch_stats": variables.get("batch_stats", {})},
        image_size=image_size,
        class_names=tuple(class_names),
        report=report,
    )
