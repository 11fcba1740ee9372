"""Pure train and evaluation steps; :mod:`wae_jax.parallel` says where they run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from wae_jax import losses, metrics
from wae_jax.model import Classifier, Outputs
from wae_jax.settings import LossSettings, StageSettings, choose
from wae_jax.state import TrainState


def stage_loss(outputs: Outputs, labels: jax.Array, stage: StageSettings,
               settings: LossSettings) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The stage's loss and its parts: L_t, L_c or L = L_c + gamma * L_t (paper, "Training").

    Without classification gamma is left out, as the paper's first stage minimises L_t itself.
    """
    parts, loss = {}, jnp.zeros(())
    if stage.classification:
        smoothing = settings.label_smoothing
        parts["classification"] = losses.cross_entropy(outputs.scores, labels, smoothing)
        loss += parts["classification"]
        if outputs.fused_scores is not None:
            for weight, scores in ((settings.auxiliary_low, outputs.low_scores),
                                   (settings.auxiliary_fused, outputs.fused_scores)):
                if weight:
                    loss += weight * losses.cross_entropy(scores, labels, smoothing)
        parts["top1"] = jnp.mean(metrics.rank_of_label(outputs.scores, labels) < 1)
    if stage.transform and outputs.reconstruction is not None:
        reduction = settings.reduction
        parts["reconstruction"] = losses.reconstruction_loss(outputs.images,
                                                             outputs.reconstruction, reduction)
        parts["energy"] = losses.energy_loss(outputs.sub_images.high, reduction)
        transform = parts["reconstruction"] + settings.energy_weight * parts["energy"]
        loss += (settings.gamma if stage.classification else 1.0) * transform
    parts["loss"] = loss
    return loss, parts


def make_train_step(model: Classifier, stage: StageSettings, loss_settings: LossSettings,
                    optimizer: optax.GradientTransformation, *, trains_frontend: bool, seed: int,
                    ema_decay: float = 0.0) -> Callable:
    """``step(state, batch, *, axis_name=None) -> (state, metrics)``, a pure function.

    batch: "image" (B, H, W, 3) uint8 or float 0..255, "label" (B,) int32. Under ``jax.pmap`` pass
    its axis name, and a model made with the same; B is then the device's share.
    Metrics are float32 scalars of the whole batch before the update.
    Without ``trains_frontend`` the front end runs as in evaluation: its statistics stay.
    """
    choose("losses.reduction", loss_settings.reduction, ("caffe", "mean"))
    rng = jax.random.key(seed)

    def train_step(state: TrainState, batch, *, axis_name: str | None = None):
        def loss_fn(params):
            outputs, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats}, batch["image"], train=True,
                train_frontend=trains_frontend, classify=stage.classification,
                reconstruct=stage.transform, mutable=["batch_stats"],
                rngs={"dropout": jax.random.fold_in(rng, state.step)})
            loss, parts = stage_loss(outputs, batch["label"], stage, loss_settings)
            return loss, (parts, updated.get("batch_stats", {}))

        grads, (parts, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
        if axis_name is not None:
            grads, parts = jax.lax.pmean((grads, parts), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None:
            ema_params = optax.incremental_update(params, ema_params, 1.0 - ema_decay)
        return TrainState(step=state.step + 1, params=params, batch_stats=batch_stats,
                          opt_state=opt_state, ema_params=ema_params), parts

    return train_step


def make_eval_step(model: Classifier) -> Callable:
    """``step(variables, batch) -> sums`` (see :func:`wae_jax.metrics.image_sums`)."""

    def eval_step(variables, batch):
        outputs = model.apply(variables, batch["image"], train=False, reconstruct=True)
        return metrics.image_sums(outputs, batch, model.denormalise)

    return eval_step
