"""Where the book's sources and its built pages are, for the tests of both."""

import fcntl
import os
import re
import sys
from contextlib import contextmanager
from functools import cache
from html import unescape
from pathlib import Path

import pytest
from browsing import CHROMIUM, FLAGS, served
from patience import PATIENCE
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
NOTEBOOKS = sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if not path.stem.endswith("-deeper")]

sys.path.insert(0, str(ROOT / "tools"))  # the tools are scripts, and tested as modules


def pages() -> list[Path]:
    """Return the built pages; the theme keeps templates of its own in _static."""
    return sorted(path for path in HTML.rglob("*.html") if "_static" not in path.parts)


@cache
def anchors(page: Path) -> set[str]:
    """Return the places of a built page that a link can lead to: all pages lead to all."""
    return set(map(unescape, re.findall(r'<[^<>]*\sid="([^"]+)"', page.read_text("utf-8"))))


@pytest.fixture(autouse=True)
def _built(request):
    if request.node.get_closest_marker("built") and not (HTML / "index.html").exists():
        pytest.fail("the book is not built: run `make book` first")


@pytest.fixture(scope="session")
def driver():
    """Playwright, once: a second in the same thread is refused, and many files share `browser`."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(driver):
    if CHROMIUM is None:
        reason = (
            "no Chromium here: the pages were not tried in a browser (Debian: apt install chromium)"
        )
        pytest.fail(reason) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(reason)
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    context_of = browser.new_context

    def patient(**options):
        context = context_of(**options)
        context.set_default_timeout(PATIENCE * 1000)
        return context

    browser.new_context = patient
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def server():
    with served(HTML) as address:
        yield address


@pytest.fixture(params=["http", "file"])
def root(request):
    return request.getfixturevalue("server") if request.param == "http" else f"{HTML.as_uri()}/"


def once(factory, name, fill):
    """Return a folder that is filled once for all workers: the first one does it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (filled := folder / name).exists():
            draft = folder / f"{name}.part"
            draft.mkdir()
            fill(draft)
            draft.rename(filled)
    return filled


@pytest.fixture(scope="session")
def html(tmp_path_factory):
    """The pages of a small book with figures."""
    import figures  # it needs the tools, which this file has put on the path

    return once(tmp_path_factory, "small-book", figures.build) / "_build" / "html"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """An empty page on the disk, so that it has an address that can be changed."""
    path = tmp_path_factory.mktemp("figure") / "page.html"
    path.write_text("<!doctype html><html lang='en'><title>A figure</title><body></body></html>")
    return path.as_uri()


@contextmanager
def tab(browser):
    """Open a page that can be touched, and keep what is complained of in it."""
    with browser.new_context(has_touch=True) as context:
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda m: m.type in ("error", "warning") and page.faults.append(m.text))
        yield page


@pytest.fixture(scope="module")
def shared(browser):
    """One page for all tests of a file: a new one costs as much as drawing a figure."""
    with tab(browser) as page:
        yield page


@pytest.fixture
def page(shared, address):
    """A blank document, wide and light, with room for a whole figure: no fault may happen in it."""
    shared.set_viewport_size({"width": 1280, "height": 1800})
    shared.emulate_media(color_scheme="light", reduced_motion="no-preference")
    shared.goto(address)
    shared.faults.clear()
    yield shared
    assert shared.faults == []


@pytest.fixture
def clocked(browser, address):
    """A page of the test's own, whose clock it can set: no page loses such a clock again."""
    with tab(browser) as page:
        page.goto(address)
        yield page
        assert page.faults == []
