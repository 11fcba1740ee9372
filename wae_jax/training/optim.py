"""Learning-rate schedules and optimisers of a stage."""

import jax
import optax

from wae_jax.training.stages import Stage


def make_schedule(stage: Stage) -> optax.Schedule:
    """Step within the stage -> learning rate.

    Linear warm-up over ``warmup_epochs``, then "constant"; "step" (times ``step_factor`` every
    ``step_epochs``); "cosine" or "linear" down to ``final_fraction`` of the peak at the last step.
    The peak is the settings' ``peak_rate``.
    """
    s, peak = stage.settings, stage.settings.peak_rate
    warmup = min(round(s.warmup_epochs * stage.steps_per_epoch), stage.steps - 1)
    rest = stage.steps - warmup
    if s.schedule == "step":
        every = max(1, round(s.step_epochs * stage.steps_per_epoch))
        # Boundaries count from the stage's start, this schedule's clock from the warm-up's end.
        boundaries = {
            b - warmup: s.step_factor for b in range(every, stage.steps, every) if b > warmup
        }
        main = optax.piecewise_constant_schedule(peak, boundaries)
    elif s.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, rest, alpha=s.final_fraction)
    elif s.schedule == "linear":
        main = optax.linear_schedule(peak, peak * s.final_fraction, rest)
    else:
        main = optax.constant_schedule(peak)
    if warmup == 0:
        return main
    # The first step must not have rate 0, or it would be lost.
    first = peak / (warmup + 1)
    ramp = optax.linear_schedule(first, peak, warmup)
    return optax.join_schedules([ramp, main], [warmup])


def make_optimizer(stage: Stage, labels) -> optax.GradientTransformation:
    """The stage's optimiser; parameters labelled "freeze" get no update at all.

    labels: as :func:`wae_jax.training.stages.trainable_labels` returns them.

    Weight decay is part of the gradient (Caffe, PyTorch) for "sgd" and "adam", decoupled for
    "adamw"; biases and norm scales are left out unless ``decay_biases``. Clipping is by the global
    norm of the trained parameters' gradients. The front end's updates, decay included, are
    multiplied by ``frontend_rate``.
    """
    s = stage.settings
    schedule = make_schedule(stage)
    mask = None if s.decay_biases else _matrices
    if s.optimizer == "sgd":
        rule = optax.sgd(schedule, momentum=s.momentum or None, nesterov=s.nesterov)
    elif s.optimizer == "adam":
        rule = optax.adam(schedule)
    else:
        rule = optax.adamw(schedule, weight_decay=s.weight_decay, mask=mask)
    parts = [optax.clip_by_global_norm(s.clip_norm)] if s.clip_norm else []
    if s.weight_decay and s.optimizer != "adamw":
        parts.append(optax.add_decayed_weights(s.weight_decay, mask))
    scale = [_scale_frontend(s.frontend_rate)] if s.frontend_rate != 1 else []
    # set_to_zero rather than zero gradients: weight decay would move weights with zero gradient.
    rules = {"train": optax.chain(*parts, rule, *scale), "freeze": optax.set_to_zero()}
    return optax.multi_transform(rules, labels)


def _scale_frontend(factor: float) -> optax.GradientTransformation:
    def scale(updates, params):
        del params
        return jax.tree.map_with_path(
            lambda path, update: factor * update if path[0].key == "frontend" else update, updates
        )

    return optax.stateless(scale)


def _matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)
