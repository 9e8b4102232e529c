"""The decks: one a chapter, slides that fit, figures that live, numbers that the page makes."""

import json
import os
import re

import check
import pytest
from browsing import typeset, watched
from conftest import CHAPTERS, ROOT

SOURCES = sorted((ROOT / "teach" / "decks").glob("[0-9]*.md"))
SLIDES = ROOT / "_build" / "slides"
SIZES = [(1280, 720), (1024, 768)]
NOTES = re.compile(r"^```\{notes\} (\S+)\n(.+?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^[`:]{3,}.*$|^:\w+: .*$", re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?!\w)")
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# What reaches beyond the slide, and code that is cut off at its right.
OUTSIDE = """() => {
  const room = document.querySelector(".slides").getBoundingClientRect(), found = [];
  const seen = "*:not(svg *, mjx-assistive-mml *, .notes *, .mf-live, .mf-title)";
  for (const part of Reveal.getCurrentSlide().querySelectorAll(seen)) {
    const { left, top, right, bottom, width, height } = part.getBoundingClientRect();
    if (!width || !height || !part.checkVisibility()) continue;
    const cut = part.matches("pre code") ? part.scrollWidth - part.clientWidth : 0;
    const over = Math.max(
      room.left - left, room.top - top, right - room.right, bottom - room.bottom, cut,
    );
    if (over > 1) found.push(`${part.tagName} ${part.textContent.slice(0, 30)}: ${over}`);
  }
  return found;
}"""
SHOWN = """[...document.querySelectorAll(".slides > section")].map((slide) => {
  const copy = slide.cloneNode(true);
  copy.querySelectorAll("script, style, code").forEach((part) => part.remove());
  return copy.textContent;
}).join(" ")"""


