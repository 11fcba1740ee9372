"""Losses of the paper and of distillation, as pure functions.

The reduction of the squared terms of images is explicit because gamma depends on it:
``caffe`` is 1/(2N) times the sum over all pixels and channels (N the batch size), ``mean`` is the
mean over pixels and channels. At 224 x 224 x 3 they differ by a factor of 75,264.
"""

import jax
import jax.numpy as jnp
import optax

from wae_jax.evaluation.low_image import half_resolution


def squared_norm(x: jax.Array, reduction: str) -> jax.Array:
    """||x||^2 of (B, H, W, C), averaged over the batch as ``reduction`` says; a float32 scalar."""
    x = x.astype(jnp.float32)
    if reduction == "caffe":
        return jnp.sum(jnp.square(x)) / (2 * x.shape[0])
    if reduction == "mean":
        return jnp.mean(jnp.square(x))
    raise ValueError(f"unknown reduction {reduction!r}")


def reconstruction_loss(images: jax.Array, reconstruction: jax.Array, reduction: str) -> jax.Array:
    """l_r = ||I - I'||^2 (paper, transform loss); both (B, H, W, 3)."""
    return squared_norm(images.astype(jnp.float32) - reconstruction.astype(jnp.float32), reduction)


def energy_loss(high: jax.Array, reduction: str) -> jax.Array:
    """l_e = ||I_H||^2 (paper, transform loss); high is (B, h, w, C)."""
    return squared_norm(high, reduction)


def low_loss(images: jax.Array, low: jax.Array, reduction: str) -> jax.Array:
    """l_l = ||I_L - the half-resolution image||^2, for images (B, H, W, 3) and I_L (B, h, w, 3)."""
    return squared_norm(low.astype(jnp.float32) - half_resolution(images, low), reduction)


def cross_entropy(
    scores: jax.Array,
    labels: jax.Array,
    label_smoothing: float = 0.0,
    other_labels: jax.Array | None = None,
    label_weights: jax.Array | None = None,
) -> jax.Array:
    """Mean softmax cross-entropy in nats of scores (B, K) against integer labels (B,).

    Of mixed images, ``label_weights`` (B,) is the share of ``labels``; ``other_labels`` (B,) have
    the rest.
    """
    targets = jax.nn.one_hot(labels, scores.shape[-1], dtype=jnp.float32)
    if other_labels is not None:
        others = jax.nn.one_hot(other_labels, scores.shape[-1], dtype=jnp.float32)
        targets = others + label_weights[:, None] * (targets - others)
    targets = optax.smooth_labels(targets, label_smoothing)
    return optax.softmax_cross_entropy(scores.astype(jnp.float32), targets).mean()


def distillation_loss(
    scores: jax.Array, teacher_scores: jax.Array, temperature: float
) -> jax.Array:
    """T^2 KL(teacher || student) in nats, both (B, K) scores softened by the temperature T.

    The mean over the batch (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
    Network", 2015). T^2 keeps the size of its gradient about the same whatever T is. No gradient
    flows into the teacher.
    """
    student = jax.nn.log_softmax(scores.astype(jnp.float32) / temperature)
    teacher = jax.nn.log_softmax(
        jax.lax.stop_gradient(teacher_scores).astype(jnp.float32) / temperature
    )
    divergence = jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * divergence.mean()


def feature_loss(features: jax.Array, wanted: jax.Array, variance: jax.Array) -> jax.Array:
    """l_f = mean square of (features - wanted), both (B, C), over the wanted ones' variance.

    It has no scale: 1 is what a constant, the best one, would get. No gradient flows into
    ``wanted``. (Features as targets: Romero et al., "FitNets", 2015.)
    """
    wanted = jax.lax.stop_gradient(wanted).astype(jnp.float32)
    return jnp.square(features.astype(jnp.float32) - wanted).mean() / variance
