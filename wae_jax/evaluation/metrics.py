"""Evaluation metrics as (sum, count) pairs over masked batches, so that they add up exactly."""

import jax
import jax.numpy as jnp

from wae_jax.models.outputs import Outputs

TOP_K = 5


def rank_of_label(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes score at least as high as the label, itself not counted: (B,) int32.

    Ties and NaN count against the network: a constant score is no knowledge.
    """
    own = jnp.take_along_axis(scores, labels[:, None], axis=-1)
    return jnp.sum(~(scores < own), axis=-1) - 1


def image_sums(outputs: Outputs, batch, denormalise) -> dict[str, jax.Array]:
    """Sums over the unmasked images of a batch, each a float32 scalar; ``count`` is their number.

    Args:
        outputs: of the batch.
        batch: "label" (B,) int32, "mask" (B,) float32.
        denormalise: model units -> 0..255.
    """
    mask, labels = batch["mask"], batch["label"]
    sums = {"count": mask.sum()}

    def total(per_image):
        return jnp.sum(jnp.where(mask > 0, per_image, 0.0))

    if outputs.scores is not None:
        rank = rank_of_label(outputs.scores, labels)
        sums["top1"] = total((rank < 1).astype(jnp.float32))
        sums["top5"] = total((rank < TOP_K).astype(jnp.float32))
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
    return sums


METRIC_NAMES = ("top1", "top5", "top1_low", "top1_fused", "psnr", "high_energy", "eval_count")


def summarise(sums: dict[str, float]) -> dict[str, float | int | None]:
    """Totals -> the figures of ``METRIC_NAMES``; None where one does not exist.

    Fractions are 0..1; psnr is the mean over images in dB; high_energy is the energy of I_H over
    that of I_L.
    """
    count = sums["count"]
    figures = {
        name: sums[name] / count if name in sums else None
        for name in ("top1", "top5", "top1_low", "top1_fused", "psnr")
    }
    energy_low = sums.get("energy_low", 0.0)
    figures["high_energy"] = sums["energy_high"] / energy_low if energy_low else None
    figures["eval_count"] = round(count)
    return figures