def slides(source):
    """Return the slides of a deck, each with its heading."""
    return re.split(r"^(?=##? )", source.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


def made(stem):
    """Return all that a chapter and its companion page say, compute and print."""
    said = []
    for path in (ROOT / "book").glob(f"{stem}*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            said.append("".join(cell["source"]) + json.dumps(cell["metadata"]))
            for output in cell.get("outputs", []):
                text = output.get("text") or output.get("data", {}).get("text/plain", "")
                said.append("".join(text))
    return "\n".join(said)


def in_turn():
    """Return all decks; in CI a third of them, each day others, and what a commit changes."""
    seconds = check.git("log", "-1", "--format=%ct")
    if os.environ.get("COMPANIONS") != "in-turn" or not seconds:
        return SOURCES
    changed = check.git("diff", "--name-only", "HEAD~1", "--", "teach/decks")
    day = int(seconds) // 86_400
    return [p for k, p in enumerate(SOURCES) if (k - day) % 3 == 0 or p.name in changed]


def test_every_chapter_has_a_deck():
    """Else a teacher comes to a week without slides, or to slides of a chapter that is gone."""
    chapters, decks = ({path.stem for path in paths} for paths in (CHAPTERS, SOURCES))
    missing = ", ".join(sorted(chapters - decks))
    assert not missing, f"write teach/decks/NAME.md for {missing}"
    assert not decks - chapters


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_deck_can_be_taught(source):
    """Else a slide has nothing to say to the teacher, too much to the class, or no question."""
    deck = slides(source)
    assert 12 <= len(deck) <= 20
    assert sum("{container} ask" in slide for slide in deck) >= 3
    live = json.dumps("metasgd_core") in (ROOT / "book" / f"{source.stem}.ipynb").read_text("utf-8")
    assert live == any("```{interactive}" in slide for slide in deck)
    minutes = 0.0
    for slide in deck:
        title = slide.partition("\n")[0]
        notes = NOTES.findall(slide)
        assert len(notes) == 1, f"{title}: its notes"
        minutes += float(notes[0][0])
        assert "$" not in notes[0][1], f"{title}: the speaker's window sets no formula"
        shown = re.sub(r"\$\$.*?\$\$|```python.*?```", "", NOTES.sub("", slide), flags=re.DOTALL)
        words = len(re.findall(r"\w\S*", DIRECTIVE.sub("", shown)))
        assert words <= 75, f"{title}: {words} words"
    assert 45 <= minutes <= 90


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_number_is_the_chapters(source):
    """Else a slide says 0.52 when the page, trained again, says 0.55."""
    text = DIRECTIVE.sub("", "\n".join(slides(source)))
    text = re.sub(r"[Cc]hapters? \d+|\{footcite:t\}`.*?`", "", text)
    assert set(NUMBER.findall(text)) - set(NUMBER.findall(made(source.stem))) == set()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_exercise_is_the_chapters(source):
    """Else the class is sent home with an exercise that nobody finds."""
    said = made(source.stem)
    named = re.findall(r"\*\*(.+?)\*\* \((easy|medium|hard)\)", source.read_text("utf-8"))
    assert len(named) == 2
    for name, level in named:
        assert re.search(rf"\*\*{re.escape(name)}\.?\*\* \*\(\d+ minutes, {level}\)", said), name


@pytest.fixture
def deck(browser):
    """Open a deck from the disk, as a teacher does."""
    if not (SLIDES / "index.html").exists():
        pytest.fail("the decks are not built: run `make slides` first")
    with watched(browser, f"{SLIDES.as_uri()}/") as page:

        def opened(name):
            page.set_viewport_size({"width": 1280, "height": 720})
            page.goto(f"{SLIDES.as_uri()}/{name}.html")
            typeset(page)
            page.wait_for_function("Reveal.isReady()")
            page.evaluate("document.fonts.ready")
            return page

        yield opened
        assert page.faults == []


@pytest.mark.browser
@pytest.mark.parametrize("name", [*(path.stem for path in in_turn()), "index"])
def test_every_slide_fits(deck, name):
    """Else the last line is below the projector's edge, a figure is dead, or a formula raw."""
    page = deck(name)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for k in range(page.evaluate("Reveal.getTotalSlides()")):
            page.evaluate(f"Reveal.slide({k})")
            page.evaluate(DRAWN)
            here = f"slide {k + 1} at {width} x {height}"
            assert page.evaluate(OUTSIDE) == [], here
            for group in page.locator("section.present section.present details").all():
                group.evaluate("(group) => { group.open = true; }")
                page.evaluate(DRAWN)
                assert page.evaluate(OUTSIDE) == [], f"{here}: {group.inner_text()[:30]}"
    assert not re.search(r"\$|\\[a-zA-Z(\[]", page.evaluate(SHOWN))
    assert page.locator(".mf-place").count() == page.locator(".mf-figure[data-ready]").count()
    assert page.locator("[data-failed]").count() == 0
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


@pytest.mark.browser
def test_keys_and_figures(deck):
    """Else a clicker sticks in a slider, or an arrow meant for a point turns the page."""
    page = deck("06-meta-sgd")
    press, at = page.keyboard.press, lambda: page.evaluate("Reveal.getSlidePastCount()")
    figure = page.locator(".mf-figure").first
    steps = figure.locator("input[type=range]").first
    press("ArrowRight")
    assert at() == 1
    page.evaluate("Reveal.slide(4)")
    steps.focus()
    press("ArrowRight")  # the slider's
    assert (steps.input_value(), at()) == ("2", 4)
    figure.locator(".mf-say", has_text="2 steps").wait_for()
    press("Escape")  # gives the keys back, and does no more
    assert not page.evaluate("Reveal.isOverview()")
    press("ArrowRight")
    assert at() == 5
    press("ArrowLeft")
    steps.focus()
    press("PageDown")  # a clicker's
    assert (steps.input_value(), at()) == ("2", 5)
    press("PageUp")
    figure.get_by_role("button", name="New curve").click()
    press("ArrowRight")  # a button needs it not
    assert at() == 5
    press("ArrowLeft")

    point = figure.locator(".mf-handle").first
    before = point.bounding_box()
    x, y = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y)
    page.mouse.up()
    page.evaluate(DRAWN)
    assert abs(point.bounding_box()["x"] - before["x"] - 60) < 3
    point.focus()
    press("ArrowUp")
    assert at() == 4

    press("Escape")
    press("d")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    with page.expect_popup() as speaker:
        press("s")
    speaker.value.get_by_text("Drag a point first").wait_for()
