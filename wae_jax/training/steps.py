"""Pure train steps; :mod:`wae_jax.runtime.devices` says where they run."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from wae_jax.checkpoints.state import TEACHER_MAP, TrainState
from wae_jax.config import DistillSettings, LossSettings, StageSettings
from wae_jax.evaluation import metrics
from wae_jax.models.classifier import Classifier, rematerialised
from wae_jax.models.outputs import Outputs
from wae_jax.training import average, frozen, losses
from wae_jax.training.distill import Lesson, teach


def stage_loss(
    outputs: Outputs,
    batch,
    stage: StageSettings,
    settings: LossSettings,
    distill: DistillSettings | None = None,
    lesson: Lesson | None = None,
    teacher_map: Mapping[str, jax.Array] | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The stage's loss and its parts: L_t, L_c or L = L_c + gamma * L_t (paper, "Training").

    Without classification gamma is left out, as the paper's first stage minimises L_t itself.
    batch: its "label" (B,), and of mixed images "other_label" and "label_weight" (B,). "top1" is
    of "label".
    With a teacher's ``lesson`` L_c is (1 - weight) * cross-entropy + weight * distillation, on the
    sum of the branches' scores, + feature_weight * the loss of the low branch's pooled features,
    through ``teacher_map`` where there is one; the auxiliary losses of the branches stay as they
    are.
    """
    parts, loss = {}, jnp.zeros(())
    if stage.classification:
        entropy = functools.partial(
            losses.cross_entropy,
            labels=batch["label"],
            label_smoothing=settings.label_smoothing,
            other_labels=batch.get("other_label"),
            label_weights=batch.get("label_weight"),
        )
        parts["classification"] = entropy(outputs.scores)
        if lesson is None:
            loss += parts["classification"]
        else:
            parts |= _lesson_losses(outputs, lesson, distill, teacher_map)
            loss += distill.weight * parts["distillation"]
            if distill.weight < 1.0:  # zero times an infinite loss would be no number
                loss += (1.0 - distill.weight) * parts["classification"]
            if "features" in parts:
                loss += distill.feature_weight * parts["features"]
        if outputs.fused_scores is not None:
            for weight, scores in (
                (settings.auxiliary_low, outputs.low_scores),
                (settings.auxiliary_fused, outputs.fused_scores),
            ):
                if weight:
                    loss += weight * entropy(scores)
        parts["top1"] = jnp.mean(metrics.rank_of_label(outputs.scores, batch["label"]) < 1)
    if stage.transform and outputs.reconstruction is not None:
        reduction = settings.reduction
        parts["reconstruction"] = losses.reconstruction_loss(
            outputs.images, outputs.reconstruction, reduction
        )
        parts["energy"] = losses.energy_loss(outputs.sub_images.high, reduction)
        transform = parts["reconstruction"] + settings.energy_weight * parts["energy"]
        if settings.low_weight:
            parts["low"] = losses.low_loss(outputs.images, outputs.sub_images.low, reduction)
            transform += settings.low_weight * parts["low"]
        loss += (settings.gamma if stage.classification else 1.0) * transform
    parts["loss"] = loss
    return loss, parts


def _lesson_losses(
    outputs: Outputs,
    lesson: Lesson,
    distill: DistillSettings,
    teacher_map: Mapping[str, jax.Array] | None,
) -> dict[str, jax.Array]:
    """How far the network is from its teacher, in scores and in features."""
    parts = {
        "distillation": losses.distillation_loss(outputs.scores, lesson.scores, distill.temperature)
    }
    if lesson.features is not None:
        features = outputs.low_features
        if teacher_map is not None:
            features = features @ teacher_map["kernel"] + teacher_map["bias"]
        parts["features"] = losses.feature_loss(features, lesson.features, lesson.variance)
    return parts


