"""Backbones as a user may write them, of what the exporter has to know."""

import flax.linen as nn
import jax.numpy as jnp


class Readme(nn.Module):
    """The README's own network."""

    width: float = 1.0

    @nn.compact
    def __call__(self, x, *, train):
        for filters in (32, 64, 128):
            x = nn.relu(nn.Conv(int(filters * self.width), (3, 3), strides=2)(x))
        return x


class Normed(nn.Module):
    """Batch norms, pools, a depthwise conv, an FC layer on pixels, squeeze and excitation."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(8, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        x = nn.Conv(8, (5, 5), feature_group_count=8, padding="CIRCULAR")(x)
        x = nn.hard_swish(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        gate = nn.sigmoid(nn.Dense(8)(nn.silu(nn.Dense(4)(x.mean((1, 2))))))
        x = nn.gelu(nn.Dense(16)(x * gate[:, None, None]))
        x = nn.avg_pool(x, (3, 3), strides=(2, 2), padding="SAME", count_include_pad=False)
        return jnp.clip(x, -1, 1)


class Attention(nn.Module):
    """Patches, layer and group norms, attention, features (B, C)."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(16, (4, 4), strides=4, padding="VALID")(x)
        x = nn.GroupNorm(num_groups=4)(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        places = self.param("places", nn.initializers.normal(1.0), (1, x.shape[1], 16))
        y = nn.LayerNorm()(x + places)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(y)
        x = nn.leaky_relu(nn.Dense(8)(x))
        return nn.tanh(nn.Dense(12)(x.reshape(x.shape[0], -1)))


class Sorted(nn.Module):
    """What no exporter needs to know."""

    @nn.compact
    def __call__(self, x, *, train):
        return jnp.sort(nn.Conv(4, (3, 3))(x), axis=-1)
