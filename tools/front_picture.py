"""The README's picture: what the front end makes of a photo, and accuracy against time.

    python tools/front_picture.py --checkpoint=runs/grocery/wae-fast-0 --photo=coffee.png \
      --out=results/front.png "CIFAR-10, a small VGG from scratch=results/cifar10.csv" \
      "Grocery photos, pretrained ResNet-50=results/grocery_resnet50.csv"

Above I, I_L, I_H and the image rebuilt from both; below a panel for each study's CSV, with its
title and with the low-resolution curve as the study draws it.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from wae_jax.bench.plots import MARKERS  # noqa: E402
from wae_jax.checkpoints import folders  # noqa: E402
from wae_jax.checkpoints.load import load_step  # noqa: E402
from wae_jax.config import settings_from_config  # noqa: E402
from wae_jax.study.panels import make_panels  # noqa: E402
from wae_jax.study.photos import photos_in_files  # noqa: E402
from wae_jax.study.rows import best_of, curve_of  # noqa: E402
from wae_jax.study.variants import is_distilled  # noqa: E402
from wae_jax.study.variants import split as split_name  # noqa: E402

PARTS = ("I", "I_L", "I_H", "I' (rebuilt)")
CELLS = {"onnxruntime_batch_1": "ONNX Runtime, batch 1", "batch_1": "JAX, batch 1"}


def parts_of(checkpoint: str, photo: str) -> list[tuple[str, np.ndarray]]:
    """(name, uint8 picture) of the parts of one photo."""
    model, variables, meta = load_step(folders.find(checkpoint))
    data = settings_from_config(meta["config"]).data
    images = photos_in_files([photo], data, 1).images
    panels, _ = make_panels(model, variables, images)
    found = {panel.name.split(",")[0]: panel for panel in panels}
    return [(found[part].name, found[part].images[0]) for part in PARTS]


def draw_study(axis, title: str, path: str) -> None:
    """Top-1 against milliseconds an image, of the first of CELLS that the file has."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    cell = next(cell for cell in CELLS if f"ms_{cell}" in rows[0])
    points = {
        row["variant"]: (float(row[f"ms_{cell}"]), 100 * float(row["top1"]))
        for row in rows
        if row[f"ms_{cell}"]
    }
    families = list(dict.fromkeys(split_name(name)[0] for name in points))
    for ending, style in (("", "-"), ("+distill", "--")):
        curve = best_of({n: points[n] for n in curve_of(list(points), f"any{ending}")})
        if len(curve) > 1:
            axis.plot(*zip(*(points[name] for name in curve), strict=True), style, color="0.6")
    for name, (ms, top1) in points.items():
        family = split_name(name)[0]
        number = families.index(family)
        axis.plot(
            ms,
            top1,
            MARKERS[number % len(MARKERS)],
            color=f"C{number % 10}",
            fillstyle="full" if is_distilled(name) else "none",
            # A taught network has its family's marker, filled.
            label=None if is_distilled(name) and family in points else name,
        )
    axis.set(xlabel=f"ms / image ({CELLS[cell]})", ylabel="top-1, %", title=title)
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    # Under the panel, where it hides no point.
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=6)


def main(argv: list[str] | None = None) -> int:
    """Runs the program; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="of a WAE trained on photos")
    parser.add_argument("--photo", required=True)
    parser.add_argument("--out", required=True, help="the picture")
    parser.add_argument("studies", nargs="+", metavar="TITLE=CSV")
    options = parser.parse_args(argv)

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, height_ratios=(1, 1.7))
    for axis, (name, picture) in zip(
        above.subplots(1, len(PARTS)), parts_of(options.checkpoint, options.photo), strict=True
    ):
        axis.imshow(picture, interpolation="nearest")
        axis.set(xticks=[], yticks=[], title=f"{name}\n{picture.shape[0]} x {picture.shape[1]}")
    axes = below.subplots(1, len(options.studies), squeeze=False)[0]
    for axis, study in zip(axes, options.studies, strict=True):
        draw_study(axis, *study.split("=", 1))
    figure.savefig(options.out, dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
