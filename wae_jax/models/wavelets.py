"""Two-dimensional discrete wavelet transforms of images: CDF 9/7 and Haar.

Pure functions on (B, H, W, C) arrays, differentiable and jittable, for any number of channels. One
level halves height and width and returns four bands; applied along H and then along W:

    approx      low  H, low  W        horizontal  high H, low  W  (edges that run horizontally)
    vertical    low  H, high W        diagonal    high H, high W

Normalisation, phase and names are those of PyWavelets: away from the border the bands equal
`pywt.dwt2(x, 'bior4.4', 'symmetric')` from its third row and column on, and
`pywt.dwt2(x, 'haar', 'symmetric')` everywhere. At the border `bior4.4` differs on purpose:
PyWavelets repeats the edge sample (half-sample symmetry) and must return extra coefficients to be
invertible; we mirror about the edge sample (whole-sample symmetry), which inverts exactly with
ceil(n / 2) coefficients per band. An odd axis has floor(n / 2) details; to keep the bands of one
shape, the last one is then redundant: a mirror copy (cdf97), which synthesis ignores, or 0 (haar).

Filters: Cohen, Daubechies and Feauveau, Comm. Pure Appl. Math. 45 (1992); Antonini et al.,
IEEE Trans. Image Processing 1 (1992). They run as sums of strided slices, which XLA fuses into one
loop per axis: on 2 CPU cores several times faster than lifting, matrices or a strided convolution.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Analysis filters of CDF 9/7 from the centre outwards; both are symmetric. The high-pass sign is
# that of PyWavelets.
_LOW = (
    0.8526986790088938,
    0.37740285561283066,
    -0.11062440441843718,
    -0.023849465019556843,
    0.03782845550726404,
)
_HIGH = (-0.7884856164055829, 0.41809227322161724, 0.04068941760916406, -0.06453888262869706)
# Synthesis filters the interleaved bands low, high, low, high, ...: even samples meet the even taps
# of its low-pass and the odd taps of its high-pass, odd samples the others.
_EVEN = (-_HIGH[0], _LOW[1], -_HIGH[2], _LOW[3])
_ODD = (-_LOW[0], _HIGH[1], -_LOW[2], _HIGH[3], -_LOW[4])
_SQRT_HALF = 0.5**0.5

_HEIGHT, _WIDTH = 1, 2

# Multiplications under this name are the filters' taps: `bench.macs` charges them.
MAC_SCOPE = "wavelet_taps"


class Bands(NamedTuple):
    """The four bands of one level, each (B, ceil(H / 2), ceil(W / 2), C)."""

    approx: jax.Array | None  # None in the finer levels that `analyze_levels` returns
    horizontal: jax.Array
    vertical: jax.Array
    diagonal: jax.Array


def analyze(x: jax.Array, wavelet: str) -> Bands:
    """Transforms images by one level.

    Args:
        x: (B, H, W, C), floating point, H and W at least 2. Sums are made in float32 or wider.
        wavelet: 'cdf97' or 'haar'.

    Returns:
        `Bands`, each (B, ceil(H / 2), ceil(W / 2), C) in the dtype of `x`.

    Raises:
        ValueError: an unknown wavelet, or `x` not of this shape.
        TypeError: `x` is not floating point.
    """
    split, _ = _transform(wavelet)
    _check_images(x)
    low, high = split(_widen(x), _HEIGHT)
    approx, vertical = split(low, _WIDTH)
    horizontal, diagonal = split(high, _WIDTH)
    return Bands(*(band.astype(x.dtype) for band in (approx, horizontal, vertical, diagonal)))


def synthesize(bands: Bands, shape_hw: tuple[int, int], wavelet: str) -> jax.Array:
    """Inverts `analyze` exactly, up to rounding.

    Args:
        bands: four arrays, each (B, ceil(H / 2), ceil(W / 2), C).
        shape_hw: (H, W) of the image; the bands alone do not tell 2k - 1 from 2k.
        wavelet: 'cdf97' or 'haar'.

    Returns:
        The images (B, H, W, C) in the dtype of `bands.approx`.

    Raises:
        ValueError: an unknown wavelet, or bands that do not fit `shape_hw`.
    """
    _, merge = _transform(wavelet)
    height, width = shape_hw
    _check_bands(bands, height, width)
    assert bands.approx is not None  # just checked
    approx, horizontal, vertical, diagonal = map(_widen, bands)
    low = merge(approx, vertical, _WIDTH, width)
    high = merge(horizontal, diagonal, _WIDTH, width)
    return merge(low, high, _HEIGHT, height).astype(bands.approx.dtype)


def analyze_levels(x: jax.Array, wavelet: str, levels: int) -> tuple[Bands, ...]:
    """Transforms images by several levels, each the transform of the approximation before it.

    Args:
        x: (B, H, W, C), floating point.
        wavelet: 'cdf97' or 'haar'.
        levels: at least 1; the approximation entering each level must be 2x2 or larger.

    Returns:
        One `Bands` per level, the finest first. Only the last, coarsest one keeps its `approx`.

    Raises:
        ValueError: as `analyze`, or too many levels for the size of `x`.
        TypeError: `x` is not floating point.
    """
    if levels < 1:
        raise ValueError(f"levels must be at least 1, got {levels}")
    pyramid = [analyze(x, wavelet)]
    for _ in range(levels - 1):
        approx = pyramid[-1].approx
        assert approx is not None  # as always from `analyze`
        pyramid[-1] = pyramid[-1]._replace(approx=None)
        pyramid.append(analyze(approx, wavelet))
    return tuple(pyramid)


def synthesize_levels(
    pyramid: Sequence[Bands], shape_hw: tuple[int, int], wavelet: str
) -> jax.Array:
    """Inverts `analyze_levels`.

    Args:
        pyramid: one `Bands` per level, the finest first; only the last one's `approx` is read.
        shape_hw: (H, W) of the image.
        wavelet: 'cdf97' or 'haar'.

    Returns:
        The images (B, H, W, C).

    Raises:
        ValueError: as `synthesize`, or an empty pyramid.
    """
    if not pyramid:
        raise ValueError("the pyramid holds no levels")
    height, width = shape_hw
    sizes = [(height, width)]
    for _ in pyramid[1:]:
        height, width = sizes[-1]
        sizes.append((_half(height), _half(width)))
    image = synthesize(pyramid[-1], sizes[-1], wavelet)
    for bands, size in zip(reversed(pyramid[:-1]), reversed(sizes[:-1]), strict=True):
        image = synthesize(bands._replace(approx=image), size, wavelet)
    return image


def _split_cdf97(x, axis):
    return _filter_pair(x, _LOW, _HIGH, axis)


def _merge_cdf97(low, high, axis, size):
    # Interleaved, the bands of a whole-sample symmetric signal are whole-sample symmetric too.
    bands = _interleave(low, high, axis, size)
    even, odd = _filter_pair(bands, _EVEN, _ODD, axis)
    return _interleave(even, odd, axis, size)


@jax.named_scope(MAC_SCOPE)
def _split_haar(x, axis):
    if x.shape[axis] % 2:
        x = _pad(x, axis, 0, 1, "edge")
    even, odd = _every_other(x, axis, 0), _every_other(x, axis, 1)
    return (even + odd) * _SQRT_HALF, (even - odd) * _SQRT_HALF


@jax.named_scope(MAC_SCOPE)
def _merge_haar(low, high, axis, size):
    return _interleave((low + high) * _SQRT_HALF, (low - high) * _SQRT_HALF, axis, size)


_TRANSFORMS = {"cdf97": (_split_cdf97, _merge_cdf97), "haar": (_split_haar, _merge_haar)}


@jax.named_scope(MAC_SCOPE)
def _filter_pair(x, even_taps, odd_taps, axis):
    """Filters with `even_taps` centred on samples 0, 2, ... and `odd_taps` on 1, 3, ...

    Both results have ceil(n / 2) samples: on an odd axis the last odd centre lies beyond the edge.
    """
    size, margin = x.shape[axis], 4
    padded = _pad(x, axis, margin, margin + size % 2, "reflect")

    def correlate(taps, centre):
        def samples(offset):
            return _every_other(padded, axis, margin + centre + offset, _half(size))

        pairs = (tap * (samples(-k) + samples(k)) for k, tap in enumerate(taps[1:], start=1))
        return sum(pairs, start=taps[0] * samples(0))

    return correlate(even_taps, 0), correlate(odd_taps, 1)


def _every_other(x, axis, start, count=None):
    stop = x.shape[axis] if count is None else start + 2 * count - 1
    return lax.slice_in_dim(x, start, stop, stride=2, axis=axis)


def _interleave(even, odd, axis, size):
    """even[0], odd[0], even[1], odd[1], ... along `axis`, cut to `size`."""
    shape = list(even.shape)
    shape[axis] *= 2
    both = jnp.stack([even, odd], axis=axis + 1).reshape(shape)
    return lax.slice_in_dim(both, 0, size, axis=axis)


def _pad(x, axis, before, after, mode):
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, after)
    return jnp.pad(x, widths, mode=mode)


def _half(size):
    return (size + 1) // 2


def _widen(x):
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def _transform(wavelet):
    if wavelet not in _TRANSFORMS:
        raise ValueError(f"unknown wavelet {wavelet!r}; known: {', '.join(_TRANSFORMS)}")
    return _TRANSFORMS[wavelet]


def _check_images(x):
    if x.ndim != 4 or min(x.shape[1:3]) < 2:
        raise ValueError(f"images must be (B, H, W, C) with H and W at least 2, got {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"images must be floating point, got {x.dtype}")


def _check_bands(bands, height, width):
    if min(height, width) < 2:
        raise ValueError(f"images must be at least 2x2, got {height}x{width}")
    shapes = [getattr(band, "shape", None) for band in bands]
    shape, expected = shapes[0] or (), (_half(height), _half(width))
    if len(shape) != 4 or shape[1:3] != expected or shapes.count(shape) != 4:
        raise ValueError(
            f"every band of a {height}x{width} image must be "
            f"(B, {expected[0]}, {expected[1]}, C), got {shapes}"
        )
