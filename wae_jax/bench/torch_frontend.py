"""Front ends in PyTorch: what splits the image, and a WAE's decoders.

Functions of tensors (B, C, H, W) in the channels_last memory format.
"""

import numpy as np

from wae_jax.bench.torch_layers import area_resize, conv, halve, import_torch, space_to_depth
from wae_jax.models.frontends import WAE, FoldedEncoder
from wae_jax.models.frontends.fixed import Downsample, Identity
from wae_jax.models.frontends.folded import untile_kernel
from wae_jax.models.frontends.wae import PaperDecoder, PaperEncoder

KNOWN = Identity | Downsample | WAE | FoldedEncoder


def plain_params(encoder, params):
    """A classifier's parameters, a folded encoder's as those of an ordinary strided conv."""
    if not isinstance(encoder, FoldedEncoder) or encoder.tile == 1:
        return params
    tiled = params["frontend"]["to_both"]
    kernel = untile_kernel(
        np.asarray(tiled["kernel"]), encoder.kernel, 2**encoder.levels, encoder.tile
    )
    plain = {"kernel": kernel, "bias": tiled["bias"][: kernel.shape[-1]]}
    return {**params, "frontend": {"to_both": plain}}


def split(frontend, params, x):
    """Normalised images -> low and high (None for the baselines).

    params: the front end's; the baselines have none.
    """
    torch = import_torch()
    if isinstance(frontend, Identity):
        return x, None
    if isinstance(frontend, Downsample):
        return _downsample(frontend, x), None
    encoder = frontend if isinstance(frontend, FoldedEncoder) else frontend.encoder
    block = 2**encoder.levels
    x = torch.nn.functional.pad(
        x, (0, -x.shape[3] % block, 0, -x.shape[2] % block), mode="replicate"
    )
    zero_padded = isinstance(encoder, PaperEncoder) and encoder.padding == "zero"
    if not zero_padded:
        x = torch.nn.functional.pad(x, (encoder.reach,) * 4, mode="reflect")
    x = x.contiguous(memory_format=torch.channels_last)
    both = _encode(x, encoder, params, block, pad=int(zero_padded))
    return both[:, :3], both[:, 3:]


def _downsample(frontend: Downsample, x):
    torch = import_torch()
    size = frontend.output_size(*x.shape[2:])
    if frontend.size and x.shape[2:] != (2 * size[0], 2 * size[1]):
        x = area_resize(x, size, torch.from_numpy)
        return x.contiguous(memory_format=torch.channels_last)
    for _ in range(1 if frontend.size else frontend.levels):
        x = halve(x)
    return x


def _encode(x, encoder, params, block: int, *, pad: int):
    torch = import_torch()
    if isinstance(encoder, FoldedEncoder):
        return conv(x, params["to_both"], stride=block)
    params, relu = params["encoder"], encoder.activation == "relu"
    stride = block
    if not isinstance(encoder, PaperEncoder):
        x, stride = space_to_depth(x, block), 1
    for i in range(encoder.depth):
        x = conv(x, params[f"conv{i + 1}"], padding=pad)
        x = torch.relu(x) if relu else x
    outputs = ("to_both",) if "to_both" in params else ("to_low", "to_high")
    return torch.cat(
        [conv(x, params[name], stride=stride, padding=pad * (block - 1)) for name in outputs],
        1,
    )


def decode(frontend, params, low, high):
    """The image (B, 3, H, W) that a WAE in its training form rebuilds."""
    images = [
        _decode(getattr(frontend, f"decoder_{part}"), x, params[f"decoder_{part}"])
        for part, x in (("low", low), ("high", high))
    ]
    return images[0] + images[1]


def _decode(decoder, x, params):
    torch = import_torch()
    block, relu = 2**decoder.levels, decoder.activation == "relu"
    if isinstance(decoder, PaperDecoder):
        deconv = params["deconv"]
        # flax's kernel slides as in a conv; PyTorch's is the transpose of one.
        weight = deconv["kernel"].transpose(0, 1).flip(2, 3)
        before = -(-(3 * block - 2) // 2)
        x = torch.nn.functional.conv_transpose2d(
            x, weight, deconv["bias"], block, padding=2 * block - 1 - before
        )
        x = torch.relu(x) if relu else x
    for layer in ("conv1", "conv2"):
        x = conv(x, params[layer], padding=1)
        x = torch.relu(x) if relu else x
    x = conv(x, params["to_image"], padding=1)
    if isinstance(decoder, PaperDecoder):
        return x
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h, w, block, block, c // block**2)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h * block, w * block, -1)
    return x.permute(0, 3, 1, 2)
