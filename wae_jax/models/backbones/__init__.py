"""Backbones by name, and a user's own Linen module by import path.

A backbone is a Linen module ``(x, *, train) -> features``, (B, H, W, C) -> (B, h, w, C').
"""

import dataclasses
import importlib
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp

from wae_jax.config import BackboneSettings
from wae_jax.errors import UserError
from wae_jax.models.backbones.resnet import BLOCKS, ResNet, inner_convs, resnet_convs, streams
from wae_jax.models.backbones.sizes import read_ranks, read_widths
from wae_jax.models.backbones.vgg import PLANS, VGG, vgg_convs
from wae_jax.schema.fields import choose

__all__ = [
    "BACKBONES",
    "BLOCKS",
    "PLANS",
    "VGG",
    "Adapted",
    "ResNet",
    "build_backbone",
    "build_light",
    "first_conv",
]


class Adapted(nn.Module):
    """A user's module seen as a backbone.

    Takes modules with or without a ``train`` argument, and with features (B, h, w, C) or (B, C),
    which become (B, 1, 1, C).
    """

    module: nn.Module

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        parameters = inspect.signature(type(self.module).__call__).parameters
        takes_train = "train" in parameters or any(
            p.kind is p.VAR_KEYWORD for p in parameters.values()
        )
        features = self.module(x, train=train) if takes_train else self.module(x)
        if features.ndim == 2:
            features = features[:, None, None, :]
        if features.ndim != 4:
            raise UserError(
                f"{type(self.module).__name__} returned shape {features.shape}; a "
                "backbone returns features (B, h, w, C) or (B, C)"
            )
        return features


def _vgg(plan: str):
    def build(settings: BackboneSettings, dtype, axis_name):
        layers = plan or _checked_plan(settings.plan)
        convs = vgg_convs(layers)
        return VGG(
            plan=layers,
            width=settings.width,
            widths=read_widths(settings.widths, convs),
            ranks=read_ranks(settings.ranks, dict.fromkeys(convs[1:], 3)),
            batch_norm=settings.batch_norm,
            round_up=settings.pool_rounding == "up",
            halve_after_stem=settings.halve_after_stem,
            norm_epsilon=settings.norm_epsilon,
            dtype=dtype,
            axis_name=axis_name,
        )

    return build


def _checked_plan(plan: str) -> str:
    items = plan.split()
    if not items or not all(item == "M" or item.isdigit() for item in items):
        raise UserError(
            f"config.model.backbone.plan is {plan!r}; the backbone 'vgg' needs conv "
            "widths and M for pools, as in '32 32 M 64 64 M'"
        )
    return plan


def _resnet(kind: str, blocks: tuple[int, ...]):
    def build(settings: BackboneSettings, dtype, axis_name):
        return ResNet(
            kind=kind,
            blocks=blocks,
            width=settings.width,
            widths=read_widths(
                settings.widths, (*inner_convs(kind, blocks), *streams(kind, blocks))
            ),
            ranks=read_ranks(settings.ranks, resnet_convs(kind, blocks)),
            stem=settings.stem,
            stem_pool=settings.stem_pool,
            stride_on=settings.stride_on,
            halve_after_stem=settings.halve_after_stem,
            norm_epsilon=settings.norm_epsilon,
            dtype=dtype,
            axis_name=axis_name,
        )

    return build


BACKBONES = {
    "vgg": _vgg(""),
    **{name: _vgg(plan) for name, plan in PLANS.items()},
    **{name: _resnet(kind, blocks) for name, (kind, blocks) in BLOCKS.items()},
}


def _own_module(settings: BackboneSettings, dtype, axis_name) -> nn.Module:
    """The user's class named as ``module:Class``, made with ``kwargs``.

    ``width``, ``dtype`` and ``axis_name`` are passed on where the class has such fields.
    """
    path, _, name = settings.name.partition(":")
    try:
        cls = getattr(importlib.import_module(path), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"cannot import the backbone {settings.name!r}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise UserError(f"the backbone {settings.name!r} is not a flax.linen.Module class")
    if settings.halve_after_stem:
        raise UserError(
            f"config.model.backbone.halve_after_stem knows no stem of {settings.name!r}; it needs "
            "a VGG or ResNet"
        )
    for key in ("widths", "ranks"):
        if getattr(settings, key):
            raise UserError(
                f"config.model.backbone.{key} knows no layers of {settings.name!r}; it needs a VGG "
                "or ResNet"
            )
    fields = {f.name for f in dataclasses.fields(cls)}
    unknown = settings.kwargs.keys() - fields
    if unknown:
        raise UserError(f"the backbone {settings.name!r} has no field {', '.join(sorted(unknown))}")
    offered = {"width": settings.width, "dtype": dtype, "axis_name": axis_name}
    if settings.width != 1.0 and "width" not in fields:
        raise UserError(
            f"the backbone {settings.name!r} has no field 'width'; name another light "
            "branch with config.model.light.name (for example 'resnet18')"
        )
    return Adapted(cls(**{k: v for k, v in offered.items() if k in fields} | dict(settings.kwargs)))


def build_backbone(
    settings: BackboneSettings, *, dtype=jnp.float32, axis_name: str | None = None
) -> nn.Module:
    """The backbone that ``settings`` describe.

    Raises:
        UserError: an unknown name or option, or a module that cannot be imported.
    """
    if ":" in settings.name:
        return _own_module(settings, dtype, axis_name)
    return choose("model.backbone.name", settings.name, BACKBONES)(settings, dtype, axis_name)


def first_conv(backbone: nn.Module) -> str | None:
    """Name of the conv that reads the image; None for a user's own module."""
    if isinstance(backbone, ResNet):
        return "stem_conv"
    return "conv1_1" if isinstance(backbone, VGG) else None


def build_light(
    light: BackboneSettings,
    backbone: BackboneSettings,
    *,
    dtype=jnp.float32,
    axis_name: str | None = None,
) -> nn.Module:
    """The light branch: as ``light`` says, or with an empty name the backbone made narrower.

    It is the backbone's family then, whatever layers of the backbone differ from that.
    """
    if not light.name:
        width = backbone.width * light.width
        light = dataclasses.replace(backbone, width=width, widths=light.widths, ranks=light.ranks)
    return build_backbone(light, dtype=dtype, axis_name=axis_name)
