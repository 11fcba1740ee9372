"""Other ways to compute a conv or an FC layer, faster on CPU: plain functions, NHWC.

XLA's CPU kernels turn a conv into one product of matrices and pack its right operand, the weights,
anew at each call. For few positions the packing takes longer than the product, and the weights do
better as the left operand (:func:`product`); for many, Winograd's algorithm needs 2.25 times fewer
multiplications for a 3x3 conv (:func:`winograd_conv`).
"""

import jax
import jax.numpy as jnp
import numpy as np

WINOGRAD_PRODUCTS = 16
_LARGE = 2**25  # bytes of transformed input, above which images take turns to stay in the caches

# F(2x2, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
_KERNEL_TRANSFORM = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def conv(x: jax.Array, kernel: jax.Array, strides, padding, **options) -> jax.Array:
    """``lax.conv_general_dilated`` on NHWC, 1x1 convs as the product that they are.

    XLA's gradient of a 1x1 conv's weights takes up to twice as long as that of a product.
    """
    if kernel.shape[:2] != (1, 1) or any(map(sum, padding)):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    x = x[:, :: strides[0], :: strides[1]]
    y = jnp.dot(x.reshape(-1, x.shape[-1]), kernel[0, 0], precision=options["precision"])
    return y.reshape(*x.shape[:-1], -1)


def product(weights: jax.Array, x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """(out, in) weights times (..., in), plus bias (out,): (..., out)."""
    y = jax.lax.dot_general(weights, x.reshape(-1, x.shape[-1]), (((1,), (1,)), ((), ())))
    if bias is not None:
        y += bias[:, None]
    # Without the barrier XLA turns the transposed product into that of swapped operands.
    y = jax.lax.optimization_barrier(y).T
    return y.reshape(*x.shape[:-1], -1)


def windows(x: jax.Array, size, strides, padding) -> list[jax.Array]:
    """(B, H, W, C) -> (B, h, w, C) for each weight of a filter: what it meets, row by row.

    ``size``, ``strides`` and ``padding`` as for a conv: of height and width.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    last = [
        (have - need) // stride * stride
        for have, need, stride in zip(x.shape[1:3], size, strides, strict=True)
    ]
    return [
        x[:, i : i + last[0] + 1 : strides[0], j : j + last[1] + 1 : strides[1]]
        for i in range(size[0])
        for j in range(size[1])
    ]


def patches(x: jax.Array, size: tuple[int, int], stride: int, padding: int) -> jax.Array:
    """(B, H, W, C) -> (B, h, w, height * width * C): what each position of a conv sees."""
    return jnp.concatenate(windows(x, size, (stride, stride), ((padding, padding),) * 2), axis=-1)


def winograd_weights(kernel: jax.Array | np.ndarray) -> list[np.ndarray]:
    """(3, 3, in, out) -> 16 matrices (in, out), one for each product.

    Apart, because XLA would copy a slice of one array at each call.
    """
    g = _KERNEL_TRANSFORM
    u = np.einsum("ai,ijkl,bj->abkl", g, np.asarray(kernel, np.float64), g, optimize=True)
    return list(u.reshape(WINOGRAD_PRODUCTS, *kernel.shape[2:]).astype(np.float32))


def winograd_conv(x: jax.Array, weights: list[jax.Array], bias: jax.Array | None) -> jax.Array:
    """3x3 conv of (B, H, W, in), zero-padded by one pixel, with :func:`winograd_weights`."""
    if x.shape[0] > 1 and 4 * x.size * x.dtype.itemsize > _LARGE:
        y = jax.lax.map(lambda image: _winograd(image[None], weights)[0], x)
    else:
        y = _winograd(x, weights)
    return y if bias is None else y + bias


def _winograd(x: jax.Array, weights: list[jax.Array]) -> jax.Array:
    batch, height, width, channels = x.shape
    rows, columns = -(-height // 2), -(-width // 2)  # of tiles with 2x2 outputs
    x = jnp.pad(x, ((0, 0), (1, 1 + 2 * rows - height), (1, 1 + 2 * columns - width), (0, 0)))
    tiles = [
        v.reshape(-1, channels)
        for down in _transform_input([x[:, i : i + 2 * rows - 1 : 2] for i in range(4)])
        for v in _transform_input([down[:, :, i : i + 2 * columns - 1 : 2] for i in range(4)])
    ]
    products = [
        (v @ u).reshape(batch, rows, columns, -1) for v, u in zip(tiles, weights, strict=True)
    ]
    halves = zip(*[_transform_output(products[i : i + 4]) for i in range(0, 16, 4)], strict=True)
    across = [_transform_output(half) for half in halves]  # [column][row] of the 2x2 outputs
    y = jnp.stack(
        [jnp.stack([across[column][row] for column in (0, 1)], axis=3) for row in (0, 1)], axis=2
    )
    return y.reshape(batch, 2 * rows, 2 * columns, -1)[:, :height, :width]


def _transform_input(d):
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _transform_output(m):
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]
