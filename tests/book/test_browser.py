"""The built pages in Chromium with the network shut, over http and from the disk."""

import os
import re
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import HTML, pages
from known_faults import ACCESSIBILITY, CONSOLE

pytestmark = [pytest.mark.built, pytest.mark.browser]

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NAMES = [path.relative_to(HTML).as_posix() for path in pages() if path != HTML / "index.html"]
OPEN_ALL = """() => {
    const still = document.createElement("style");  // colours are measured when nothing fades in
    still.textContent = "* { animation: none !important; transition: none !important; }";
    document.head.append(still);
    document.querySelectorAll("details").forEach(d => { d.open = true; });
    document.querySelectorAll(".toggle-button-hidden").forEach(b => b.click());
}"""


@pytest.fixture(scope="session")
def browser(driver):
    if CHROMIUM is None:
        reason = (
            "no Chromium here: the pages were not tried in a browser (Debian: apt install chromium)"
        )
        pytest.fail(reason) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(reason)
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(params=["http", "file"])
def root(request):
    return request.getfixturevalue("server") if request.param == "http" else f"{HTML.as_uri()}/"


@contextmanager
def watched(browser, root, **options):
    """Yield a fresh page that keeps what was asked for, refused and complained of."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.asked, page.faults = [], []

    def complain(message):
        if not any(re.search(known, message) for known, _ in CONSOLE):
            page.faults.append(message)

    page.on("request", lambda r: page.asked.append(r.url))
    page.on(
        "request",
        lambda r: r.url.startswith((root, "data:", "blob:")) or complain(f"asks for {r.url}"),
    )
    page.on("requestfailed", lambda r: complain(f"failed: {r.url} {r.failure}"))
    page.on("response", lambda r: r.status >= 400 and complain(f"{r.status}: {r.url}"))
    page.on("console", lambda m: m.type in ("error", "warning") and complain(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda error: complain(f"uncaught: {error}"))
    yield page
    context.close()


@pytest.fixture
def page(browser, root):
    with watched(browser, root) as page:
        yield page


def settle(page):
    """Wait until the page and its maths are there."""
    page.wait_for_load_state("load")
    page.evaluate("() => window.MathJax?.startup?.promise")


@pytest.mark.parametrize("name", NAMES)
def test_page_is_whole(page, root, name):
    """Nothing refused, no error, all maths typeset, no sideways scrolling on a phone."""
    page.goto(root + name)
    settle(page)
    maths = page.locator(".math")
    assert page.evaluate("document.querySelectorAll('.math mjx-container').length") >= maths.count()
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    text = page.locator("body").inner_text()
    assert not re.search(r"\\\(|\\\[|\$\$", text), "maths is left as it was typed"
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate(OPEN_ALL)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"{width} px wide on a phone"
    assert page.faults == []


def test_the_root_opens_the_book(page, root):
    page.goto(root + "index.html")
    page.wait_for_url("**/book/index.html")
    assert page.faults == []


def test_search_finds_a_page(page, root):
    page.goto(root + "search.html?q=alpha")
    result = page.locator("#search-results li a").first
    result.wait_for()
    result.click()
    page.wait_for_url("**/book/*.html*")
    assert page.locator("article h1").count() == 1
    assert page.faults == []


def test_solutions_open(page, root):
    """A folded solution opens by keyboard, as it does by mouse."""
    page.goto(root + "book/01-why-learn-to-learn.html")
    settle(page)
    solution = page.locator(".admonition.solution.dropdown").first
    assert not solution.locator("p:not(.admonition-title)").first.is_visible()
    solution.locator(".toggle-button").focus()
    page.keyboard.press("Enter")
    solution.locator("p:not(.admonition-title)").first.wait_for(state="visible")


def is_known(page, rule, target):
    return any(
        rule == known and page.locator(target).first.evaluate("(e, s) => e.matches(s)", selector)
        for known, selector, _ in ACCESSIBILITY
    )


@pytest.mark.parametrize("name", NAMES)
def test_accessibility(browser, server, name):
    """axe-core's rules for WCAG A and AA, in both colour schemes, with everything unfolded."""
    options = {
        "runOnly": {"type": "tag", "values": WCAG},
        "rules": {"label-content-name-mismatch": {"enabled": True}},  # WCAG A, off by default
        "resultTypes": ["violations"],
        "preload": False,
    }
    found = []
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            page = context.new_page()
            page.goto(server + name)
            settle(page)
            page.evaluate(OPEN_ALL)
            for violation in Axe().run(page, options=options).response["violations"]:
                for node in violation["nodes"]:
                    if not is_known(page, violation["id"], node["target"][-1]):
                        found.append(f"{scheme}: {violation['id']}, {node['html']}")
                        found.append(node["failureSummary"])
    assert not found, "\n".join(found)
