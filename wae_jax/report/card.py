"""The model card of a run: what it takes, what it is, how it was made, and where it ends."""

from collections.abc import Iterator
from typing import Any

from wae_jax.checkpoints import manifest
from wae_jax.config import ModelSettings, Settings, StageSettings
from wae_jax.models.frontends import SINGLE
from wae_jax.report.classes import Classes
from wae_jax.report.costs import Costs
from wae_jax.report.files import RunFiles

# A term and what it says: one paragraph or several.
Entry = tuple[str, list[str]]


def make_card(run: RunFiles, costs: Costs | None, classes: Classes | None) -> list[Entry]:
    """The card's entries.

    Args:
        run: What there is of it.
        costs: Of its inference form, where known.
        classes: Of its evaluation, where known.
    """
    settings = run.settings
    card = [
        ("Network", [_network(settings.model)]),
        ("Input", [_input(settings)]),
        ("Preprocessing", [_preprocessing(settings)]),
    ]
    if run.meta:
        card.append(("Output", [_output(run.meta)]))
    if costs:
        size = f"{costs.macs:,} MACs an image, {costs.params:,} parameters"
        card.append(("Cost", [f"{size} (inference form, without decoder)."]))
    origin = run.meta["origin"] if run.meta else None
    card.append(
        ("Recipe", [f"Trained elsewhere: {origin}."] if origin else list(_recipe(settings)))
    )
    card.append(("Data", [_data(run)]))
    if run.step and run.meta:
        card.append(("Checkpoint", [_checkpoint(run)]))
    card.append(("Limits", list(_limits(run, classes))))
    return card


def _network(model: ModelSettings) -> str:
    backbone = f"{model.backbone.name} {model.backbone.plan}".strip()
    if model.backbone.width != 1:
        backbone += f", width {model.backbone.width:g}"
    frontend = model.frontend
    if frontend.name == "identity":
        before = "at full resolution"
    elif frontend.name == "downsample":
        side = f"{frontend.size} pixels" if frontend.size else f"1/{2**frontend.levels} of the side"
        before = f"on images resized to {side}"
    else:
        kind = {"wae": f"a {frontend.encoder} auto-encoder", "wavelet": f"{frontend.wavelet} bands"}
        before = f"behind {kind.get(frontend.name, frontend.name)}"
    if frontend.name not in SINGLE:
        early = "its first conv reads I_H beside I_L", "a light branch reads I_H"
        before += f" ({early[model.fusion != 'early']})"
    return f"{backbone} {before}, {model.dtype}."


def _input(settings: Settings) -> str:
    size, given = settings.data.image_size, settings.model.input
    mean, std = (", ".join(f"{x:g}" for x in each) for each in (given.mean, given.std))
    return (
        f"RGB images of {size} x {size} pixels, values 0..255. The network itself subtracts {mean} "
        f"and divides by {std} ({given.channel_order})."
    )


def _preprocessing(settings: Settings) -> str:
    size = settings.data.image_size
    photos = (
        f"the shorter side is resized to {round(size * 256 / 224)} pixels (bilinear, antialiased), "
        f"then the centre {size} x {size} is cut out"
    )
    if settings.data.augmentation == "small":
        return f"None for images of {size} x {size}. Of others {photos}."
    return f"{photos[0].upper()}{photos[1:]}."


def _output(meta: dict[str, Any]) -> str:
    names = meta["class_names"]
    more = ", ..." if len(names) > 10 else "."
    shown = f": {', '.join(names[:10])}{more}" if names else "."
    return f"Scores of {meta['num_classes']} classes{shown}"


def _recipe(settings: Settings) -> Iterator[str]:
    for name, stage in settings.running_stages:
        yield f"{name}: {_stage(stage)}"
    losses = settings.losses
    if any(stage.transform for _, stage in settings.running_stages):
        low = f" + {losses.low_weight:g} l_l" * bool(losses.low_weight)
        yield f"Loss: L_c + {losses.gamma:g} (l_r + {losses.energy_weight:g} l_e{low})."
    if settings.init.pretrained:
        yield f"Began from {settings.init.pretrained}."
    if settings.restore:
        yield f"Began as {settings.restore}."
    if settings.distill.teacher:
        distill = settings.distill
        yield (
            f"Taught by {distill.teacher} (weight {distill.weight:g}, temperature "
            f"{distill.temperature:g})."
        )


def _stage(stage: StageSettings) -> str:
    length = f"{stage.steps:,} steps" if stage.steps else f"{stage.epochs:g} epochs"
    parts = [
        f"{length} of batches of {stage.batch_size}",
        f"{stage.optimizer} at {stage.peak_rate:g}, {stage.schedule}",
        f"weight decay {stage.weight_decay:g}",
    ]
    if stage.trains != ".*":
        parts.append(f"trains {stage.trains}")
    if not stage.classification:
        parts.append("transform loss alone")
    return f"{', '.join(parts)}."


def _data(run: RunFiles) -> str:
    d = run.settings.data
    if run.meta and run.meta["origin"]:
        return f"Evaluated on {d.eval_split} of {d.name}; what it was trained on is not known here."
    position = run.meta["data"] if run.meta else None
    count = position.get("num_examples") if position else None
    size = f" ({count:,} images)" if count else ""
    return f"{d.name}: trained on {d.train_split}{size}, evaluated on {d.eval_split}."


def _checkpoint(run: RunFiles) -> str:
    assert run.step is not None and run.meta is not None  # as the caller checks
    return f"Step {run.meta['step']:,}; sha256 {manifest.fingerprint(run.step)}."


def _limits(run: RunFiles, classes: Classes | None) -> Iterator[str]:
    if classes is None:
        yield "Its accuracy was not measured for this report."
    else:
        yield (
            f"Its accuracy is known for {run.settings.data.eval_split} of {run.settings.data.name} "
            f"alone ({classes.count:,} images of {classes.classes} classes): one training run, one "
            "draw of images. Other cameras, crops or frequencies of classes will change it."
        )
        if classes.hardest:
            worst = classes.hardest[0]
            yield (
                f"It is least to be trusted on {worst.name}: {100 * worst.accuracy:.1f} % of "
                f"{worst.count:,} images are right."
            )
    yield (
        "It names one of its classes for every image, also where none fits, and its probabilities "
        "are not calibrated. Orientation tags of photos (EXIF) are ignored."
    )
