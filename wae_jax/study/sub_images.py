"""A picture of what the front end does: I, I_L, I_H, the reconstruction, and what it lacks."""

import dataclasses
from collections.abc import Sequence

from wae_jax.checkpoints.load import load_step
from wae_jax.config import ModelSettings, settings_from_config
from wae_jax.errors import UserError
from wae_jax.models.frontends import SINGLE
from wae_jax.study.panels import Panel, PhotoFigures, make_panels
from wae_jax.study.photos import photos_in_files, photos_of_split

_LONGEST_NAME = 22  # letters over a picture


def check_two_sub_images(model: ModelSettings, whose: str) -> None:
    """Raises UserError where the front end makes one sub-image only."""
    if model.frontend.name in SINGLE:
        raise UserError(f"{whose} makes one sub-image only: there is nothing to compare it with")


def draw_sub_images(
    folder,
    path: str,
    *,
    files: Sequence[str] = (),
    count: int = 8,
    split: str = "",
    data_dir: str = "",
    data_name: str = "",
) -> None:
    """Writes a picture of photos, one a column, with a row for each part that the front end has.

    See :func:`wae_jax.study.panels.make_panels` for what the rows show.

    Args:
        folder: A verified checkpoint step.
        path: The file; its suffix says which kind.
        files: Photos and folders of photos; none: those of a split.
        count: How many photos, the first ones.
        split: Empty for the run's evaluation split.
        data_dir: Where the data set is; empty for the run's own.
        data_name: Another data set; empty for the run's own.

    Raises:
        UserError: Photos or data that cannot be read, or matplotlib is not installed.
    """
    model, variables, meta = load_step(folder)
    settings = settings_from_config(meta["config"]).data
    if files:
        photos = photos_in_files(files, settings, count)
    else:
        settings = dataclasses.replace(
            settings,
            data_dir=data_dir or settings.data_dir,
            name=data_name or settings.name,
        )
        photos = photos_of_split(settings, split or settings.eval_split, meta, folder, count)
    panels, figures = make_panels(model, variables, photos.images)
    _grid(panels, figures, photos.names).savefig(path, dpi=130)


def _grid(panels: Sequence[Panel], figures: Sequence[PhotoFigures], names: Sequence[str]):
    try:
        import matplotlib.figure
    except ImportError as error:
        raise UserError("drawing needs matplotlib: pip install matplotlib") from error
    count = len(names)
    figure = matplotlib.figure.Figure(
        figsize=(1.6 * count + 1.4, 1.6 * len(panels) + 0.8), layout="constrained"
    )
    axes = figure.subplots(len(panels), count, squeeze=False)
    for line, panel in zip(axes, panels, strict=True):
        small = panel.images.shape[1] < 128
        for axis, image in zip(line, panel.images, strict=True):
            axis.imshow(image, interpolation="nearest" if small else "antialiased")
            axis.set(xticks=[], yticks=[])
        height, width = panel.size
        line[0].set_ylabel(
            f"{panel.name}\n{height} x {width}", rotation=0, ha="right", va="center", fontsize=9
        )
    for axis, name, own in zip(axes[0], names, figures, strict=True):
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        axis.set_title("\n".join([short, *own.lines]), fontsize=7.5, parse_math=False)
    return figure
