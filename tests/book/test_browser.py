"""The built pages in Chromium with the network shut, from the disk and over http."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import WCAG, typeset, watched
from conftest import HTML, pages
from known_faults import ACCESSIBILITY

pytestmark = [pytest.mark.built, pytest.mark.browser]

NAMES = [path.relative_to(HTML).as_posix() for path in pages() if path != HTML / "index.html"]
OPEN_ALL = """() => {
    const still = document.createElement("style");  // colours are measured when nothing fades in
    still.textContent = "* { animation: none !important; transition: none !important; }";
    document.head.append(still);
    document.querySelectorAll("details").forEach(d => { d.open = true; });
    document.querySelectorAll(".toggle-button-hidden").forEach(b => b.click());
}"""

# Words of code within the same classes have the same colours. Only one of them stays an element of
# its own: axe looks at each in every run, a chapter has eight thousand, and the API page's
# signatures have as many. From the end, so that what holds words alone comes after them.
THIN_CODE = """() => {
    const seen = new Set(), words = ":is(pre, .sig, code) :is(span, em)[class], code";
    for (const word of [...document.querySelectorAll(words)].reverse()) {
        if (word.firstElementChild) continue;
        let key = word.getAttribute("style");
        for (let at = word; at; at = at.parentElement) key += `|${at.tagName} ${at.className}`;
        if (seen.has(key)) word.replaceWith(word.textContent);
        seen.add(key);
    }
}"""

# Mark the first text of each look that is not known: its colour and its parent's, its size and
# weight, and all that lies behind it. axe takes a millisecond or two for the contrast of one text,
# and a chapter has thousands, in a few dozen looks, most of which other pages have, too. Return how
# many looks there are, and those that were marked, by their number.
MARK_LOOKS = """(known) => {
    const looks = new Set(), marked = [], layers = new Map([[null, ""]]);
    const behind = (e) => {
        if (!layers.has(e)) {
            const { backgroundColor, backgroundImage, opacity } = getComputedStyle(e);
            const own = `${backgroundColor} ${backgroundImage} ${opacity}`;
            const clear = own === "rgba(0, 0, 0, 0) none 1";
            layers.set(e, behind(e.parentElement) + (clear ? "" : `|${own}`));
        }
        return layers.get(e);
    };
    for (const e of document.body.querySelectorAll("*")) {
        e.removeAttribute("data-look");
        const says = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
        if (!(says || e.matches("input, select, textarea")) || !e.checkVisibility()) continue;
        const { color, fontSize, fontWeight } = getComputedStyle(e);
        const around = getComputedStyle(e.parentElement).color;
        const look = [color, around, fontSize, fontWeight, behind(e)].join();
        if (!looks.has(look) && !known.includes(look)) {
            e.setAttribute("data-look", marked.length);
            marked.push(look);
        }
        looks.add(look);
    }
    return [looks.size, marked];
}"""
# The looks in which axe has found nothing so far, in each colour scheme.
SOUND = {"light": set(), "dark": set()}

# What is wider than the box that it is in, where no box around it can be scrolled.
CUT = """() => {
    const article = document.querySelector("article.bd-article") ?? document.body;
    const scrolls = e => /auto|scroll/.test(getComputedStyle(e).overflowX);
    const found = [];
    const all = "pre, table, figure, img, svg, mjx-container[display], .mf-figure, p, ul, dl";
    for (const e of article.querySelectorAll(all)) {
        const box = e.getBoundingClientRect();
        if (!box.width || e.closest("mjx-assistive-mml")) continue;
        let around = e.scrollWidth > e.clientWidth + 1 ? e : e.parentElement;
        const right = Math.max(box.right, box.left + (e.scrollWidth || 0));
        for (; around !== article; around = around.parentElement) {
            if (scrolls(around) || getComputedStyle(around).overflow === "hidden") break;
        }
        const inside = around === article ? innerWidth : around.getBoundingClientRect().right;
        const cut = around !== article && !scrolls(around);
        if (right > inside + 1 && (cut || around === article))
            found.push(`${e.tagName} ${e.className} ${(e.textContent || e.alt).slice(0, 60)}`);
    }
    if (document.scrollingElement.scrollWidth > innerWidth) found.push("the page itself");
    return found;
}"""
# Numbered equations that must be scrolled.
WIDE = """() => [...document.querySelectorAll("div.math:has(.eqno) mjx-container[display]")]
    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.closest("div.math").id)"""
# The rules that look at colours, which the two schemes may break in ways of their own.
COLOURS = ["color-contrast", "link-in-text-block"]
AXE = Axe().axe_script


@pytest.fixture
def page(browser, root):
    with watched(browser, root) as page:
        yield page


@pytest.fixture(scope="module")
def tab(browser):
    """One page for all that are opened from the disk: it keeps the theme's scripts compiled."""
    with watched(browser, f"{HTML.as_uri()}/") as page:
        yield page


def is_known(page, rule, target):
    return any(
        rule == known and page.locator(target).first.evaluate("(e, s) => e.matches(s)", selector)
        for known, selector, _ in ACCESSIBILITY
    )


