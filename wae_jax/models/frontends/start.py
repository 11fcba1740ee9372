"""An auto-encoder that starts from what is known: the smaller image, and its Haar details.

I_L begins as the mean over blocks of pixels, which is what plain low resolution reads, I_H as the
largest wavelet details of a photo, and the decoder as the inverse. A pretrained network behind it
computes what it would of the small image, and training goes on from there. Through a ReLU a value
passes as a pair, +x and -x; channels that are not needed stay random and unread.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wae_jax.errors import UserError
from wae_jax.models.frontends.wae import (
    SUB_IMAGE_CHANNELS,
    WAE,
    PaperDecoder,
    PaperEncoder,
    PolyphaseDecoder,
)
from wae_jax.models.layers import BATCH_NORM_EPSILON

# Grey first: in photos most of the details' energy is common to the colours.
_COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
_HAAR = np.array([[1, 1], [1, -1]]) / np.sqrt(2)

Arrays = Mapping[str, Any]


def wavelet_start(frontend: WAE, params: Arrays, stats: Arrays) -> tuple[dict, dict]:
    """The front end's variables with which I_L is the block mean and I_H are wavelet details.

    Args:
        frontend: the auto-encoder.
        params, stats: its freshly initialised variables.

    Returns:
        New ``(params, stats)``, float32. The sub-images' norms have mean 0 and variance 1: they
        change nothing where the network's inputs have about unit variance.

    Raises:
        UserError: trunks with too few channels to let three colours through.
    """
    new: dict[str, Any] = _copy(params)
    encoder, block = frontend.encoder, 2**frontend.encoder.levels
    basis = haar_details(block)
    carried = min(_encode(encoder, new["encoder"], basis), basis.shape[-1])
    for part in ("low", "high"):
        decoder = getattr(frontend, f"decoder_{part}")
        decode = _decode_paper if isinstance(decoder, PaperDecoder) else _decode_polyphase
        decode(decoder, new[f"decoder_{part}"], part, basis[..., :carried])
    return new, {
        name: {
            "mean": np.zeros_like(norm["mean"]),
            "var": np.full_like(norm["var"], 1.0 - BATCH_NORM_EPSILON),
        }
        for name, norm in stats.items()
    }


def haar_details(block: int) -> np.ndarray:
    """Orthonormal details of a block of pixels: (block, block, 3, 3 * (block**2 - 1)).

    The last axis has all of grey, then those of two colour differences; each from the coarsest
    level down.
    """
    bands = [_HAAR[:, i, None] * _HAAR[None, :, j] for i, j in ((1, 0), (0, 1), (1, 1))]
    spatial, size = [], block
    while size > 1:
        half = size // 2
        for top in range(0, block, size):
            for left in range(0, block, size):
                for band in bands:
                    detail = np.zeros((block, block))
                    detail[top : top + size, left : left + size] = (
                        np.kron(band, np.ones((half, half))) / half
                    )
                    spatial.append(detail)
        size = half
    details = np.einsum("nij,kc->ijckn", np.stack(spatial), _COLOURS)
    return details.reshape(block, block, 3, -1)


def _copy(tree: Arrays) -> dict[str, Any]:
    return {
        name: _copy(value) if isinstance(value, Mapping) else np.array(value, np.float32)
        for name, value in tree.items()
    }


def _means(block: int) -> np.ndarray:
    """(block, block, 3, 3): the mean of each colour."""
    return np.broadcast_to(np.eye(SUB_IMAGE_CHANNELS) / block**2, (block, block, 3, 3))


def _encode(encoder, params: dict[str, Any], basis: np.ndarray) -> int:
    """Sets the encoder's parameters; how many details I_H has."""
    block, high = 2**encoder.levels, encoder.high_channels
    details = np.zeros((*basis.shape[:3], high))
    count = min(high, basis.shape[-1])
    details[..., :count] = basis[..., :count]
    wanted = np.concatenate([_means(block), details], axis=-1)
    if isinstance(encoder, PaperEncoder):
        values = np.eye(SUB_IMAGE_CHANNELS)
        first = block - 1  # the last conv's windows begin so many pixels before their block
        taps = {(first + i, first + j): wanted[i, j] for i in range(block) for j in range(block)}
    else:
        wanted = wanted.reshape(-1, wanted.shape[-1])
        room = len(wanted) if encoder.depth == 0 else _room(encoder, "channels", "activation")
        passed = SUB_IMAGE_CHANNELS + count
        if room < passed and encoder.depth:
            passed = max(room, SUB_IMAGE_CHANNELS)  # with fewer there is no start: an error below
            count = passed - SUB_IMAGE_CHANNELS
        values = wanted[:, :passed] if encoder.depth else np.eye(len(wanted))
        taps = {(1, 1): np.eye(passed, wanted.shape[-1]) if encoder.depth else wanted}
    convs = [params[f"conv{i + 1}"] for i in range(encoder.depth)]
    read = _pass_through(convs, values, encoder.activation, "model.frontend.channels")
    for name, columns in (
        ("to_low", slice(SUB_IMAGE_CHANNELS)),
        ("to_high", slice(SUB_IMAGE_CHANNELS, None)),
    ):
        _write(params[name], {tap: read @ matrix[:, columns] for tap, matrix in taps.items()})
    return count


