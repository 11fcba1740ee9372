"""How much of the half-resolution image is in I_L.

The figure is a multiple correlation: the best linear map (with intercept) of I_L's channels onto
each channel of the half-resolution image, over all pixels of all images, and the square root of the
share of that image's variance, summed over its channels, which the map explains. So false colours,
another contrast or a shifted brightness cost nothing; a checkerboard or a blur does.
"""

import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.models.frontends.fixed import Downsample

# Of the float32 sums behind a variance, against the mean square.
_ROUNDING = 1e-6
# Eigenvalues of I_L's correlation matrix below this share of the largest are noise.
_COLLINEAR = 1e-5


def half_resolution(images: jax.Array, low: jax.Array) -> jax.Array:
    """The images at the size of I_L, each halving the mean of 2x2 pixels.

    Args:
        images: (B, H, W, 3).
        low: I_L of them, (B, ceil(H/2**n), ceil(W/2**n), C) for some n.

    Returns:
        (B, h, w, 3) in float32, in the units of ``images``.

    Raises:
        ValueError: no n fits.
    """
    levels, side = 0, images.shape[1]
    while side > low.shape[1]:
        levels, side = levels + 1, -(-side // 2)
    halved = Downsample(levels).analyze(images.astype(jnp.float32), train=False).low
    if halved.shape[:3] != low.shape[:3]:
        raise ValueError(f"I_L {low.shape} is no halving of images {images.shape}")
    return halved


def moments(images: jax.Array, low: jax.Array) -> dict[str, jax.Array]:
    """First and second moments of I_L's and the half-resolution image's channels, per image.

    They add up over images, batches and devices. Float32 is enough: each image's products are
    summed about its own mean.

    Args:
        images: (B, H, W, 3) in the model's units.
        low: I_L of them, (B, h, w, C).

    Returns:
        "low_mean" (B, C + 3) and "low_product" (B, C + 3, C + 3), means over the pixels; I_L's
        channels come first.
    """
    both = jnp.concatenate([low.astype(jnp.float32), half_resolution(images, low)], axis=-1)
    both = both.reshape(both.shape[0], -1, both.shape[-1])
    mean = both.mean(axis=1)
    spread = both - mean[:, None]
    covariance = jnp.einsum("bpi,bpj->bij", spread, spread, precision=jax.lax.Precision.HIGHEST)
    return {
        "low_mean": mean,
        "low_product": covariance / both.shape[1] + mean[:, :, None] * mean[:, None, :],
    }


def correlation(mean: np.ndarray, product: np.ndarray) -> float | None:
    """The correlation (see above) from the means of :func:`moments` over all images.

    Args:
        mean: (C + 3,) float64.
        product: (C + 3, C + 3) float64.

    Returns:
        0..1; None where the images are all of one colour, or I_L is no number.
    """
    covariance = product - np.outer(mean, mean)
    if not np.isfinite(covariance).all():
        return None
    variance, square = np.diag(covariance), np.diag(product)
    total = variance[-3:].sum()
    if total <= _ROUNDING * square[-3:].sum():
        return None
    used = np.flatnonzero(variance[:-3] > _ROUNDING * square[:-3])  # the others are constant
    deviation = np.sqrt(variance[used])
    own = covariance[np.ix_(used, used)] / np.outer(deviation, deviation)
    across = covariance[used, -3:] / deviation[:, None]
    explained = np.sum(across * (np.linalg.pinv(own, rcond=_COLLINEAR, hermitian=True) @ across))
    return float(np.sqrt(np.clip(explained / total, 0.0, 1.0)))
