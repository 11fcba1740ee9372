"""Norms of frozen modules: they run as in evaluation, and their statistics stay.

What a stage's ``trains`` leaves out stays bit for bit, and the statistics of a batch norm belong to
the module around it as its parameters do. A norm is frozen where its own parameters all are; one
without parameters (a sub-image's norm) goes with the smallest module around it that has some.

Linen calls pass through here (``nn.intercept_methods``), because which norms are frozen is the
stage's business: the networks need no argument for it, at whatever depth a norm sits.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax

from wae_jax.models.backbones import Adapted
from wae_jax.models.layers import BatchNorm


def is_frozen(labels: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Whether the module at ``path`` is frozen.

    Args:
        labels: as :func:`wae_jax.training.stages.trainable_labels` returns them.
        path: names of the modules from the classifier down.
    """
    for end in range(len(path), -1, -1):
        part: Any = labels
        for name in path[:end]:
            part = part.get(name, {}) if isinstance(part, Mapping) else {}
        found = jax.tree.leaves(part)
        if found:
            return "train" not in found
    return False


def of_norms(labels: Mapping[str, Any], statistics: bool) -> Mapping[str, Any]:
    """The labels by which norms go: none is frozen in a stage whose ``statistics`` all move."""
    return jax.tree.map(lambda _: "train", labels) if statistics else labels


def as_in_evaluation(labels: Mapping[str, Any]) -> AbstractContextManager:
    """Within it, frozen norms run as in evaluation, with their running statistics.

    So does a user's own module that is frozen as a whole, which may have norms of any kind. In one
    that trains in part, its frozen norms normalise as it tells them to; see
    :func:`keep_statistics`.
    """

    def intercept(call, args, kwargs, context):
        module = context.module
        if (
            isinstance(module, BatchNorm | Adapted)
            and context.method_name == "__call__"
            and is_frozen(labels, module.path)
        ):
            kwargs = {**kwargs, "train": False}
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


def keep_parameters(labels: Mapping[str, Any], old, new):
    """``new`` parameters, but the ``old`` of frozen ones."""
    return jax.tree.map(lambda label, o, n: o if label == "freeze" else n, labels, old, new)


def keep_statistics(labels: Mapping[str, Any], old, new):
    """``new`` batch statistics, but the ``old`` of frozen modules, whatever norm wrote them."""

    def choose(path, before, after):
        return before if is_frozen(labels, tuple(key.key for key in path[:-1])) else after

    return jax.tree.map_with_path(choose, old, new)