def _room(module, channels: str, activation: str) -> int:
    """How many values a trunk lets through."""
    pairs = getattr(module, activation) == "relu"
    return getattr(module, channels) // (2 if pairs else 1)


def _pass_through(convs: list, values: np.ndarray, activation: str, key: str) -> np.ndarray:
    """Lets ``values`` (in, n) of the input through 3x3 convs; (channels, n) that reads them."""
    if not convs:
        return values
    held = _held(values.shape[1], convs[0]["kernel"].shape[-1], activation, key)
    _set(convs[0], {(1, 1): values @ held})
    _keep(convs[1:], held)
    return held.T


def _held(count: int, channels: int, activation: str, key: str) -> np.ndarray:
    """(count, channels): how a trunk holds values, each in a channel or, with ReLU, in two."""
    signs = [1.0, -1.0] if activation == "relu" else [1.0]
    pairs = np.kron(np.eye(count), signs)
    if channels < pairs.shape[1]:
        raise UserError(
            f"config.{key} is {channels}: to start from the smaller image and its details "
            f"(config.init.frontend) it must be {pairs.shape[1]} or more; "
            "config.init.frontend=random starts at random"
        )
    return np.pad(pairs, ((0, 0), (0, channels - pairs.shape[1])))


def _keep(convs: list, held: np.ndarray) -> None:
    """Has 3x3 convs hand on what the trunk holds."""
    for conv in convs:
        _set(conv, {(1, 1): np.diag(np.abs(held).sum(0))})


def _set(conv: dict[str, Any], taps: Mapping[tuple[int, int], np.ndarray]) -> None:
    """Sets the filters that any of ``taps``' matrices (in, out) uses; the others stay random."""
    used = np.any([np.any(matrix, axis=0) for matrix in taps.values()], axis=0)
    conv["kernel"][..., used], conv["bias"][used] = 0.0, 0.0
    for tap, matrix in taps.items():
        conv["kernel"][tap][:, used] = matrix[:, used]


def _write(conv: dict[str, Any], taps: Mapping[tuple[int, int], np.ndarray]) -> None:
    """Sets a conv to these matrices (in, out) at its taps, and to zero elsewhere."""
    conv["kernel"][...], conv["bias"][...] = 0.0, 0.0
    for tap, matrix in taps.items():
        conv["kernel"][tap] = matrix


def _inverse(part: str, block: int, basis: np.ndarray, channels: int) -> np.ndarray:
    """(channels, block, block, 3): what a value of a sub-image adds to its block."""
    if part == "low":
        return np.broadcast_to(np.eye(3)[:, None, None], (3, block, block, 3))
    pattern = np.zeros((channels, block, block, 3))
    pattern[: basis.shape[-1]] = np.moveaxis(basis, -1, 0)
    return pattern


def _slopes(block: int, basis: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """What I_L's neighbours tell of the details that I_H does not have.

    Taps of a 3x3 conv -> (3, block * block * 3): half the difference of the two neighbours is the
    slope across the block, and of what it predicts the part outside ``basis`` is added.
    """
    count = block * block * 3
    held = basis.reshape(count, -1)
    missing = np.eye(count) - held @ held.T
    offset = (np.arange(block) - (block - 1) / 2) / block / 2
    down = np.broadcast_to(offset[:, None], (block, block))
    taps = {}
    for tap, along in (((2, 1), down), ((0, 1), -down), ((1, 2), down.T), ((1, 0), -down.T)):
        slope = np.einsum("ij,kc->kijc", along, np.eye(3)).reshape(3, count)
        taps[tap] = slope @ missing
    return taps


def _decode_polyphase(
    decoder: PolyphaseDecoder, params: dict[str, Any], part: str, basis: np.ndarray
) -> None:
    block, channels = 2**decoder.levels, params["conv1"]["kernel"].shape[2]
    inverse = _inverse(part, block, basis, channels).reshape(channels, -1)
    # Of many details those that fit pass, the largest first.
    passed = min(channels, _room(decoder, "channels", "activation"))
    values = np.eye(channels)[:, : max(passed, SUB_IMAGE_CHANNELS)]
    convs = [params["conv1"], params["conv2"]]
    read = _pass_through(convs, values, decoder.activation, "model.frontend.decoder_channels")
    taps = {(1, 1): read @ values.T @ inverse}
    if part == "low":
        taps |= {tap: read @ matrix for tap, matrix in _slopes(block, basis).items()}
    _write(params["to_image"], taps)


def _decode_paper(
    decoder: PaperDecoder, params: dict[str, Any], part: str, basis: np.ndarray
) -> None:
    block, channels = 2**decoder.levels, params["deconv"]["kernel"].shape[2]
    inverse = _inverse(part, block, basis, channels)
    # The transposed conv makes the colours, the convs pass them on.
    held = _held(
        SUB_IMAGE_CHANNELS, decoder.channels, decoder.activation, "model.frontend.decoder_channels"
    )
    # flax's "SAME": pixel r of a block reads its own sub-image pixel at this tap, less r.
    own = -(-(3 * block - 2) // 2)
    taps = {(own - i, own - j): inverse[:, i, j] @ held for i in range(block) for j in range(block)}
    _set(params["deconv"], taps)
    _keep([params["conv1"], params["conv2"]], held)
    _write(params["to_image"], {(1, 1): held.T})
