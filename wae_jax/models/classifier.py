"""One classifier = front end + backbone + light branch + heads."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.config import HeadSettings, ModelSettings
from wae_jax.errors import UserError
from wae_jax.models.backbones import Adapted, build_backbone, build_light, first_conv
from wae_jax.models.frontends import SINGLE, SUB_IMAGE_CHANNELS, SubImages, build_frontend
from wae_jax.models.heads import FCHead, PoolHead
from wae_jax.models.outputs import Outputs

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Classifier(nn.Module):
    """An image classifier that reads sub-images.

    Images are RGB in 0..255, uint8 or float, (B, H, W, 3). They are put into ``channel_order``
    and normalised by ``mean`` and ``std`` (in that order, on the same 0..255 scale) here, so that
    whoever calls the model need not know its input convention.
    """

    frontend: nn.Module
    backbone: nn.Module
    light: nn.Module | None
    head_low: nn.Module
    head_fused: nn.Module | None
    fusion: str = "late"
    channel_order: str = "RGB"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    dtype: jnp.dtype = jnp.float32

    def normalise(self, images: jax.Array) -> jax.Array:
        """RGB 0..255 (B, H, W, 3) -> the model's units and channel order, in its dtype."""
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images must be (B, H, W, 3), not {images.shape}")
        if self.channel_order == "BGR":
            images = images[..., ::-1]
        scale = 1.0 / jnp.asarray(self.std, jnp.float32)
        shift = -jnp.asarray(self.mean, jnp.float32) * scale
        return (images.astype(jnp.float32) * scale + shift).astype(self.dtype)

    def denormalise(self, images: jax.Array) -> jax.Array:
        """Inverse of :meth:`normalise`: RGB 0..255 in float32, not clipped."""
        images = images.astype(jnp.float32) * jnp.asarray(self.std) + jnp.asarray(self.mean)
        return images[..., ::-1] if self.channel_order == "BGR" else images

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool = False,
        classify: bool = True,
        reconstruct: bool = False,
        without_high: bool = False,
    ) -> Outputs:
        """Runs the parts asked for.

        Args:
            images: RGB in 0..255, uint8 or float, (B, H, W, 3).
            train: batch norms use and update batch statistics, dropout is active.
            classify: compute scores.
            reconstruct: run the decoder, where the front end has one.
            without_high: compute the scores without I_H too, where there is one. In its place is
                zero, its mean: exactly after a norm, nearly for wavelets and where the loss keeps
                its energy low.
        """
        images = self.normalise(images)
        sub_images = self.frontend.analyze(images, train=train)
        outputs = Outputs(images=images, sub_images=sub_images)
        inputs = self.frontend.prepare(sub_images, train=train)
        if classify:
            outputs = self._classify(inputs, outputs, train=train, without_high=without_high)
        if reconstruct and self.frontend.can_synthesize:
            outputs = outputs.replace(
                reconstruction=self.frontend.synthesize(sub_images, images.shape[1:3])
            )
        return outputs

    @nn.nowrap
    def _classify(
        self, inputs: SubImages, outputs: Outputs, *, train: bool, without_high: bool
    ) -> Outputs:
        if self.fusion == "early":
            return self._classify_early(inputs, outputs, train=train, without_high=without_high)
        low = self.backbone(inputs.low, train=train)
        outputs = outputs.replace(low_features=low.mean(axis=(1, 2), dtype=jnp.float32))
        low_scores = self.head_low([low], train=train)
        if inputs.high is None:
            return outputs.replace(scores=low_scores, low_scores=low_scores)
        assert self.light is not None and self.head_fused is not None  # as two sub-images need
        high = self.light(inputs.high, train=train)
        fused_scores = self.head_fused([low, high], train=train)
        if without_high:
            # The same for every image: the light branch runs once more for one.
            blank = jnp.zeros((1, *inputs.high.shape[1:]), inputs.high.dtype)
            nothing = jnp.broadcast_to(self.light(blank, train=train), high.shape)
            outputs = outputs.replace(
                scores_without_high=low_scores + self.head_fused([low, nothing], train=train)
            )
        return outputs.replace(
            scores=low_scores + fused_scores, low_scores=low_scores, fused_scores=fused_scores
        )

    @nn.nowrap
    def _classify_early(
        self, inputs: SubImages, outputs: Outputs, *, train: bool, without_high: bool
    ) -> Outputs:
        assert inputs.high is not None  # as build_model checks

        def branch(high):
            features = self.backbone(jnp.concatenate([inputs.low, high], -1), train=train)
            return features, self.head_low([features], train=train)

        features, scores = branch(inputs.high)
        if without_high:
            outputs = outputs.replace(scores_without_high=branch(jnp.zeros_like(inputs.high))[1])
        low_features = features.mean(axis=(1, 2), dtype=jnp.float32)
        return outputs.replace(scores=scores, low_scores=scores, low_features=low_features)


def _head(settings: HeadSettings, hidden: tuple[int, ...], num_classes: int, dtype, axis_name):
    shared = {
        "num_classes": num_classes,
        "dropout": settings.dropout,
        "dtype": dtype,
        "axis_name": axis_name,
    }
    return FCHead(hidden=hidden, **shared) if settings.kind == "fc" else PoolHead(**shared)


