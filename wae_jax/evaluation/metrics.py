"""Evaluation metrics as (sum, count) pairs over masked batches, so that they add up exactly."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from wae_jax.evaluation import low_image
from wae_jax.models.outputs import Outputs

TOP_K = 5


def rank_of_label(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes score at least as high as the label, itself not counted: (B,) int32.

    Ties and NaN count against the network: a constant score is no knowledge.
    """
    own = jnp.take_along_axis(scores, labels[:, None], axis=-1)
    return jnp.sum(~(scores < own), axis=-1) - 1


def image_sums(outputs: Outputs, batch, denormalise) -> dict[str, jax.Array]:
    """Sums over the unmasked images of a batch, float32; ``count`` is their number.

    Args:
        outputs: of the batch.
        batch: "label" (B,) int32, "mask" (B,) float32.
        denormalise: model units -> 0..255.

    Returns:
        A scalar each, but for the ``low_mean`` and ``low_product`` of
        :func:`wae_jax.evaluation.low_image.moments`.
    """
    mask, labels = batch["mask"], batch["label"]
    sums = {"count": mask.sum()}

    def total(per_image):
        counts = mask.reshape(-1, *[1] * (per_image.ndim - 1)) > 0
        return jnp.sum(jnp.where(counts, per_image, 0.0), axis=0)

    if outputs.scores is not None:
        rank = rank_of_label(outputs.scores, labels)
        sums["top1"] = total((rank < 1).astype(jnp.float32))
        sums["top5"] = total((rank < TOP_K).astype(jnp.float32))
        if outputs.scores_without_high is not None:
            without = rank_of_label(outputs.scores_without_high, labels)
            sums["count_without_high"] = sums["count"]
            sums["lost_without_high"] = total((rank < 1) * 1.0 - (without < 1))
    if outputs.low_scores is not None and outputs.fused_scores is not None:
        sums["top1_low"] = total((rank_of_label(outputs.low_scores, labels) < 1) * 1.0)
        sums["top1_fused"] = total((rank_of_label(outputs.fused_scores, labels) < 1) * 1.0)
    if outputs.reconstruction is not None:
        error = denormalise(outputs.images) - jnp.clip(denormalise(outputs.reconstruction), 0, 255)
        mse = jnp.mean(jnp.square(error), axis=(1, 2, 3))
        sums["psnr"] = total(10 * jnp.log10(255.0**2 / jnp.maximum(mse, 1e-10)))
    if outputs.sub_images is not None and outputs.sub_images.high is not None:
        for name in ("low", "high"):
            image = getattr(outputs.sub_images, name).astype(jnp.float32)
            sums[f"energy_{name}"] = total(jnp.sum(jnp.square(image), axis=(1, 2, 3)))
        if outputs.images is not None:
            moments = low_image.moments(outputs.images, outputs.sub_images.low)
            sums |= {name: total(per_image) for name, per_image in moments.items()}
    return sums


METRIC_NAMES = (
    "top1",
    "top5",
    "top1_low",
    "top1_fused",
    "top1_without_high",
    "psnr",
    "high_energy",
    "low_correlation",
    "eval_count",
)


def summarise(sums: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Totals -> the figures of ``METRIC_NAMES``; None where one does not exist.

    Fractions are 0..1; psnr is the mean over images in dB; high_energy is the energy of I_H over
    that of I_L; low_correlation is between I_L and the half-resolution image, see
    :mod:`wae_jax.evaluation.low_image`. top1_without_high is top1 less what dropping I_H costs on
    the images for which that was computed.
    """
    count = float(sums["count"])
    figures: dict[str, float | int | None] = dict.fromkeys(METRIC_NAMES)
    for name in ("top1", "top5", "top1_low", "top1_fused", "psnr"):
        if name in sums:
            figures[name] = float(sums[name]) / count
    if sums.get("count_without_high"):
        cost = float(sums["lost_without_high"]) / float(sums["count_without_high"])
        figures["top1_without_high"] = min(max(float(sums["top1"]) / count - cost, 0.0), 1.0)
    if sums.get("energy_low"):
        figures["high_energy"] = float(sums["energy_high"]) / float(sums["energy_low"])
    if "low_mean" in sums:
        figures["low_correlation"] = low_image.correlation(
            sums["low_mean"] / count, sums["low_product"] / count
        )
    figures["eval_count"] = round(count)
    return figures
