"""Weights and images that follow from names and shapes alone; numpy only, so that PyTorch's
environment and ours make the same ones.

Scales keep activations in range through 152 layers: convs and linear layers as in He et al. 2015,
batch norms below 1, so that sums of residuals grow slowly.
"""

import zlib

import numpy as np


def weights(name: str, shape: tuple[int, ...], *, outputs_last: bool = False) -> np.ndarray:
    """The array called ``name``, float32; ``outputs_last``: in Keras's layout, not PyTorch's."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        fan_in = int(np.prod(shape[:-1] if outputs_last else shape[1:]))
        return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
    if name.endswith(("running_var", "variance")):
        return (0.5 + rng.random(shape)).astype(np.float32)
    if name.endswith(("weight", "gamma")):  # of a batch norm
        return (0.5 + rng.random(shape) / 2).astype(np.float32)
    return 0.1 * rng.standard_normal(shape, np.float32)


def images(count: int, size: int) -> np.ndarray:
    """RGB 0..255, (count, size, size, 3) uint8: a coloured slope and noise."""
    rng = np.random.default_rng(1)
    slope = np.linspace(0, 120, size)[None, :, None, None] * rng.random((count, 1, size, 3))
    return (slope + rng.integers(0, 136, (count, size, size, 3))).astype(np.uint8)


def digest(features: np.ndarray) -> list[float]:
    """Mean, standard deviation and eight values of features (B, h, w, C)."""
    flat = np.asarray(features, np.float64).reshape(-1)
    picked = np.random.default_rng(2).integers(0, flat.size, 8)
    return [float(f"{x:.8g}") for x in (flat.mean(), flat.std(), *flat[picked])]


def key_hash(names: list[str]) -> int:
    """A number that tells sets of names apart."""
    return zlib.crc32("\n".join(sorted(names)).encode())
