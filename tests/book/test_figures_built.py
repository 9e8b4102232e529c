"""The interactive figures where readers meet them: on every built page that holds one."""

import json
import os
import re
from contextlib import ExitStack
from urllib.parse import quote, unquote

import check
import pytest
import traitlets
from axe_playwright_python.sync_playwright import Axe
from browsing import WCAG, typeset, watched
from conftest import HTML, ROOT, pages
from figures import READY, UNFOLD, WATCH_READY, settle
from pace import in_page

import metasgd_core.widgets
from metasgd_core.widgets.figure import Figure

pytestmark = [pytest.mark.built, pytest.mark.browser]

PLACE = re.compile(
    r'<div class="mf-place" data-figure="(\w+)"><script[^>]*>(.*?)</script>'
)
# What a reader moves, by the right arrow, and the number that follows: up or down.
CONTROLS = {
    "Valley": ("steps", "loss", "down"),
    "AdaptSine": ("amplitude", "left before", "up"),
    "CartPolePlay": ("updates", "return", "up"),
    "AlphaLab": ("amplitude", "before", "up"),
    "StepGraph": ("theta_1", "theta", "up"),
    "StepKernel": ("amplitude", "best", "up"),
    "PatientCurve": ("level_1", "formula", "up"),
    "AttentionStep": ("amplitude", "step", "up"),
    "TwentyWalks": ("noise", "width", "up"),
    "DrawCharacter": ("mode", "", ""),  # to the game, which says other numbers
    "BeatTheGuesser": ("player", "", ""),  # to somebody who has played, where nobody had
}
#: Figures whose state holds no fractions.
WHOLE = ("DrawCharacter", "BeatTheGuesser")
KILOBYTE = 1000
# The pages with figures: the name of each one's class, and the data it brings.
FIGURES = {
    path.relative_to(HTML).as_posix(): found
    for path in pages() if (found := PLACE.findall(path.read_text(encoding="utf-8")))
}
# Over http on a wide light screen, from the disk on a dark phone.
WAYS = {
    "http": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "file": {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"},
}


def visits(day=None):
    """Return the pages, each in one of the ways, and each kind of figure in both.

    What goes wrong on one page in one way, and on no other page with such a figure, is not seen:
    to visit all in both would take twice as long. With a day, each page in one way alone, and on
    the next day in the other.
    """
    chosen = [(list(WAYS)[(k + (day or 0)) % 2], name) for k, name in enumerate(FIGURES)]
    if day is not None:
        return sorted(chosen)
    for way in WAYS:
        for kind in CONTROLS:
            there = [name for name in FIGURES if kind in dict(FIGURES[name])]
            if there and not {(way, name) for name in there} & set(chosen):
                chosen.append((way, there[0]))
    return sorted(chosen)


def todays():
    """Return the visits; in CI those of the day, but for a commit that changes figures."""
    seconds = check.git("log", "-1", "--format=%ct")
    makers = ("metasgd_core/widgets", "tools/figures_hook.py", "book/assets")
    if os.environ.get("COMPANIONS") != "in-turn" or not seconds or (
        check.git("diff", "--name-only", "HEAD~1", "--", *makers)
    ):
        return visits()
    return visits(int(seconds) // 86_400)


@pytest.fixture(scope="module")
def tabs(browser, server):
    """A page for each way: it keeps the theme's scripts compiled from one visit to the next."""
    roots = {"http": server, "file": f"{HTML.as_uri()}/"}
    with ExitStack() as stack:
        opened = {way: stack.enter_context(watched(browser, root, **WAYS[way]))
                  for way, root in roots.items()}  # fmt: skip
        for way, page in opened.items():
            page.add_init_script(WATCH_READY)
            page.way, page.root = way, roots[way]
        yield opened


@pytest.fixture(scope="module", params=todays(), ids="-".join)
def page(request, tabs):
    """A page with figures, opened once for all the tests: each leaves its figures as they begin."""
    way, name = request.param
    page = tabs[way]
    page.name, page.address = name, page.root + name
    page.goto("about:blank")
    page.asked.clear()
    page.faults.clear()
    visit(page)
    return page


def visit(page, place=""):
    page.goto("about:blank")  # else an address that differs after # only would load nothing
    page.faults[:] = [fault for fault in page.faults if "ERR_ABORTED" not in fault]  # by leaving
    page.goto(page.address + place, wait_until="commit")
    page.wait_for_function("window.readyAfter !== undefined")


def figures(page):
    """Yield each figure of the page, unfolded, with the name of its class."""
    assert page.locator(".mf-place > .mf-figure").count() == len(FIGURES[page.name])
    for k, (kind, _) in enumerate(FIGURES[page.name]):
        figure = page.locator(".mf-place > .mf-figure").nth(k)
        figure.evaluate(UNFOLD)
        yield kind, figure


def numbers(figure):
    """Return all that the figure says."""
    return figure.locator("[data-readout]").all_text_contents()


def number(figure, name):
    said = figure.locator(f'[data-readout="{name}"]').inner_text()
    return float(re.match(r"[-+\d.e]+", said)[0])


def link(page, figure):
    """Press the figure's button, and return its part of the address: an id and the state."""
    figure.get_by_role("button", name="Link to this state").click()
    parts = dict(part.split("=", 1) for part in page.url.partition("?")[2].split("&"))
    key = figure.get_attribute("id").removeprefix("figure-")
    return key, json.loads(unquote(parts[key]))


def test_every_figure_has_a_page():
    """No class of figure goes untested here, and none that is shown is unknown."""
    known = {
        name for name in metasgd_core.widgets.__all__
        if issubclass(getattr(metasgd_core.widgets, name), Figure)
    }
    shown = {kind for found in FIGURES.values() for kind, _ in found}
    assert shown == known == CONTROLS.keys() & known
    assert "book/index.html" in FIGURES


def test_every_page_is_visited_and_every_kind_in_both_ways():
    """On a desk over http, and on a phone from the disk; in CI on two days."""
    days = visits(7), visits(8)
    assert {name for _, name in days[0]} == {name for _, name in visits()} == set(FIGURES)
    assert set(days[0]) | set(days[1]) == {(way, name) for way in WAYS for name in FIGURES}
    assert len(set(visits())) == len(visits())
    for way in WAYS:
        seen = {kind for w, name in visits() if w == way for kind, _ in FIGURES[name]}
        assert seen == {kind for found in FIGURES.values() for kind, _ in found}


def loaded(page):
    """Return what the browser has asked for to draw figures, and the rest of our own code.

    Not what it asks for when the page stands already, for paper.
    """
    ours = {path.name for path in (ROOT / "book" / "assets").glob("*.[cj]s*")}
    ours -= {"figures.js", "print.css"}
    files = {unquote(url).partition("?")[0].partition("_static/")[2] for url in page.asked}
    return {file for file in files if file.startswith("figures")}, files & ours


def test_a_page_weighs_little(page):
    """At most 60 KB of our own code, whatever it is for, and 250 KB of data a figure."""
    drawing, rest = loaded(page)
    kinds = sorted({kind for kind, _ in FIGURES[page.name]})
    assert drawing == {"figures.js", "figures/figure.css", f"figures/{'-'.join(kinds)}.js"}
    assert rest
    sizes = {file: (HTML / "_static" / file).stat().st_size for file in drawing | rest}
    assert sum(sizes.values()) <= 60 * KILOBYTE, sizes
    for kind, data in FIGURES[page.name]:
        assert len(data) <= 250 * KILOBYTE, (kind, len(data))


def test_a_control_moves_its_number(page):
    """And Reset undoes it; all stays on the screen, and can be read."""
    settle(page)
    for kind, figure in figures(page):
        trait, readout, direction = CONTROLS[kind]
        first, before = numbers(figure), number(figure, readout) if readout else 0
        figure.locator(f'[data-trait="{trait}"]').focus()
        page.keyboard.press("ArrowRight")
        settle(page)
        if readout:
            after = number(figure, readout)
            assert after > before if direction == "up" else after < before
        assert numbers(figure) != first
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= page.viewport_size["width"], "no scrolling sideways"
        heights = figure.locator(".mf-plot text:not([transform])").evaluate_all(
            "all => all.map((e) => e.getBoundingClientRect().height).filter(Boolean)")
        assert min(heights, default=11) >= 11, "legible"
        figure.get_by_role("button", name="Reset").click()
        settle(page)
        assert numbers(figure) == first
    assert page.faults == []


def test_the_picture_stays_while_its_controls_are_used(page):
    """Below the head of the page: nothing around a figure scrolls by itself, or it would not."""
    settle(page)
    for kind, figure in figures(page):
        if kind in WHOLE:  # they have no sliders
            continue
        slider = figure.locator("input[type=range]:visible").last
        slider.focus()
        group = slider.locator("xpath=ancestor::details[.//*[@class='mf-plot']]")
        plot = (group if group.count() else figure).locator(".mf-plot").first.bounding_box()
        head = page.locator(".bd-header-article").bounding_box()
        assert head["y"] + head["height"] <= plot["y"] + 1
        assert plot["y"] + plot["height"] <= slider.bounding_box()["y"] + 4
        assert slider.bounding_box()["y"] < page.viewport_size["height"]
    page.evaluate("scrollTo(0, 0)")


def test_axe_finds_nothing_on_a_phone(page):
    """Of the figures; test_browser.py looks at the whole pages, on a wide screen."""
    if page.way == "file":
        options = {"runOnly": {"type": "tag", "values": WCAG}, "preload": False}
        found = Axe().run(page, context=".mf-place", options=options).response["violations"]
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []


def test_nothing_is_around_a_figure(page):
    """The dark theme gives HTML from a notebook a pale frame, which makes a figure narrower."""
    around = page.evaluate("""() => [...document.querySelectorAll(".mf-place")].map((place) => {
        const { padding, backgroundColor } = getComputedStyle(place.parentElement);
        return [padding, backgroundColor];
    })""")
    assert around == [["0px", "rgba(0, 0, 0, 0)"]] * len(FIGURES[page.name])


def test_the_themes_switch_is_followed_at_once(page):
    """The button of the page: before the next frame the figure has its other colours."""
    settle(page)
    look = """() => [...document.querySelectorAll(".mf-figure")].map((figure) => [
        figure.dataset.theme, getComputedStyle(figure).backgroundColor,
        figure.querySelector("svg").innerHTML])"""
    press = "document.querySelector('.theme-switch-button').click()"
    before = page.evaluate(look)
    after = page.evaluate(f"async () => {{ {press}; await 0; return ({look})(); }}")
    themes = [WAYS[page.way]["color_scheme"]]
    themes.append({"light": "dark", "dark": "light"}[themes[0]])
    for old, new in zip(before, after, strict=True):
        assert [old[0], new[0]] == themes
        assert old[1] != new[1]
        assert old[2] != new[2]
    page.evaluate("localStorage.clear()")
    assert page.faults == []


def odd(cls, state):
    """Return the state with every float moved a little, so that it needs all of its digits."""
    def moved(value):
        if isinstance(value, list):
            return [moved(part) for part in value]
        return value + 2**-40 if isinstance(value, int | float) else value

    def is_exact(trait):
        return isinstance(trait, traitlets.Float | traitlets.List)

    traits = cls.class_traits()
    return {key: moved(v) if is_exact(traits[key]) else v for key, v in state.items()}


def test_a_link_brings_everything_back(page):
    """Every trait of every figure in one address, to the last digit, at a figure or a heading."""
    wanted = {}
    for kind, figure in figures(page):
        cls = getattr(metasgd_core.widgets, kind)
        key, state = link(page, figure)
        assert sorted(state) == cls()._state
        figure.locator(f'[data-trait="{CONTROLS[kind][0]}"]').focus()
        page.keyboard.press("ArrowRight")
        settle(page)
        key, moved = link(page, figure)
        assert moved != state
        wanted[key] = odd(cls, moved)
        assert wanted[key] != moved or kind in WHOLE
    sections = page.locator("article section:has(> h2)")
    if page.way == "http" and (count := sections.count()):
        place = sections.nth(count // 2).get_attribute("id")
    else:
        place = f"figure-{key}"
    query = "&".join(f"{key}={quote(json.dumps(state))}" for key, state in wanted.items())
    visit(page, f"#{place}?{query}")
    typeset(page)  # which moves everything
    top = page.locator(f"[id='{place}']").evaluate("e => e.getBoundingClientRect().top")
    assert 0 <= top <= page.viewport_size["height"] / 2, f"{place} is not where the link leads"
    for _, figure in figures(page):
        assert figure.locator("[data-note]").inner_text() == ""
        key, state = link(page, figure)
        assert state == wanted[key]
    assert page.faults == []


# Draw all figures of the page again, as the page does when it is there.
DRAW = """async ([data, source]) => {
    document.querySelectorAll(".mf-place").forEach((place, k) => {
        const state = document.createElement("script");
        state.type = "application/json";
        state.textContent = data[k];
        place.replaceChildren(state);
    });
    const script = document.createElement("script");
    Object.assign(script.dataset, document.querySelector("script[data-undrawn]").dataset);
    script.textContent = source;
    document.body.append(script);
    script.remove();
    for (let k = 0; k < 60 && !(%s); k++) await new Promise(requestAnimationFrame);
}"""


def test_ready_soon_after_the_page(page):
    """A tenth of a second of work, on a usual machine, until all of a page's figures are drawn."""
    typeset(page)  # the maths is the page's work, not the figures'
    settle(page)
    soon = page.evaluate("window.readyAfter")
    source = (HTML / "_static" / "figures.js").read_text(encoding="utf-8")
    data = [text for _, text in FIGURES[page.name]]
    took = in_page(page, DRAW % READY, [data, source], times=5)
    print(f"{page.way}: {page.name}: {took[2]:.0f} ms of work; {soon:.0f} ms after the page")
    assert page.evaluate(READY)
    assert took[2] <= 100, took
