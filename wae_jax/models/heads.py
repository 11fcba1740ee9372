"""Classifier heads: branch features -> scores."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.models.layers import Dense, Dropout


class FCHead(nn.Module):
    """Flatten, then hidden FC layers with ReLU and dropout, then one FC (released network).

    Takes features of one or more branches, each (B, h, w, C); several are flattened one by one
    and concatenated. Returns scores (B, num_classes) in float32.
    """

    num_classes: int
    hidden: tuple[int, ...]
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], *, train: bool) -> jax.Array:
        x = jnp.concatenate([f.reshape(f.shape[0], -1) for f in features], axis=-1)
        for i, size in enumerate(self.hidden, start=1):
            x = nn.relu(
                Dense(
                    size, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=f"fc{i}"
                )(x)
            )
            x = Dropout(self.dropout, self.axis_name, name=f"dropout{i}")(x, train=train)
        return Dense(self.num_classes, dtype=self.dtype, name="scores")(x).astype(jnp.float32)


class PoolHead(nn.Module):
    """Global average pooling, then one linear layer (ResNet).

    Features as for :class:`FCHead`; each branch is pooled before the concatenation, so branches
    may differ in (h, w).
    """

    num_classes: int
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], *, train: bool) -> jax.Array:
        x = jnp.concatenate([f.mean(axis=(1, 2)) for f in features], axis=-1)
        x = Dropout(self.dropout, self.axis_name, name="dropout")(x, train=train)
        return Dense(self.num_classes, dtype=self.dtype, name="scores")(x).astype(jnp.float32)
