"""The built pages in Firefox and in WebKit, which is Safari's: they load, and can be used.

Only `make test-browsers` runs these: the gate has Chromium alone.
"""

import json
import os

import pytest
from conftest import HTML, pages
from other_browsers import Firefox, WebKit

pytestmark = pytest.mark.built

ROOT = f"{HTML.as_uri()}/"
DRAWN = """
    return [...document.querySelectorAll(".mf-place")].every(
        (place) => place.querySelector("[data-ready], [role=alert]"));
"""
WHOLE = """
    const faults = [], all = (what) => [...document.querySelectorAll(what)];
    if (all(".math").some((math) => !math.querySelector("mjx-container")))
        faults.push("maths is not typeset");
    if (all("mjx-merror, [data-mjx-error]").length) faults.push("maths has an error");
    for (const place of all(".mf-place"))
        if (![...place.querySelectorAll(".mf-stage svg")].some((drawn) => drawn.clientHeight > 40))
            faults.push(`a figure is not drawn: ${place.textContent.slice(0, 80)}`);
    for (const image of all("article img"))
        if (image.offsetWidth && !(image.complete && image.naturalWidth))
            faults.push(`a picture is not there: ${image.alt}`);
    if (document.scrollingElement.scrollWidth > innerWidth) faults.push("wider than the window");
    return faults;
"""
# The first figure of a page, with its first slider and its first point.
FIGURE = """
    const figure = document.querySelector(".mf-figure");
    const slider = figure.querySelector("input[type=range]");
    const number = slider.closest(".mf-row").querySelector("input[type=number]");
    const point = figure.querySelector(".mf-handle");
    const link = figure.querySelector(".mf-buttons button:nth-of-type(2)");
    const state = () => JSON.stringify([number.value, figure.querySelector(".mf-say").textContent]);
    const middle = (node) => {
        node.scrollIntoView({block: "center", behavior: "instant"});
        const {left, top, width, height} = node.getBoundingClientRect();
        return [left + width / 2, top + height / 2, width];
    };
"""


@pytest.fixture(scope="module", params=[Firefox, WebKit], ids=["Firefox", "WebKit"])
def other(request, tmp_path_factory):
    if "OTHER_BROWSERS" not in os.environ:
        pytest.skip("only `make test-browsers` looks at the pages in Firefox and WebKit")
    if request.param.missing:
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(request.param.missing)
    browser = request.param(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def visit(other, page):
    other.open(f"{ROOT}{page}.html")
    other.run("await window.MathJax?.startup?.promise;")
    other.until(DRAWN)


def changed(other, act):
    """Act, wait for the figure to take it in, and return its state, as text."""
    before = other.run(FIGURE + "return state();")
    act()
    other.until(FIGURE + f"return state() !== {json.dumps(before)};")
    return other.run(FIGURE + "return state();")


def test_every_page_is_whole(other):
    """Maths typeset, figures drawn, pictures there, nothing wider than the window."""
    found = []
    for page in pages():
        name = page.relative_to(HTML).with_suffix("").as_posix()
        visit(other, name)
        found += [f"{name}: {fault}" for fault in other.run(WHOLE)]
    assert not found, "\n".join(found)


def test_a_slider_moves_its_figure(other):
    """A press on its right half raises the number beside it, and what the figure says follows."""
    visit(other, "book/02-gradient-descent")
    number, said = json.loads(other.run(FIGURE + "return state();"))
    x, y, width = other.run(FIGURE + "return middle(slider);")
    more, follows = json.loads(changed(other, lambda: other.act((x + 0.3 * width, y))))
    assert float(more) > float(number)
    assert follows != said


def test_a_point_can_be_dragged(other):
    """It follows the pointer, and what the figure says follows it."""
    visit(other, "book/06-meta-sgd")
    x, y, _ = other.run(FIGURE + "return middle(point);")
    changed(other, lambda: other.act((x, y), (x + 20, y - 15), (x + 40, y - 30)))
    other.until(FIGURE + f"return Math.abs(middle(point)[0] - {x + 40}) < 3;")


def test_a_link_holds_the_state(other):
    """Its button writes the state into the address, which brings it back on a fresh page."""
    visit(other, "book/02-gradient-descent")
    x, y, width = other.run(FIGURE + "return middle(slider);")
    state = changed(other, lambda: other.act((x - 0.2 * width, y)))
    x, y, _ = other.run(FIGURE + "return middle(link);")
    other.act((x, y))
    other.until("return location.hash.includes('?');")
    address = other.run("return location.href;")
    other.open("about:blank")
    other.open(address)
    other.until(DRAWN)
    other.until(FIGURE + f"return state() === {json.dumps(state)};")
