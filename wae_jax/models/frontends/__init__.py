"""Front ends by name: image -> sub-images."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from wae_jax.config import FrontendSettings
from wae_jax.models.frontends.base import Frontend, SubImages
from wae_jax.models.frontends.fixed import Downsample, Identity, SpaceToDepth, Wavelet
from wae_jax.models.frontends.folded import FoldedEncoder
from wae_jax.models.frontends.wae import (
    SUB_IMAGE_CHANNELS,
    WAE,
    PaperDecoder,
    PaperEncoder,
    PolyphaseDecoder,
    PolyphaseEncoder,
)
from wae_jax.schema.fields import choose

__all__ = [
    "FRONTENDS",
    "SINGLE",
    "SUB_IMAGE_CHANNELS",
    "WAE",
    "FoldedEncoder",
    "Frontend",
    "SubImages",
    "build_frontend",
]


ENCODERS: dict[str, type[PaperEncoder] | type[PolyphaseEncoder]] = {
    "paper": PaperEncoder,
    "polyphase": PolyphaseEncoder,
}
DECODERS: dict[str, type[PaperDecoder] | type[PolyphaseDecoder]] = {
    "paper": PaperDecoder,
    "polyphase": PolyphaseDecoder,
}


def _identity(settings, dtype, axis_name):
    return Identity()


def _downsample(settings, dtype, axis_name):
    return Downsample(levels=settings.levels, size=settings.size)


def _space_to_depth(settings, dtype, axis_name):
    return SpaceToDepth(levels=settings.levels)


def _wavelet(settings, dtype, axis_name):
    return Wavelet(kind=settings.wavelet, levels=settings.levels)


def _wae(settings: FrontendSettings, dtype, axis_name):
    shared: dict[str, Any] = {
        "channels": settings.channels,
        "levels": settings.levels,
        "high_channels": settings.high_channels,
        "dtype": dtype,
    }
    encoder_class = choose("model.frontend.encoder", settings.encoder, ENCODERS)
    decoder_class = choose("model.frontend.decoder", settings.decoder, DECODERS)
    if encoder_class is PaperEncoder:
        shared["padding"] = settings.padding
    encoder = encoder_class(depth=settings.depth, activation=settings.activation, **shared)

    def decoder():
        return decoder_class(
            channels=settings.decoder_channels,
            levels=settings.levels,
            activation=settings.decoder_activation,
            dtype=dtype,
        )

    return WAE(
        encoder=encoder,
        decoder_low=decoder(),
        decoder_high=decoder(),
        normalise=settings.normalise,
        axis_name=axis_name,
    )


FRONTENDS = {
    "identity": _identity,
    "downsample": _downsample,
    "space-to-depth": _space_to_depth,
    "wavelet": _wavelet,
    "wae": _wae,
}
# Those with one sub-image, and so without a light branch.
SINGLE = ("identity", "downsample")


def build_frontend(
    settings: FrontendSettings, *, dtype=jnp.float32, axis_name: str | None = None
) -> nn.Module:
    """The front end that ``settings`` describe.

    Raises:
        UserError: an unknown name or option.
    """
    return choose("model.frontend.name", settings.name, FRONTENDS)(settings, dtype, axis_name)
