"""The classes that a checkpoint's network knows."""

from typing import Any

from wae_jax.data import Classes


def classes_of(meta: dict[str, Any], whose: str) -> Classes:
    """Reads them from what a step directory keeps; to be given to ``data.open_source``.

    Names given to imported weights are in words, where a data set may have WordNet ids: only the
    number of classes can be compared then.

    Args:
        meta: what describes the step.
        whose: for messages, for example "the checkpoint runs/1/checkpoints/8".
    """
    names = () if meta["origin"] else tuple(meta["class_names"])
    return Classes(meta["num_classes"], names or None, whose)
