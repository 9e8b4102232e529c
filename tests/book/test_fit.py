"""Nothing on a page is cut off, on a desk or on a phone, in ink or on paper."""

import pytest
from browsing import typeset, watched
from conftest import HTML, pages

pytestmark = [pytest.mark.built, pytest.mark.browser]

NAMES = sorted(path.name for path in pages() if path.parent == HTML / "book")
WIDTHS = (1280, 390)

# What is wider than the box that it is in, where no box around it can be scrolled. Folded parts are
# unfolded first. A scroller counts when it says that it scrolls: hidden is cut.
CUT = """() => {
    const article = document.querySelector("article.bd-article");
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
UNFOLD = """() => {
    document.querySelectorAll("details").forEach(d => { d.open = true; });
    document.querySelectorAll(".toggle-button-hidden").forEach(b => b.click());
}"""


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off(browser, name):
    """Code, tables, equations and pictures fit, or scroll; numbered equations fit on a desk."""
    root = f"{(HTML / 'book').as_uri()}/"
    with watched(browser, root) as page:
        page.goto(root + name)
        typeset(page)
        page.evaluate(UNFOLD)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(CUT) == [], f"at {width} px"
            if width == 1280:
                assert page.evaluate(WIDE) == []
