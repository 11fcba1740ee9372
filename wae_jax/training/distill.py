"""The trained network that another one learns from (Hinton, Vinyals and Dean, 2015)."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wae_jax.checkpoints import folders, manifest
from wae_jax.checkpoints.load import load_step
from wae_jax.checkpoints.state import TEACHER_MAP
from wae_jax.config import Settings, settings_from_config
from wae_jax.data import SourceInfo, check_same_classes
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.inference.fold import for_inference
from wae_jax.inference.layout import lay_out
from wae_jax.models.classifier import Classifier, build_model, run

# Of features that are all the same: no division by zero.
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained classifier in its inference form.

    path: where its checkpoint is. identity: step and hash of that checkpoint, which a run that
    goes on must find again. image_size: side of its images.
    """

    model: Classifier
    variables: Any
    path: str
    identity: dict[str, str]
    image_size: int

    def laid_out(self, batch_size: int, platform: str):
        """Its variables, laid out for batches of one size (of one device, on ``platform``)."""
        batch_shape = (batch_size, self.image_size, self.image_size, 3)
        return lay_out(self.model, self.variables, batch_shape, platform)


class Lesson(NamedTuple):
    """What a teacher makes of a batch.

    scores: (B, num_classes). features: its pooled features (B, C), where they are asked for.
    variance: theirs over the whole batch, the mean of all channels'; a scalar.
    """

    scores: jax.Array
    features: jax.Array | None = None
    variance: jax.Array | None = None


def teach(
    teacher: Classifier, variables, images, *, features: bool, axis_name: str | None = None
) -> Lesson:
    """The teacher's lesson on images (B, H, W, 3), run as in evaluation.

    Args:
        teacher: in its inference form.
        variables: its variables.
        images: RGB in 0..255.
        features: whether its features are asked for.
        axis_name: under ``jax.pmap``, where B is the device's share, the axis of devices.
    """
    outputs = run(teacher, variables, images)
    if not features:
        return Lesson(outputs.scores)

    def mean(x, axis=None):
        share = jnp.mean(x, axis)
        return share if axis_name is None else jax.lax.pmean(share, axis_name)

    found = outputs.low_features
    variance = mean(jnp.square(found - mean(found, axis=0)))
    return Lesson(outputs.scores, found, jnp.maximum(variance, _TINY))


def with_teacher_map(variables, model: Classifier, teacher: Teacher | None, settings: Settings):
    """``variables`` of ``model`` with a linear map from its features to its teacher's.

    Only where features are learnt and their sizes differ; it is random at first, as
    ``settings.seed`` says.
    """
    if teacher is None or not settings.distill.feature_weight:
        return variables
    ours = _feature_size(model, variables, teacher.image_size)
    theirs = _feature_size(teacher.model, teacher.variables, teacher.image_size)
    if ours == theirs:
        return variables
    key = jax.random.fold_in(jax.random.key(settings.seed), 1)
    linear = {
        "kernel": jax.nn.initializers.lecun_normal()(key, (ours, theirs), jnp.float32),
        "bias": jnp.zeros(theirs),
    }
    return {**variables, "params": {**variables["params"], TEACHER_MAP: linear}}


def _feature_size(model: Classifier, variables, image_size: int) -> int:
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.uint8)
    return jax.eval_shape(lambda v, x: run(model, v, x).low_features, variables, images).shape[-1]


def load_teacher(settings: Settings, info: SourceInfo) -> Teacher | None:
    """The teacher that ``settings.distill`` names, checked against the student's data; or None.

    Raises:
        UserError: no stage that would use the teacher, batches too small for its features, no
            usable checkpoint, or one of other classes or for images of another size.
    """
    distill = settings.distill
    if not distill.teacher:
        return None
    taught = [(name, stage) for name, stage in settings.running_stages if stage.classification]
    if not taught:
        raise UserError(
            "config.distill.teacher is set, but no stage of config.run_stages has a "
            "classification loss"
        )
    for name, stage in taught:
        if distill.feature_weight and stage.batch_size == 1:
            raise UserError(
                f"config.stages.{name}.batch_size is 1; config.distill.feature_weight needs more, "
                "as it weighs features by their variance over the batch"
            )
    folder = folders.find(distill.teacher)
    model, variables, meta = load_step(folder)
    where = f"the teacher {folder}"
    check_same_classes(info.classes, classes_of(meta, where))
    size = meta["config"]["data"]["image_size"]
    if size != settings.data.image_size:
        raise UserError(
            f"{where} reads images of {size} x {size}, and config.data.image_size is "
            f"{settings.data.image_size}; both must see the same images"
        )
    if distill.dtype:
        own = settings_from_config(meta["config"]).model
        model = build_model(
            dataclasses.replace(own, dtype=distill.dtype),
            num_classes=meta["num_classes"],
            image_size=size,
        )
    model, variables = for_inference(model, variables)
    return Teacher(
        model,
        variables,
        str(folder),
        {"step": str(meta["step"]), "sha256": manifest.fingerprint(folder)},
        size,
    )


def check_same_teacher(kept: dict[str, str] | None, teacher: Teacher | None) -> None:
    """Raises UserError where a run that goes on had another teacher until now."""
    if teacher is not None and kept != teacher.identity:
        raise UserError(
            f"this run was taught by the checkpoint of step {kept['step']} until now, "
            f"and the newest of config.distill.teacher is {teacher.path}, which is "
            "another one; give back the old one, or start in another --workdir"
        )
