"""A word of the glossary shows its meaning in place: to the pointer, the keys and a finger.

At a desk over http, on a phone from the disk: the script and the styles are the same.
"""

import pytest
from browsing import typeset, watched
from bs4 import BeautifulSoup
from conftest import HTML
from playwright.sync_api import expect

pytestmark = [pytest.mark.built, pytest.mark.browser]

PAGE = "book/01-why-learn-to-learn.html"


def word_and_meaning(page):
    """Return one of the page's words with the meaning beside it, which is hidden as yet."""
    word = page.locator("a[aria-describedby=meaning-term-support-set]").first
    meaning = page.locator("#meaning-term-support-set")
    word.scroll_into_view_if_needed()
    expect(meaning).to_be_hidden()
    return word, meaning


@pytest.fixture(scope="module")
def page(browser, server):
    """Opened once: each test leaves the meanings hidden."""
    with watched(browser, server) as page:
        page.goto(server + PAGE)
        typeset(page)
        yield page
        assert page.faults == []


def test_says_what_the_glossary_says(page):
    """By description too, so that a screen reader reads it; and in the glossary's own words."""
    word, meaning = word_and_meaning(page)
    said = meaning.text_content()
    assert word.get_attribute("aria-describedby") == meaning.get_attribute("id")
    glossary = BeautifulSoup((HTML / "book" / "glossary.html").read_bytes(), "html.parser")
    entry = glossary.select_one("dt#term-support-set + dd").get_text()
    assert " ".join(said.split()) in " ".join(entry.split())


def test_shows_to_the_pointer_which_may_go_to_it(page, server):
    word, meaning = word_and_meaning(page)
    word.hover()
    expect(meaning).to_be_visible()
    above, below = sorted([word.bounding_box(), meaning.bounding_box()], key=lambda box: box["y"])
    assert abs(above["y"] + above["height"] - below["y"]) < 2, "the pointer can reach it"
    meaning.hover()
    expect(meaning).to_be_visible()
    page.mouse.move(2, 2)
    expect(meaning).to_be_hidden()
    assert page.url == server + PAGE


def test_shows_to_the_keys_and_escape_closes_it(page):
    word, meaning = word_and_meaning(page)
    word.focus()
    expect(meaning).to_be_visible()
    page.keyboard.press("Escape")
    expect(meaning).to_be_hidden()
    word.blur()
    word.focus()
    page.keyboard.press("Tab")
    expect(meaning).to_be_hidden()


def test_shows_to_a_finger_within_a_phone(browser):
    """The first tap shows it and stays on the page, a tap elsewhere closes it, a second follows."""
    root, phone = f"{HTML.as_uri()}/", {"viewport": {"width": 390, "height": 800}}
    with watched(browser, root, has_touch=True, **phone) as page:
        page.goto(root + PAGE)
        typeset(page)
        word, meaning = word_and_meaning(page)
        word.tap()
        expect(meaning).to_be_visible()
        assert page.url == root + PAGE
        box = meaning.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        page.locator("article h1").tap()
        expect(meaning).to_be_hidden()
        word.tap()
        word.tap()
        page.wait_for_url("**/glossary.html#term-support-set")
        assert page.faults == []
