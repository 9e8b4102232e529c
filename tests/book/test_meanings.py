"""A word of the glossary shows its meaning in place: to the pointer, the keys and a finger."""

import pytest
from browsing import typeset, watched
from playwright.sync_api import expect

pytestmark = [pytest.mark.built, pytest.mark.browser]

PAGE = "book/01-why-learn-to-learn.html"


def word_and_meaning(page, root):
    """Open a page; return one of its words with the meaning beside it, which is hidden as yet."""
    page.goto(root + PAGE)
    typeset(page)
    word = page.locator("a[aria-describedby=meaning-term-support-set]").first
    meaning = page.locator("#meaning-term-support-set")
    word.scroll_into_view_if_needed()
    expect(meaning).to_be_hidden()
    return word, meaning


@pytest.fixture
def page(browser, root):
    with watched(browser, root) as page:
        yield page
        assert page.faults == []


def test_says_what_the_glossary_says(page, root):
    """By description too, so that a screen reader reads it; and in the glossary's own words."""
    word, meaning = word_and_meaning(page, root)
    said = meaning.text_content()
    assert word.get_attribute("aria-describedby") == meaning.get_attribute("id")
    page.goto(root + "book/glossary.html")
    assert said.strip() in page.locator("dt#term-support-set + dd").inner_text().replace("\n", " ")


def test_shows_to_the_pointer_which_may_go_to_it(page, root):
    word, meaning = word_and_meaning(page, root)
    word.hover()
    expect(meaning).to_be_visible()
    above, below = sorted([word.bounding_box(), meaning.bounding_box()], key=lambda box: box["y"])
    assert abs(above["y"] + above["height"] - below["y"]) < 2, "the pointer can reach it"
    meaning.hover()
    expect(meaning).to_be_visible()
    page.mouse.move(2, 2)
    expect(meaning).to_be_hidden()
    assert page.url == root + PAGE


def test_shows_to_the_keys_and_escape_closes_it(page, root):
    word, meaning = word_and_meaning(page, root)
    word.focus()
    expect(meaning).to_be_visible()
    page.keyboard.press("Escape")
    expect(meaning).to_be_hidden()
    word.blur()
    word.focus()
    page.keyboard.press("Tab")
    expect(meaning).to_be_hidden()


def test_shows_to_a_finger_within_a_phone(browser, root):
    """The first tap shows it and stays on the page, a tap elsewhere closes it, a second follows."""
    phone = {"viewport": {"width": 390, "height": 800}, "has_touch": True}
    with watched(browser, root, **phone) as page:
        word, meaning = word_and_meaning(page, root)
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
