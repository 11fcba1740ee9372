"""What is drawn of photos, on photos of CIFAR-10."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax import data
from wae_jax.config import settings_from_config
from wae_jax.evaluation import metrics
from wae_jax.models.classifier import build_model, init_variables, run
from wae_jax.models.resize import area_resize
from wae_jax.study.panels import _power, make_panels

COUNT, SIZE = 3, 32
# What lies between the image and the spectra, and which sub-images have one.
NAMES = {
    "identity": (["I"], ["I"]),
    "downsample": (["I", "I_L"], ["I_L"]),
    "space-to-depth": (["I", "I_L", "I_H", "I' (rebuilt)", "|I - I'|"], ["I_L", "I_H"]),
    "wae": (["I", "I_L", "I_H", "I' (rebuilt)", "|I - I'|"], ["I_L", "I_H"]),
}


@pytest.fixture(scope="module")
def photos(cifar10):
    source = data.open_source("cifar10", "test")
    return data.DecodedRecords(source).read(np.arange(COUNT))[0]


@pytest.fixture(scope="module")
def drawn(tiny_config, photos):
    """Function: changes of the tiny config -> model, variables, panels by name, figures."""
    known = {}

    def draw(name, **changes):
        key = str((name, changes))
        if key not in known:
            changes = {f"model.{key}".replace("__", "."): x for key, x in changes.items()}
            changes |= {"model.frontend.name": name, "data.image_size": SIZE}
            settings = settings_from_config(tiny_config(changes))
            model = build_model(settings.model, num_classes=10, image_size=SIZE)
            variables = jax.jit(lambda x: init_variables(model, x, seed=0))(jnp.asarray(photos))
            panels, figures = make_panels(model, variables, photos)
            known[key] = model, variables, {panel.name: panel for panel in panels}, figures
        return known[key]

    return draw


@pytest.mark.parametrize("name", NAMES)
def test_only_parts_that_exist_are_drawn(name, drawn):
    _, _, panels, figures = drawn(name)
    pictures, spectra = NAMES[name]
    wanted = [*pictures, *(f"log-spectrum of {each}" for each in spectra)]
    assert [re.sub(r", [\d.e+]+x$", "", each) for each in panels] == wanted
    for panel in panels.values():
        assert panel.images.dtype == np.uint8
        assert (panel.images.shape[0], panel.images.shape[-1]) == (COUNT, 3)
    for own in figures:
        assert (own.psnr is None) == (own.high_energy is None) == ("I_H" not in spectra)
        assert (own.low_correlation is None) == (name == "identity")


def test_figures_are_those_of_an_evaluation_of_the_photo(drawn, photos):
    model, variables, _, figures = drawn("wae")
    batch = {"label": np.zeros(1, np.int32), "mask": np.ones(1, np.float32)}

    @jax.jit
    def evaluate(image):
        outputs = run(model, variables, image, classify=False, reconstruct=True)
        return metrics.image_sums(outputs, batch, model.denormalise)

    for image, own in zip(photos, figures, strict=True):
        wanted = metrics.summarise(evaluate(image[None]))
        for name in ("psnr", "high_energy", "low_correlation"):
            assert getattr(own, name) == pytest.approx(wanted[name], rel=1e-3)
    words = " ".join(figures[0].lines)
    assert f"{figures[0].psnr:.1f} dB" in words and f"{figures[0].low_correlation:.4f}" in words


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_low_is_shown_as_the_image_that_it_is(order, drawn, photos):
    _, _, panels, figures = drawn("downsample", input__channel_order=order)
    shown = panels["I_L"].images.astype(float)
    half = np.asarray(area_resize(photos.astype(np.float32), (SIZE // 2, SIZE // 2)))
    for channel in range(3):
        one, other = shown[..., channel], half[..., channel]
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.995
        assert one.mean() == pytest.approx(other.mean(), abs=5)
    assert all(own.low_correlation == pytest.approx(1, abs=1e-4) for own in figures)


def test_a_size_that_is_no_halving_has_no_correlation(drawn):
    _, _, panels, figures = drawn("downsample", frontend__size=20)
    assert panels["I_L"].size == (20, 20)
    assert [own.low_correlation for own in figures] == [None] * COUNT


def test_high_is_amplified_by_the_factor_in_its_name(drawn, photos):
    """Haar's details of an image are differences of its pixels."""
    _, _, panels, _ = drawn("wavelet", frontend__wavelet="haar")
    name = next(name for name in panels if name.startswith("I_H"))
    factor = float(re.search(r"([\d.]+)x", name)[1])
    tiles = panels[name].images.astype(float) - 127.5
    assert tiles.shape[1:3] == (SIZE, SIZE) and panels[name].size == (SIZE // 2, SIZE // 2)
    brightest = np.percentile(np.abs(tiles), 99)
    assert 127.5 / 6 < brightest <= 128
    # The mean squares of details and of what is shown, of one tile, differ by the factor alone.
    pixels = photos.astype(float)
    across = pixels[:, :, 0::2] - pixels[:, :, 1::2]
    wanted = np.square((across[:, 0::2] + across[:, 1::2]) / 2).mean()
    each = [
        np.square(tiles[:, top : top + 16, left : left + 16]).mean()
        for top, left in ((0, 0), (0, 16), (16, 0))
    ]
    # I_L is shown with the photos' contrast, a little more than it has, and I_H on that scale.
    ratios = np.sqrt(np.array(each) / wanted) / factor
    assert np.abs(ratios - 1).min() < 0.25


def test_the_error_of_an_exact_inverse_is_black(drawn):
    _, _, panels, figures = drawn("space-to-depth")
    name = next(name for name in panels if name.startswith("|I"))
    assert panels[name].images.max() <= 1
    assert all(own.psnr > 80 for own in figures)


def test_a_spectrum_has_its_peak_at_the_frequency_of_the_image():
    x = np.arange(32)
    wave = np.cos(2 * np.pi * 8 * x / 32)[None, None, :, None] * np.ones((1, 32, 32, 3))
    power = _power(wave + 100)[0]
    assert set(map(tuple, np.argwhere(power > power.max() / 2))) == {(16, 8), (16, 24)}