def barriers(page):
    """Return what breaks axe-core's rules for WCAG A and AA, in both colour schemes."""
    form = {"runOnly": {"type": "tag", "values": WCAG}, "rules": {
        "label-content-name-mismatch": {"enabled": True},  # WCAG A, off by default
        **{rule: {"enabled": False} for rule in COLOURS},
    }}  # fmt: skip
    runs = [("form", "html", form)]
    runs += [(scheme, "[data-look]", {"runOnly": COLOURS}) for scheme in ("light", "dark")]
    page.evaluate(AXE)
    for name, context, options in runs:
        if name != "form":
            page.emulate_media(color_scheme=name)
            page.locator(f"html[data-theme={name}]").wait_for(state="attached")
            looks, marked = page.evaluate(MARK_LOOKS, list(SOUND[name]))
            assert looks > 10
            if not marked:
                continue
        options |= {"resultTypes": ["violations"], "preload": False}
        broken = ""
        found = page.evaluate("(given) => axe.run(...given)", [context, options])
        for violation in found["violations"]:
            for node in violation["nodes"]:
                broken += node["html"]
                if not is_known(page, violation["id"], node["target"][-1]):
                    yield f"{name}: {violation['id']}, {node['html']}\n{node['failureSummary']}"
        if name != "form":
            SOUND[name] |= {look for k, look in enumerate(marked)
                            if f'data-look="{k}"' not in broken}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_page_is_whole(tab, name):
    """One visit, and all that it finds.

    From the disk, where more is forbidden than over http: nothing refused, no error, all maths
    typeset; with everything unfolded, accessible in both colour schemes, and nothing cut off on a
    desk or on a phone: it fits, or scrolls; numbered equations fit on a desk. Where there is no
    live figure, nothing is loaded to draw one.
    """
    tab.goto("about:blank")  # what the page before it still asks for is given up
    tab.asked.clear()
    tab.faults.clear()
    tab.emulate_media(color_scheme="light")
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.goto(f"{HTML.as_uri()}/{name}")
    typeset(tab)
    tab.evaluate("localStorage.clear()")  # each page is a reader's first
    found = tab.faults
    maths = tab.locator(".math").count()
    if tab.locator(".math mjx-container").count() < maths:
        found.append("maths is not typeset")
    if tab.locator("mjx-merror, [data-mjx-error]").count():
        found.append("maths has an error")
    if re.search(r"\\\(|\\\[|\$\$", tab.locator("body").inner_text()):
        found.append("maths is left as it was typed")
    if not tab.locator(".mf-place").count():
        found += [f"loads {url}" for url in tab.asked if "/_static/figures" in url]
    tab.evaluate(OPEN_ALL)
    tab.evaluate(THIN_CODE)
    found += barriers(tab)
    for width in (1280, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        found += [f"at {width} px cut off: {what}" for what in tab.evaluate(CUT)]
        if width == 1280:
            found += [f"scrolls on a desk: {what}" for what in tab.evaluate(WIDE)]
    assert not found, "\n".join(found)


def test_pages_over_http(browser, server):
    """A page of each kind: nothing refused, no error, all maths typeset."""
    with watched(browser, server) as page:
        for name in ("book/index.html", "book/notation.html", "book/api.html", "genindex.html"):
            page.goto(server + name)
            typeset(page)
            maths = page.locator(".math").count()
            assert page.locator(".math mjx-container").count() >= maths
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
    typeset(page)
    solution = page.locator(".admonition.solution.dropdown").first
    assert not solution.locator("p:not(.admonition-title)").first.is_visible()
    solution.locator(".toggle-button").focus()
    page.keyboard.press("Enter")
    solution.locator("p:not(.admonition-title)").first.wait_for(state="visible")


def test_a_page_on_paper(browser):
    """Answers unfolded, folded code and solutions left out, always light; then all as it was."""
    with watched(browser, f"{HTML.as_uri()}/", color_scheme="dark") as page:
        page.goto(f"{HTML.as_uri()}/book/03-tasks-and-shots.html")
        typeset(page)
        answer = page.locator("details.below-input").first
        code = page.locator("details.above-input").first
        solution = page.locator(".solution").first
        page.emulate_media(media="print", color_scheme="dark")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("html").get_attribute("data-theme") == "light"
        assert answer.locator(".cell_output").is_visible()
        assert not answer.locator("summary").is_visible()
        assert not code.is_visible()
        assert not solution.is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.emulate_media(media="screen", color_scheme="dark")
        assert page.locator("html").get_attribute("data-theme") == "dark"
        assert answer.get_attribute("open") is None
        assert solution.is_visible()
        assert page.faults == []


def test_a_quiz_on_paper(browser):
    """Questions and what can be answered; the reasons only in the key, on a sheet of its own."""
    with watched(browser, f"{HTML.as_uri()}/") as page:
        page.goto(f"{HTML.as_uri()}/teach/quizzes/06-meta-sgd.html")
        typeset(page)
        answer, key = page.locator(".quiz-answer").first, page.locator(".quiz-key")
        answer.locator("summary").click()
        assert answer.locator("p").first.is_visible()
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert answer.locator("summary").is_visible()
        assert not answer.locator("p").first.is_visible()
        assert key.locator("li").last.is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert key.get_attribute("open") is None
        assert page.faults == []
