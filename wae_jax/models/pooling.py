"""Max-pooling whose gradient is fast on CPU."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

Padding = tuple[tuple[int, int], tuple[int, int]]


def max_pool(
    x: jax.Array, window: int, *, padding: Padding = ((0, 0), (0, 0)), slices: bool | None = None
) -> jax.Array:
    """Max-pool with stride 2 and a window of 2x2 or 3x3.

    Args:
        x: (B, H, W, C).
        window: 2 or 3, its side.
        padding: cells of minus infinity ((top, bottom), (left, right)). A last row or column that
            fills no window is dropped.
        slices: compute it as the maximum of strided slices, with a gradient of the same kind,
            because XLA's gradient of ``reduce_window`` (select-and-scatter) is slow on CPU. None:
            where the program is lowered for CPU, whatever the machine that builds it.

    Returns:
        (B, h, w, C), the same values and gradients either way: the first of equal maxima gets it.
    """
    if slices is None:
        return jax.lax.platform_dependent(
            x,
            cpu=functools.partial(max_pool, window=window, padding=padding, slices=True),
            default=functools.partial(max_pool, window=window, padding=padding, slices=False),
        )
    if not slices:
        return nn.max_pool(x, window_shape=(window,) * 2, strides=(2, 2), padding=padding)
    sides = [side + sum(pads) for side, pads in zip(x.shape[1:3], padding, strict=True)]
    if min(sides) < window:
        return jnp.zeros((len(x), *(max(0, (n - window) // 2 + 1) for n in sides), x.shape[-1]))
    # What the windows cover; less than the image where a last row or column is dropped.
    covered = [(side - window) // 2 * 2 + window for side in sides]
    lows = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    config = [(0, 0, 0)] + [
        (low, high + cover - side, 0)
        for (low, high), cover, side in zip(padding, covered, sides, strict=True)
    ]
    x = jax.lax.pad(x, jnp.asarray(lows, x.dtype), [*config, (0, 0, 0)])
    # Columns before rows, so that in memory order the first of equal maxima is found first.
    return _max_along(_max_along(x, 2, window), 1, window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_along(x: jax.Array, axis: int, window: int) -> jax.Array:
    """Maxima of windows with stride 2 that end where ``axis`` ends."""
    return _max_along_forward(x, axis, window)[0]


def _window_parts(x: jax.Array, axis: int, window: int) -> list[jax.Array]:
    """First, second .. cells of all windows."""
    last = x.shape[axis] - window
    return [jax.lax.slice_in_dim(x, i, i + last + 1, 2, axis) for i in range(window)]


def _max_along_forward(x, axis, window):
    y = functools.reduce(jnp.maximum, _window_parts(x, axis, window))
    return y, (x, y)


def _max_along_backward(axis, window, saved, dy):
    x, y = saved
    parts, shares, open_ = _window_parts(x, axis, window), [], dy
    for part in parts[:-1]:
        wins = part == y
        shares.append(jnp.where(wins, open_, 0))
        open_ = jnp.where(wins, 0, open_)
    shares.append(open_)
    # Even cells are first in one window and third in the one before, odd ones are second.
    cells = y.shape[axis] + window - 2

    def placed(share, before):
        pads = [(0, 0)] * x.ndim
        pads[axis] = (before, cells - share.shape[axis] - before)
        return jnp.pad(share, pads)

    even, odd = placed(shares[0], 0), placed(shares[1], 0)
    if window == 3:
        even += placed(shares[2], 1)
    shape = list(x.shape)
    shape[axis] = 2 * cells
    dx = jnp.stack([even, odd], axis=axis + 1).reshape(shape)
    return (jax.lax.slice_in_dim(dx, 0, x.shape[axis], 1, axis),)


_max_along.defvjp(_max_along_forward, _max_along_backward)
