"""Pieces that the PyTorch twins share: plain functions of tensors.

PyTorch is optional and imported only in :func:`import_torch`, at first use.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from wae_jax.errors import UserError
from wae_jax.models.resize import area_weights


def import_torch():
    """The module ``torch``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError("--peer=torch needs PyTorch: pip install torch") from error
    return torch


def torch_layout(x) -> np.ndarray:
    """A float32 copy: kernels as (out, in, height, width) or (out, in), the rest as it is."""
    x = np.array(x, np.float32)
    if x.ndim == 4:
        x = x.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(x.T if x.ndim == 2 else x)


def area_resize(x, size: tuple[int, int], as_tensor: Callable[[np.ndarray], Any]):
    """As :func:`wae_jax.models.resize.area_resize`, on (B, C, H, W); copies where it must."""
    batch, channels, height, width = x.shape
    rows, columns = (area_weights(*each) for each in ((height, size[0]), (width, size[1])))
    x = as_tensor(rows) @ x.reshape(batch, channels, -1, rows.shape[1], width)
    x = x.reshape(batch, channels, size[0], -1, columns.shape[1]) @ as_tensor(columns.T.copy())
    return x.reshape(batch, channels, *size)


def conv(x, params, *, stride: int = 1, padding: int = 0):
    """A conv with ``params``' kernel and, where there is one, bias."""
    functional = import_torch().nn.functional
    return functional.conv2d(x, params["kernel"], params.get("bias"), stride, padding)


def halve(x):
    """The mean of 2x2 pixels; an odd last row or column is averaged alone."""
    return import_torch().nn.functional.avg_pool2d(x, 2, ceil_mode=True)


def space_to_depth(x, block: int):
    """As :func:`wae_jax.models.layers.space_to_depth`, on NCHW in channels_last memory."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h // block, block, w // block, block, c)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h // block, w // block, block * block * c)
    return x.permute(0, 3, 1, 2)