def build_model(
    settings: ModelSettings, *, num_classes: int, image_size: int, axis_name: str | None = None
) -> Classifier:
    """The classifier that ``settings`` describe, checked against the image size.

    Args:
        settings: the config's ``model``.
        num_classes: of the scores.
        image_size: side of the images in pixels.
        axis_name: the device axis, only for training under ``jax.pmap``.

    Raises:
        UserError: an unknown name or option, or an image size that the network cannot take.
    """
    dtype = DTYPES[settings.dtype]
    shared = {"dtype": dtype, "axis_name": axis_name}
    head = settings.head
    frontend = build_frontend(settings.frontend, **shared)
    backbone = build_backbone(settings.backbone, **shared)
    single = settings.frontend.name in SINGLE
    if single and settings.fusion == "early":
        raise UserError(
            f"config.model.fusion=early needs a front end with two sub-images, and "
            f"{settings.frontend.name} makes one"
        )
    if single or settings.fusion == "early":
        light = head_fused = None
        head_low = _head(head, head.hidden_single, num_classes, **shared)
    else:
        light = build_light(settings.light, settings.backbone, **shared)
        head_low = _head(head, head.hidden_low, num_classes, **shared)
        head_fused = _head(head, head.hidden_fused, num_classes, **shared)
    model = Classifier(
        frontend=frontend,
        backbone=backbone,
        light=light,
        head_low=head_low,
        head_fused=head_fused,
        fusion=settings.fusion,
        channel_order=settings.input.channel_order,
        mean=settings.input.mean,
        std=settings.input.std,
        dtype=dtype,
    )
    check_image_size(model, image_size)
    return model


def rematerialised(model: Classifier) -> Classifier:
    """A model with the same variables whose trunks keep less for the gradients, and recompute it.

    It is for training alone: what reads a model's program (export, MACs) wants the plain one.

    Raises:
        UserError: a trunk is a user's own module.
    """
    trunks = [model.backbone, model.light]
    for trunk in trunks:
        if isinstance(trunk, Adapted):
            raise UserError(
                f"rematerialise knows no blocks of {type(trunk.module).__name__}; use flax's "
                "nn.remat in it, on the blocks that are to be computed again"
            )
    backbone, light = (trunk and trunk.clone(rematerialise=True) for trunk in trunks)
    return model.clone(backbone=backbone, light=light)


def run(
    model: Classifier,
    variables: Any,
    images: jax.Array | np.ndarray,
    *,
    classify: bool = True,
    reconstruct: bool = False,
    without_high: bool = False,
) -> Outputs:
    """What a model makes of images as in evaluation: ``model.apply``, whose type says more.

    Args:
        model: the classifier, in its training or its inference form.
        variables: its variables.
        images: RGB 0..255 (B, H, W, 3).
        classify: compute scores.
        reconstruct: run the decoder, where the front end has one.
        without_high: compute the scores without I_H too, where there is one.

    Returns:
        The outputs.
    """
    outputs = model.apply(
        variables,
        images,
        train=False,
        classify=classify,
        reconstruct=reconstruct,
        without_high=without_high,
    )
    return cast(Outputs, outputs)


def scores_of(model: Classifier, variables: Any, images: jax.Array | np.ndarray) -> jax.Array:
    """The scores (B, num_classes) of images (B, H, W, 3) in RGB 0..255, as in evaluation."""
    scores = run(model, variables, images).scores
    assert scores is not None  # as whenever it classifies
    return scores


def variable_shapes(model: Classifier, image_size: int):
    """Shapes of all variables, the decoder's included, without computing anything."""
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.uint8)
    return jax.eval_shape(lambda x: init_variables(model, x, seed=0), images)


def init_variables(model: Classifier, images: jax.Array, *, seed: int):
    """Fresh variables ``{"params": ..., "batch_stats": ...}`` from a seed and example images.

    With early fusion a registered backbone does not read I_H at first: those weights are zero.
    """
    variables = model.init(jax.random.key(seed), images, train=False, reconstruct=True)
    params, first = variables["params"], first_conv(model.backbone)
    if model.fusion == "early" and first:
        conv = params["backbone"][first]
        blind = {**conv, "kernel": conv["kernel"].at[:, :, SUB_IMAGE_CHANNELS:].set(0.0)}
        params = {**params, "backbone": {**params["backbone"], first: blind}}
    return {"params": params, "batch_stats": variables.get("batch_stats", {})}


def check_image_size(model: Classifier, image_size: int) -> None:
    """Raises UserError where the network cannot take images of this size."""
    try:
        shapes = variable_shapes(model, image_size)
    except UserError:
        raise
    except Exception as error:  # a user's own module may raise anything
        kind, reason = type(error).__name__, (str(error).splitlines() or [""])[0]
        own = [part.module for part in (model.backbone, model.light) if isinstance(part, Adapted)]
        whose = f" in {type(own[0]).__module__}:{type(own[0]).__name__}" if own else ""
        raise UserError(
            f"the network cannot take images of {image_size} x {image_size}: {kind}{whose}: "
            f"{reason} (WAE_JAX_TRACEBACK=1 shows where)"
        ) from error
    if any(0 in leaf.shape for leaf in jax.tree.leaves(shapes)):
        raise UserError(
            f"the network cannot take images of {image_size} x {image_size}: nothing "
            "is left of them before the head; take a larger config.data.image_size"
        )
