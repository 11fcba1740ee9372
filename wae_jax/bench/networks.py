"""The networks that a benchmark compares, in their inference form."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds

from wae_jax import data
from wae_jax.checkpoints import folders
from wae_jax.checkpoints.load import load_step
from wae_jax.config import DataSettings, Settings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.evaluation.evaluator import evaluate_inference_form
from wae_jax.inference.fold import for_inference
from wae_jax.inference.layout import lay_out
from wae_jax.models.classifier import (
    DTYPES,
    Classifier,
    build_model,
    init_variables,
    run,
    variable_shapes,
)
from wae_jax.runtime.devices import Parallel
from wae_jax.schema.fields import choose
from wae_jax.schema.trees import changed, differences


@dataclasses.dataclass(frozen=True)
class Network:
    """One method's network.

    platform: that the inference form is made for: "cpu", "gpu" or "tpu".
    model, variables: the inference form; its parameters are stored in the computation's dtype.
    trained_model, trained_variables: the form it is trained in, float32 parameters.
    top1, top5: fractions, as evaluated in this dtype; None without a checkpoint.
    """

    method: str
    settings: Settings
    dtype: str
    num_classes: int
    platform: str
    model: Classifier
    variables: Any
    trained_model: Classifier
    trained_variables: Any
    top1: float | None = None
    top5: float | None = None

    @property
    def image_size(self) -> int:
        return self.settings.data.image_size

    @property
    def backbone(self) -> str:
        """Its name, with the plan where the name does not tell the layers."""
        backbone = self.settings.model.backbone
        return f"{backbone.name} {backbone.plan}".strip()

    def variables_for(self, batch_size: int):
        """The inference form's variables, laid out for calls of this size."""
        shape = (batch_size, self.image_size, self.image_size, 3)
        return lay_out(self.model, self.variables, shape, self.platform)

    def scores(self, variables, images: jax.Array) -> jax.Array:
        """uint8 RGB (B, S, S, 3) -> scores (B, num_classes)."""
        return run(self.model, variables, images).scores


def build_network(
    method: str,
    settings: Settings,
    dtype: str,
    *,
    platform: str,
    num_classes: int = 0,
    checkpoint: str = "",
    evaluate: bool = True,
    for_times_only: bool = False,
) -> Network:
    """The network that ``settings`` describe.

    dtype: of the computation, in place of the settings' own.
    platform: "cpu", "gpu" or "tpu", where it will run.
    num_classes: 0 for that of their data set.
    checkpoint: a workdir or checkpoint step whose weights, and accuracy on the evaluation split of
        their data set, are taken; else the weights are random.
    evaluate: whether the accuracy is wanted.
    for_times_only: whether without a checkpoint any finite weights will do, which are there sooner.

    Raises:
        UserError: an unknown option, data set or dtype, or a checkpoint of another network.
    """
    choose("model.dtype", dtype, DTYPES)
    settings = changed(settings, {"model.dtype": dtype})
    if checkpoint:
        variables, classes = _restore(method, settings, checkpoint)
        num_classes = classes.count
    else:
        variables, num_classes = None, num_classes or class_count(settings.data)
    size = settings.data.image_size
    trained = build_model(settings.model, num_classes=num_classes, image_size=size)
    if variables is None:
        draw = any_variables if for_times_only else random_variables
        variables = draw(trained, size, settings.seed)
    model, folded = for_inference(trained, variables, platform=platform)
    folded = {**folded, "params": jax.tree.map(lambda x: x.astype(DTYPES[dtype]), folded["params"])}
    figures = _evaluate(trained, variables, settings, classes) if checkpoint and evaluate else {}
    return Network(
        method,
        settings,
        dtype,
        num_classes,
        platform,
        model,
        folded,
        trained,
        variables,
        top1=figures.get("top1"),
        top5=figures.get("top5"),
    )


def class_count(settings: DataSettings) -> int:
    """How many classes the data set has; TFDS knows it of its own without the data."""
    try:
        features = tfds.builder(settings.name).info.features
        return features["label"].num_classes
    except (KeyError, AttributeError) as error:
        raise UserError(f"{settings.name} has no class labels; say --num_classes") from error
    except ValueError:  # not one of TFDS's own
        return data.open_split(settings, settings.train_split).info.num_classes


def random_variables(model: Classifier, image_size: int, seed: int):
    """Fresh variables whose batch norms are as after some training.

    As initialised, a residual block's last scale is 0 and all statistics are 0 and 1: folded,
    half of a network would be zeros, and a comparison of scores would not see it. The scales that
    start at 0 stay small: at 0.5 and more, a ResNet-50 with random weights has gradients in which
    float32 is 3 % off, whoever computes them.
    """
    images = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)
    variables = jax.device_get(jax.jit(lambda x: init_variables(model, x, seed=seed))(images))
    rng = np.random.default_rng(seed)

    def vary(path, x):
        if path[-1].key == "scale" and not x.any():
            return rng.uniform(0.05, 0.1, x.shape).astype(x.dtype)
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.0, x.shape).astype(x.dtype)
        if path[-1].key in ("bias", "mean"):
            return rng.normal(0.0, 0.1, x.shape).astype(x.dtype)
        return x

    return jax.tree.map_with_path(vary, variables)


def any_variables(model: Classifier, image_size: int, seed: int):
    """Variables with which scores are finite; nothing is compiled for them."""
    rng = np.random.default_rng(seed)

    def draw(path, x):
        if path[-1].key in ("scale", "var"):
            return np.full(x.shape, 0.5, x.dtype)
        fan_in = max(1, math.prod(x.shape[:-1]))
        return (rng.standard_normal(x.shape, np.float32) / math.sqrt(fan_in)).astype(x.dtype)

    return jax.tree.map_with_path(draw, variable_shapes(model, image_size))


def _restore(method: str, settings: Settings, checkpoint: str):
    """(variables, classes) of a checkpoint of the same network."""
    folder = folders.find(checkpoint)
    _, variables, meta = load_step(folder)
    held = settings_from_config(meta["config"])
    held = changed(held, {"model.dtype": settings.model.dtype})
    wrong = differences(held.model, settings.model)
    if held.data.image_size != settings.data.image_size:
        wrong["data.image_size"] = held.data.image_size, settings.data.image_size
    if wrong:
        key, (theirs, ours) = next(iter(wrong.items()))
        raise UserError(
            f"{checkpoint} is no checkpoint of {method} in this config: {len(wrong)} key(s) "
            f"differ, the first is {key} ({theirs!r} there, {ours!r} here)"
        )
    return variables, classes_of(meta, f"the checkpoint {folder}")


def _evaluate(model: Classifier, variables, settings: Settings, classes) -> dict[str, Any]:
    parallel = Parallel(dataclasses.replace(settings.parallel, mode="jit", devices=1))
    return evaluate_inference_form(
        model, variables, settings.data, settings.data.eval_split, parallel, classes
    )
