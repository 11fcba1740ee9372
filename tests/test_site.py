"""The site that `make docs` builds, as a browser shows it: wide and narrow, light and dark."""

import functools
import http.server
import subprocess
import threading

import pytest

from tests.browser import chromium

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

# Right edges beyond the window's, of elements that are not inside one that scrolls or is hidden.
TOO_WIDE = """
[...document.body.querySelectorAll("*")]
  .filter(e => !e.closest(".md-typeset__scrollwrap, pre, .md-sidebar, .md-search, .md-header"))
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.tagName + "." + e.getAttribute("class"))
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(root):
    """The folder of the site, as ``make docs`` leaves it; any complaint fails it."""
    done = subprocess.run(["make", "docs"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root / "site"


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_no_page_is_too_wide_complains_or_asks_elsewhere(site, address, tmp_path):
    pages = [p.relative_to(site).as_posix() for p in sorted(site.rglob("*.html"))]
    assert {"index.html", "tutorial.html", "reference/config.html"} <= set(pages)
    found = {}
    with chromium(tmp_path) as page:
        for name in pages:
            for width, scheme in ((1280, "light"), (400, "dark")):
                page.open(address + name, width=width, scheme=scheme)
                scrolls = page.value("document.documentElement.scrollWidth > innerWidth")
                elsewhere = [url for url in page.requests() if not url.startswith(address)]
                if problems := [*page.value(TOO_WIDE), *page.complaints, *elsewhere]:
                    found[name, width] = problems
                assert not scrolls, (name, width, problems)
                page.complaints.clear()
    assert found == {}
