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


def cross_entropy(scores: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Mean softmax cross-entropy in nats of scores (B, K) against integer labels (B,)."""
    targets = jax.nn.one_hot(labels, scores.shape[-1], dtype=jnp.float32)
    targets = optax.smooth_labels(targets, label_smoothing)
    return optax.softmax_cross_entropy(scores.astype(jnp.float32), targets).mean()
