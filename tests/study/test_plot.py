"""Pictures of made-up runs."""

import numpy as np

from tests.study.made_up import MS, chosen_of, times_of
from wae_jax.bench.timing import Timings
from wae_jax.study.measure import Times
from wae_jax.study.plot import plot_rows
from wae_jax.study.rows import make_rows


def test_int8_is_in_the_panels_of_the_runtimes_that_have_it(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: drawn.append(figure))
    right = {"full": 80, "full+taylor-2x": 78, "full+taylor-2x+int8": 77, "lowres": 60}
    names = list(right)
    cells = {
        (runtime, 1): Timings({name: np.full(4, 4.0 - n) for n, name in enumerate(names)}, (2,))
        for runtime in ("jax", "onnxruntime")
    }
    del cells["jax", 1].ms["full+taylor-2x+int8"]
    times = Times({"load": {}}, {name: name for name in right}, cells)
    rows = make_rows(chosen_of(right), times)
    assert rows[2].ms["jax", 1] is None and rows[2].speedup["jax", 1] is None
    assert rows[2].ms["onnxruntime", 1] == 2.0 and rows[2].above_curve["jax", 1] is None
    assert rows[2].above_curve["onnxruntime", 1] is not None
    plot_rows(rows, tmp_path / "study.png")
    shown = [{c.get_label() for c in axis.containers} for axis in drawn[0].axes]
    assert shown == [set(right) - {"full+taylor-2x+int8"}, set(right)]
    looks = {
        c.get_label(): (c.lines[0].get_marker(), c.lines[0].get_color())
        for c in drawn[0].axes[1].containers
    }
    assert len(set(looks.values())) == 4 and looks["full"][0] == looks["lowres"][0]
    assert looks["full"][1] == looks["full+taylor-2x"][1] != looks["lowres"][1]
    (legend,) = drawn[0].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[-4:] == names and "Pareto front" in texts


def test_many_kinds_and_budgets_stay_apart(monkeypatch, tmp_path):
    """As on CIFAR-10: a method is a shape, its budget a size, a teacher fills it."""
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: drawn.append(figure))
    removed = [
        f"full+{method}-{fewer}"
        for method in ("taylor", "thinet", "tucker", "cp", "asymmetric")
        for fewer in ("2x", "3.4x", "4x")
    ]
    names = ["full", *removed, *(f"{n}+distill" for n in removed), "full+int8", "full+thinet-0.5"]
    chosen = chosen_of(dict.fromkeys(names, 70))
    plot_rows(make_rows(chosen, times_of(dict.fromkeys(names, 1.0))), tmp_path / "study.png")
    looks = {
        c.get_label(): (line.get_marker(), line.get_markersize(), line.get_fillstyle())
        for c in drawn[0].axes[0].containers
        for line in [c.lines[0]]
    }
    assert list(looks) == names and len(set(looks.values())) == len(names)
    assert len({marker for marker, _, _ in looks.values()}) == 8
    shape, sizes, fills = zip(*(looks[f"full+cp-{x}"] for x in ("2x", "3.4x", "4x")), strict=True)
    assert len(set(shape)) == 1 and list(sizes) == sorted(set(sizes), reverse=True)
    assert {looks["full"][1], *sizes} == {each for _, each, _ in looks.values()}
    assert set(fills) == {"none"} and looks["full+cp-2x+distill"][2] == "full"


def test_the_picture_has_the_curves_and_all_points(chosen, monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: drawn.append(f) or save(f, *a, **k))
    ms = {name: x for name, x in MS.items() if name != "lowres-160"}
    plot_rows(make_rows(chosen, times_of(ms)), tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 10_000
    one, batch = drawn[0].axes
    (curve,) = [line for line in one.lines if line.get_label() == "low-resolution curve"]
    assert curve.get_xydata().tolist() == [[1.0, 60.0], [4.0, 80.0], [4.0, 80.0]]
    shown = {container.get_label() for container in one.containers}
    assert shown == set(ms)
    (front,) = [line for line in one.lines if line.get_label() == "Pareto front"]
    assert front.get_xydata().tolist() == [[1.0, 60.0], [1.5, 76.0], [4.0, 80.0]]
    assert (one.get_title(), batch.get_title()) == ("JAX, batch 1", "JAX, batch 32")


def test_a_long_legend_is_under_the_panels(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: drawn.append(figure))
    for count in (5, 30):
        right = {"full": 90} | {f"network-{n}": 50 + n for n in range(count)}
        ms = {name: 1.0 + n for n, name in enumerate(right)}
        plot_rows(make_rows(chosen_of(right), times_of(ms)), tmp_path / "study.png")
    few, many = drawn
    for figure in drawn:
        figure.draw_without_rendering()
    beside, under = (figure.legends[0].get_window_extent() for figure in drawn)
    assert beside.x0 > max(axis.bbox.x1 for axis in few.axes)
    assert under.y1 < min(axis.bbox.y0 for axis in many.axes)
    assert many.get_figheight() > few.get_figheight()
