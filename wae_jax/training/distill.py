"""The trained network that another one learns from (Hinton, Vinyals and Dean, 2015)."""

import dataclasses
from typing import Any

from wae_jax.checkpoints import folders, manifest
from wae_jax.checkpoints.load import load_step
from wae_jax.config import Settings
from wae_jax.data import SourceInfo, check_same_classes
from wae_jax.errors import UserError
from wae_jax.evaluation.classes import classes_of
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained classifier in its inference form.

    path: where its checkpoint is. identity: step and hash of that checkpoint, which a run that
    goes on must find again.
    """

    model: Classifier
    variables: Any
    path: str
    identity: dict[str, str]


def load_teacher(settings: Settings, info: SourceInfo) -> Teacher | None:
    """The teacher that ``settings.distill`` names, checked against the student's data; or None.

    Raises:
        UserError: no stage that would use the teacher, no usable checkpoint, or one of other
            classes or for images of another size.
    """
    distill = settings.distill
    if not distill.teacher:
        return None
    if not any(stage.classification for stage in dict(settings.running_stages).values()):
        raise UserError(
            "config.distill.teacher is set, but no stage of config.run_stages has a "
            "classification loss"
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
    model, variables = for_inference(model, variables)
    return Teacher(
        model,
        variables,
        str(folder),
        {"step": str(meta["step"]), "sha256": manifest.fingerprint(folder)},
    )


def check_same_teacher(kept: dict[str, str] | None, teacher: Teacher | None) -> None:
    """Raises UserError where a run that goes on had another teacher until now."""
    if teacher is not None and kept != teacher.identity:
        raise UserError(
            f"this run was taught by the checkpoint of step {kept['step']} until now, "
            f"and the newest of config.distill.teacher is {teacher.path}, which is "
            "another one; give back the old one, or start in another --workdir"
        )
