"""The reports of real runs, as a browser shows them: wide and narrow, light and dark."""

import io

import numpy as np
import PIL.Image
import pytest

from tests.browser import chromium
from tests.commands.conftest import call
from wae_jax.runtime import process
from wae_jax.study import measure

pytestmark = pytest.mark.slow

# Right edges beyond the page's, of elements that are not inside one that scrolls by itself.
TOO_WIDE = """
[...document.body.querySelectorAll("*")]
  .filter(e => !e.closest(".wide") || e.matches(".wide"))
  .filter(e => e.getBoundingClientRect().right > WIDTH + 1)
  .map(e => e.tagName + "." + e.getAttribute("class"))
"""
# Ratios of contrast as WCAG has it, of text in the page and in its charts on what is behind them.
CONTRAST = """
(() => {
  const rgb = c => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = c => rgb(c).map(x => x / 255)
    .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0.05);
  const ratio = (a, b) => Math.max(light(a) / light(b), light(b) / light(a));
  const of = (e, name) => getComputedStyle(e)[name];
  const paper = of(document.body, "backgroundColor");
  const found = ["p", ".soft", "td", "a, summary", "dt"].map(s => document.querySelector(s))
    .map(e => ratio(of(e, "color"), paper));
  const chart = document.querySelector("svg");
  const text = chart.querySelector("text");
  return [...found, ratio(of(text, "fill"), of(chart, "backgroundColor"))];
})()
"""


@pytest.fixture(scope="module")
def reports(trained, config_file, tmp_path_factory):
    """The pages of a run and of a study."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "call_on_own_thread", lambda: None)
        patch.setattr(measure, "TIMING_SECONDS", 0.2)
        variants = "--variants=full,lowres,lowres-24,wae"
        study = f"--workdir={folder / 'study'}"
        assert call("study", f"--config={config_file}", variants, study) == 0
        pages = {"run": folder / "run.html", "study": folder / "study.html"}
        options = ("--seconds=1", "--count=4")
        run = f"--workdir={trained[0]}"
        assert call("report", run, f"--out={pages['run']}", *options) == 0
        assert call("report", study, f"--out={pages['study']}", *options) == 0
    return pages


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("kind", ["run", "study"])
def test_a_report_opens_without_errors_and_fits(kind, width, scheme, reports, browser, tmp_path):
    browser.open(reports[kind], width=width, scheme=scheme)
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true }) || 0")
    assert browser.complaints == []
    assert browser.requests() == [reports[kind].absolute().as_uri()]
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(TOO_WIDE.replace("WIDTH", str(width))) == []
    pictures = browser.value("[...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(pictures) > 20 and all(pictures)
    assert browser.value("document.querySelectorAll('svg').length") >= 8
    contrast = browser.value(CONTRAST)
    assert min(contrast) > 4.5, contrast
    browser.screenshot(tmp_path / "page.png", height=900)
    picture = PIL.Image.open(io.BytesIO((tmp_path / "page.png").read_bytes())).convert("L")
    assert picture.width == width
    pixels = np.asarray(picture, float)
    assert pixels.std() > 10
    assert (np.median(pixels) > 200) == (scheme == "light")


def test_no_letter_of_a_chart_is_too_small_on_a_phone(reports, browser):
    browser.open(reports["study"], width=400, scheme="light")
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true }) || 0")
    heights = browser.value(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(heights) > 8, min(heights)
