"""Imported networks as checkpoints, and as the start of a training."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from wae_jax.checkpoints import folders, store
from wae_jax.checkpoints.load import load_step
from wae_jax.checkpoints.state import new_state
from wae_jax.config import Settings, as_dict, settings_from_config
from wae_jax.errors import UserError
from wae_jax.models.frontends import SINGLE
from wae_jax.pretrained import Imported, import_network
from wae_jax.pretrained.transfer import adopt, adopt_convention, with_unit_variance
from wae_jax.schema.trees import changed

STAGE = "imported"


def check_out(out: str) -> Path:
    """The folder that a new checkpoint may be written to; those above it are made.

    Raises:
        UserError: there is something already, or it cannot be there.
    """
    path = Path(out)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{out} exists already; name a new folder with --out")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    return path


def read_labels(file: str) -> tuple[str, ...]:
    """Class names in the order of their numbers.

    Args:
        file: a name per line, or JSON: a list of names, or an object of number -> name or (as in
            Keras) number -> [WordNet id, name].

    Raises:
        UserError: another kind of file, or numbers with gaps.
    """
    if not Path(file).is_file():
        raise UserError(f"--labels: there is no file {file}")
    try:
        text = Path(file).read_text()
        if not file.endswith(".json"):
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        names = json.loads(text)
        if isinstance(names, dict):
            names = [names[str(i)] for i in range(len(names))]
        return tuple(str(name[-1] if isinstance(name, list) else name) for name in names)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{file} has no class names: {type(error).__name__}: {error}") from error


def write_checkpoint(imported: Imported, settings: Settings, out: str) -> Path:
    """Writes an imported network as a checkpoint like those of training.

    Args:
        imported: the network.
        settings: of a run; their model and image size become the network's own.
        out: a folder that does not exist yet, or is empty; it appears whole or not at all.

    Returns:
        Its folder.

    Raises:
        UserError: there is something at ``out``, or it cannot be written.
    """
    settings = dataclasses.replace(
        settings,
        model=imported.model,
        data=dataclasses.replace(settings.data, image_size=imported.image_size),
    )
    meta = {
        "config": as_dict(settings),
        "stage": STAGE,
        "data": None,
        "train_seconds": 0.0,
        "ema": False,
        "teacher": None,
        "num_classes": imported.num_classes,
        "class_names": list(imported.class_names),
        "origin": imported.origin,
    }
    return write_variables(imported.variables, meta, out)


def write_variables(variables: Mapping[str, Any], meta: Mapping[str, Any], out: str) -> Path:
    """Writes a network as a checkpoint at step 0.

    Args:
        variables: {"params": ..., "batch_stats": ...}.
        meta: what describes it, see :func:`wae_jax.checkpoints.store.save`.
        out: a folder that does not exist yet, or is empty; it appears whole or not at all.

    Returns:
        Its folder.

    Raises:
        UserError: there is something at ``out``, or it cannot be written.
    """
    path = check_out(out)
    state = new_state(jax.tree.map(jnp.asarray, variables), ema=False)
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".import-") as folder:
            whole = Path(folder) / "checkpoint"
            whole.mkdir()
            store.save(whole, state, dict(meta), keep=1)
            if path.exists():
                path.rmdir()
            shutil.move(whole, path)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    return path


def adopt_pretrained(
    settings: Settings, held: Mapping[str, Any] | None = None
) -> tuple[Settings, Imported | None]:
    """Opens what ``config.init`` names; the settings with that network's input convention.

    From it, or from what ``config.restore`` names, come the sizes of a compressed trunk's layers
    too, where the config has none of its own.

    Args:
        settings: of the run.
        held: the meta of the run's own newest checkpoint, from which it goes on. The convention is
            then taken from there, and what ``init`` names need not exist any more.

    Returns:
        The settings, and the network unless the run goes on. Without ``init.pretrained`` None.

    Raises:
        UserError: no such file or checkpoint, or one of another network than the config's.
    """
    init = settings.init
    if init.from_teacher and settings.distill.teacher:
        init = dataclasses.replace(init, pretrained=settings.distill.teacher, source="")
    if not init.pretrained:
        return _with_restored_sizes(settings, held), None
    if settings.restore:
        raise UserError("config.restore and config.init.pretrained exclude each other")
    if held is not None:
        adopted = settings_from_config(held["config"]).model
        return dataclasses.replace(settings, model=adopt_convention(settings.model, adopted)), None
    if init.source:
        backbone = settings.model.backbone
        batch_norm = backbone.batch_norm and backbone.name.startswith("vgg")
        imported = import_network(
            init.source, backbone.name + "_bn" * batch_norm, init.pretrained, settings.model
        )
    elif Path(init.pretrained).is_file():
        raise UserError(f"{init.pretrained} is a file: say whose with config.init.source")
    else:
        imported = _from_checkpoint(init.pretrained)
    imported = with_unit_variance(imported)
    model, lines = adopt(settings.model, imported)
    imported = dataclasses.replace(imported, report=(*imported.report, *lines))
    return dataclasses.replace(settings, model=model), imported


def _with_restored_sizes(settings: Settings, held: Mapping[str, Any] | None) -> Settings:
    """The settings with the ``widths`` and ``ranks`` of what ``config.restore`` names."""
    if not settings.restore:
        return settings
    meta = held if held is not None else store.read_meta(folders.find(settings.restore))
    theirs = settings_from_config(meta["config"]).model
    sizes = {
        f"{part}.{key}": getattr(getattr(theirs, part), key)
        for part in ("backbone", "light")
        for key in ("widths", "ranks")
        if not getattr(getattr(settings.model, part), key)
    }
    return dataclasses.replace(settings, model=changed(settings.model, sizes))


def _from_checkpoint(path: str) -> Imported:
    folder = folders.find(path)
    _, variables, meta = load_step(folder)
    settings = settings_from_config(meta["config"])
    if settings.model.frontend.name not in SINGLE:
        raise UserError(
            f"config.init.pretrained needs a network with one branch, and {path} has "
            "two; to start from all its weights use config.restore"
        )
    return Imported(
        origin=f"{meta['origin'] or 'network'} in {path}",
        model=settings.model,
        variables=jax.device_get(variables),
        num_classes=meta["num_classes"],
        image_size=settings.data.image_size,
        class_names=tuple(meta["class_names"]),
    )


def with_labels(imported: Imported, labels: Sequence[str]) -> Imported:
    """The same network with these class names; none keep its own.

    Raises:
        UserError: another number of names than classes.
    """
    if labels and len(labels) != imported.num_classes:
        raise UserError(
            f"there are {len(labels)} labels, and the network has {imported.num_classes} classes"
        )
    return dataclasses.replace(imported, class_names=tuple(labels) or imported.class_names)