def make_train_step(
    model: Classifier,
    stage: StageSettings,
    loss_settings: LossSettings,
    optimizer: optax.GradientTransformation,
    labels: Mapping[str, Any],
    *,
    seed: int,
    ema_decay: float = 0.0,
    teacher: Classifier | None = None,
    distill: DistillSettings | None = None,
    skip_bad: bool = False,
) -> Callable:
    """``step(state, batch, teacher_variables=None, *, axis_name=None) -> (state, metrics)``; pure.

    batch: "image" (B, H, W, 3) uint8 or float 0..255, "label" (B,) int32; of mixed images, what
    :func:`stage_loss` needs. Under ``jax.pmap`` pass its axis name, and a model made with the same;
    B is then the device's share.
    Metrics are float32 scalars of the whole batch before the update.
    labels: what trains, as :func:`wae_jax.training.stages.stage_labels` says; frozen norms run
    as in evaluation, and their statistics stay, unless the stage moves all ``statistics``.
    teacher: a trained network to distil from, as ``distill`` says, run as in evaluation on the
    same images; the step then needs its variables.
    skip_bad: a step whose loss or gradient is no finite number changes nothing but the count of
    steps; its metrics are zeros, and "skipped" is 1.
    """
    rng = jax.random.key(seed)
    norms = frozen.of_norms(labels, stage.statistics)
    if stage.rematerialise:
        model = rematerialised(model)

    def gradients(state: TrainState, batch_stats, batch, dropout, teacher_variables, axis_name):
        """Of a batch or a part of it: gradients, metrics, and the batch statistics after it."""
        lesson = None
        if teacher is not None and stage.classification:
            lesson = teach(
                teacher,
                teacher_variables,
                batch["image"],
                features=distill.feature_weight > 0,
                axis_name=axis_name,
            )

        def loss_fn(params):
            with frozen.as_in_evaluation(norms):
                outputs, updated = model.apply(
                    {"params": params, "batch_stats": batch_stats},
                    batch["image"],
                    train=True,
                    classify=stage.classification,
                    reconstruct=stage.transform,
                    mutable=["batch_stats"],
                    rngs={"dropout": dropout},
                )
            teacher_map = params.get(TEACHER_MAP)
            loss, parts = stage_loss(
                outputs, batch, stage, loss_settings, distill, lesson, teacher_map
            )
            return loss, (parts, updated.get("batch_stats", {}))

        grads, (parts, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
        return grads, parts, batch_stats

    def train_step(
        state: TrainState, batch, teacher_variables=None, *, axis_name: str | None = None
    ):
        def part(batch_stats, batch, dropout):
            return gradients(state, batch_stats, batch, dropout, teacher_variables, axis_name)

        dropout = jax.random.fold_in(rng, state.step)
        if stage.accumulate == 1:
            grads, parts, batch_stats = part(state.batch_stats, batch, dropout)
        else:
            grads, parts, batch_stats = _accumulate(part, state, batch, dropout, stage.accumulate)
        if axis_name is not None:
            grads, parts = jax.lax.pmean((grads, parts), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # Adding a zero update would turn -0.0 into 0.0.
        params = frozen.keep_parameters(labels, state.params, params)
        batch_stats = frozen.keep_statistics(norms, state.batch_stats, batch_stats)
        new = TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=average.advance(state.ema, params, batch_stats, labels, ema_decay),
        )
        return _unless_bad(state, new, grads, parts) if skip_bad else (new, parts)

    return train_step


def _accumulate(part: Callable, state: TrainState, batch, dropout, count: int):
    """Means of the gradients and metrics of ``count`` parts of a batch, one after the other.

    Every ``count``-th example makes a part, so that each device's share stays on the device.
    Batch statistics go through the parts in turn.
    """
    batches = jax.tree.map(
        lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1),
        batch,
    )

    def add(carry, turn):
        total, batch_stats = carry
        number, batch = turn
        grads, parts, batch_stats = part(batch_stats, batch, jax.random.fold_in(dropout, number))
        return (jax.tree.map(jnp.add, total, grads), batch_stats), parts

    start = jax.tree.map(jnp.zeros_like, state.params), state.batch_stats
    (total, batch_stats), parts = jax.lax.scan(add, start, (jnp.arange(count), batches))
    return (
        jax.tree.map(lambda x: x / count, total),
        jax.tree.map(lambda x: x.mean(0), parts),
        batch_stats,
    )


def _unless_bad(state: TrainState, new: TrainState, grads, parts: dict[str, jax.Array]):
    """``new`` and the step's metrics, or ``state`` at the next step where one is no number."""
    numbers = [parts["loss"], *jax.tree.leaves(grads)]
    good = jnp.all(jnp.stack([jnp.isfinite(x).all() for x in numbers]))

    def choose(one, other):
        return jnp.where(good, one, other)

    kept = jax.tree.map(choose, new, state.replace(step=new.step))
    parts = {name: choose(value, jnp.zeros_like(value)) for name, value in parts.items()}
    return kept, parts | {"skipped": 1.0 - good.astype(jnp.float32)}
