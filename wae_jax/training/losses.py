"""Losses of the paper, as pure functions.

The reduction of the two squared terms is explicit because gamma depends on it:
``caffe`` is 1/(2N) times the sum over all pixels and channels (N the batch size), ``mean`` is the
mean over pixels and channels. At 224 x 224 x 3 they differ by a factor of 75,264.
"""

import jax
import jax.numpy as jnp
import optax


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
