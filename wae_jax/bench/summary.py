"""What a network consists of: layers, output shapes, parameters, MACs. No weight is allocated."""

import dataclasses
from collections import Counter
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from wae_jax.bench.breakdown import part_macs
from wae_jax.bench.macs import count_macs
from wae_jax.bench.networks import Network
from wae_jax.config import Settings
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import Classifier, build_model, run, variable_shapes
from wae_jax.models.frontends import SubImages
from wae_jax.runtime import tables
from wae_jax.schema.trees import changed

# What makes any method's network its own baseline.
_FULL = {
    "model.frontend.name": "identity",
    "model.fusion": "late",
    "model.backbone.halve_after_stem": False,
}
Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One module of the training form, with all that is in it.

    Attributes:
        path: names of the modules around it, and its own.
        kind: its class.
        output: shape of what it returns for one image, without the batch.
        calls: how often it runs.
        params: numbers in its parameters.
        macs: of one image.
    """

    path: Path
    kind: str
    output: str
    calls: int
    params: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """Of a network; MACs are those of one image.

    Attributes:
        layers: of the training form, decoder included, each followed by those in it.
        params, macs: of the training form.
        inference_params, inference_macs: of the inference form on this platform.
        parts: the inference form's MACs by part.
        full_macs: the inference form's MACs of the same network at full resolution.
        platform: that the inference forms are made for.
    """

    layers: tuple[Layer, ...]
    params: int
    macs: int
    inference_params: int
    inference_macs: int
    parts: dict[str, int]
    full_macs: int
    platform: str

    def as_text(self, depth: int | None = None) -> str:
        """A table of the layers down to a depth (None: all), and the totals."""
        lines = [("layer", "type", "output", "parameters", "MACs")]
        for layer in self.layers:
            if depth is not None and len(layer.path) > depth:
                continue
            name = "  " * (len(layer.path) - 1) + layer.path[-1]
            kind = layer.kind if layer.calls == 1 else f"{layer.kind} ({layer.calls} calls)"
            lines.append((name, kind, layer.output, f"{layer.params:,}", f"{layer.macs:,}"))
        parts = ", ".join(f"{name} {macs:,}" for name, macs in self.parts.items())
        ratio = self.full_macs / self.inference_macs if self.inference_macs else float("nan")
        return "\n".join(
            [
                tables.markdown(lines),
                "",
                f"training form: {self.params:,} parameters, {self.macs:,} MACs an image",
                f"inference form on {self.platform}: {self.inference_params:,} parameters, "
                f"{self.inference_macs:,} MACs an image ({parts})",
                f"full resolution: {self.full_macs:,} MACs an image, {ratio:.2f} times as many",
            ]
        )


def summarise(settings: Settings, num_classes: int) -> Summary:
    """Of the network that settings describe, for images of their size.

    Raises:
        UserError: there is no such network.
    """
    size = settings.data.image_size
    model = build_model(settings.model, num_classes=num_classes, image_size=size)
    variables = variable_shapes(model, size)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    layers = _layers(model, variables, image)
    network = _inference_network(model, variables, settings, num_classes)
    full = changed(settings, _FULL)
    full_model = build_model(full.model, num_classes=num_classes, image_size=size)
    baseline = _inference_network(full_model, variable_shapes(full_model, size), full, num_classes)
    parts = part_macs(network)
    return Summary(
        tuple(layers),
        _count(variables["params"]),
        sum(layer.macs for layer in layers if len(layer.path) == 1),
        _count(network.variables["params"]),
        sum(parts.values()),
        parts,
        sum(part_macs(baseline).values()),
        network.platform,
    )


def _layers(model: Classifier, variables, image) -> list[Layer]:
    kinds: dict[Path, str] = {}
    outputs: dict[Path, str] = {}
    calls: Counter[Path] = Counter()
    running: list[Path] = [()]

    def record(call, args, kwargs, context):
        path = context.module.path
        kinds.setdefault(path, type(context.module).__name__)
        inherited = path == running[-1]  # a base class's method, of a call that is seen already
        running.append(path)
        result = call(*args, **kwargs)
        running.pop()
        if context.method_name in ("__call__", "analyze") and not inherited:
            calls[path] += 1
            outputs.setdefault(path, _shape_of(result))
        return result

    def everything(variables, image):
        outputs = run(model, variables, image, reconstruct=True)
        return outputs.scores, outputs.reconstruction

    with nn.intercept_methods(record):
        macs = count_macs(everything, variables, image).by_scope
    del kinds[()]
    owned: Counter[Path] = Counter()
    for scope, count in macs.items():
        path = _module_of(scope, kinds)
        for length in range(1, len(path) + 1):
            owned[path[:length]] += count
    params: Counter[Path] = Counter()
    for path, leaf in traverse_util.flatten_dict(variables["params"]).items():
        for length in range(1, len(path)):
            params[path[:length]] += leaf.size
    place = {path: number for number, path in enumerate(kinds)}
    ordered = sorted(kinds, key=lambda path: [place[path[:i]] for i in range(1, len(path) + 1)])
    return [
        Layer(
            path,
            kinds[path],
            outputs.get(path, ""),
            max(1, calls[path]),
            params[path],
            owned[path],
        )
        for path in ordered
    ]


def _module_of(scope: str, known: dict[Path, Any]) -> Path:
    """The innermost module that a name stack tells, such as "Classifier/backbone/conv1/conv1".

    Methods other than ``__call__`` are there as "encoder.filter", and calls of a base class's as
    the same name once more.
    """
    path: Path = ()
    for part in scope.split("/")[1:]:
        name = part.partition(".")[0]
        if (*path, name) in known:
            path = (*path, name)
        elif not path or name != path[-1]:
            break
    return path


def _shape_of(result) -> str:
    images = [result.low, result.high] if isinstance(result, SubImages) else [result]
    shapes = ("x".join(map(str, x.shape[1:])) for x in images if hasattr(x, "shape"))
    return " + ".join(shapes)


def _inference_network(
    model: Classifier, variables, settings: Settings, num_classes: int
) -> Network:
    """The network as a benchmark has it, with shapes in place of arrays."""
    size, platform = settings.data.image_size, jax.default_backend()
    # Only the front end's weights decide over the form; they are few.
    held = {
        kind: {
            name: jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
            if name == "frontend"
            else {}
            for name, tree in variables[kind].items()
        }
        for kind in ("params", "batch_stats")
    }
    folded, _ = for_inference(model, held, platform=platform)
    image = jnp.zeros((1, size, size, 3), jnp.uint8)
    shapes = jax.eval_shape(lambda x: folded.init(jax.random.key(0), x, train=False), image)
    return Network(
        "",
        settings,
        settings.model.dtype,
        num_classes,
        platform,
        folded,
        shapes,
        model,
        variables,
    )


def _count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
