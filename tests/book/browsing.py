"""What the tests in a browser share: which one, with the network shut, and what it may not meet."""

import re
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from known_faults import CONSOLE

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


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(html):
    """Serve a folder of pages, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(html))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def watched(browser, root, **options):
    """Yield a fresh page that keeps what was asked for, refused and complained of."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
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


def typeset(page):
    """Wait until the page and its maths are there."""
    page.wait_for_load_state("load")
    page.evaluate("() => window.MathJax?.startup?.promise")
