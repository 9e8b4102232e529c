"""The mechanism of the interactive figures, in a small book of its own: no kernel, no network."""

import json
import re
import shutil
from itertools import combinations
from types import SimpleNamespace
from urllib.parse import unquote

import nbformat
import pytest
from browsing import served, watched
from docutils.core import publish_doctree
from docutils.nodes import raw, system_message
from docutils.parsers.rst import directives
from figures import READY, jupyter_book, settle
from figures_hook import VIEW, Interactive, figures, lean, make_figures, script, words

from metasgd_core.widgets import Valley
from metasgd_core.widgets import figure as joining

pytestmark = pytest.mark.browser

PAGE, TEXT = "book/figures.html", "book/index.html"
FIRST, SECOND = "#figure-valley", "#figure-second"


@pytest.fixture(scope="module", params=["http", "file"])
def root(request, html):
    if request.param == "file":
        yield f"{html.as_uri()}/"
    else:
        with served(html) as address:
            yield address


@pytest.fixture(scope="module")
def opened(browser, root):
    """The page with figures, opened once a way, and how its figures begin."""
    with watched(browser, root) as page:
        visit(page, root + PAGE)
        page.begins = [drawn(page, figure) for figure in (FIRST, SECOND)]
        yield page


@pytest.fixture
def page(opened):
    """The page, with its figures as they begin: each test leaves them so, or loads it anew."""
    opened.faults.clear()
    assert [drawn(opened, figure) for figure in (FIRST, SECOND)] == opened.begins
    yield opened
    for figure in (FIRST, SECOND):
        opened.locator(figure).get_by_role("button", name="Reset").click()
    settle(opened)


def visit(page, address):
    page.goto("about:blank")  # else an address that differs after # only would load nothing
    page.goto(address)
    page.wait_for_function(READY)


def read(page, figure, name):
    return page.locator(f'{figure} [data-readout="{name}"]').inner_text()


def rate_of(page, figure):
    return float(page.locator(f'{figure} [data-number="alpha"]').input_value())


def drawn(page, figure):
    return page.locator(f"{figure} .mf-plot > svg").first.inner_html()


def press(page, figure, trait, key, times=1):
    page.locator(f'{figure} [data-trait="{trait}"]').focus()
    for _ in range(times):
        page.keyboard.press(key)
    settle(page)


def test_other_widgets_say_what_they_need(page):
    assert page.get_by_text(words()["pages"]["live"]).count() == 1
    assert page.locator("article img").count() == 0, "the PNG is for GitHub; here it would be twice"


def test_a_figure_on_a_page_of_text(browser, root):
    """Made by a line of Markdown, it is the same figure, and as much alive, beside another kind."""
    with watched(browser, root) as page:
        visit(page, root + TEXT)
        assert rate_of(page, FIRST) == 0.05
        before = drawn(page, FIRST)
        press(page, FIRST, "alpha", "ArrowRight")
        assert rate_of(page, FIRST) > 0.05
        assert drawn(page, FIRST) != before
        assert page.get_by_text("A sentence in its place.").count() == 0
        assert page.faults == []


def test_without_scripts_a_sentence_stands_there(browser, html):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{html.as_uri()}/{TEXT}")
        assert page.locator(".mf-place").all_inner_texts() == ["A sentence in its place.", ""]
        page.goto(f"{html.as_uri()}/{PAGE}")
        assert page.locator(".mf-place").all_inner_texts() == [words()["pages"]["waiting"]] * 2


@pytest.mark.parametrize(("call", "said"), [
    ("Valley(alpha=99)", "alpha must be from 0.001 to 10"),
    ("Valley(nothing=1)", "Valley has no nothing"),
    ("Vally()", "there is no figure Vally; there are AdaptSine, AlphaLab, "),
    ("LiveLab()", "there is no figure LiveLab"),
    ("Valley", "write it as"),
    ("Valley(", "was never closed"),
    ("Valley(alpha=rate)", "malformed"),
    ("print('hello')", "write it as"),
])
def test_a_faulty_line_fails_the_build_with_its_reason(call, said):
    directives.register_directive("interactive", Interactive)
    text = publish_doctree(f".. interactive:: {call}", settings_overrides={"report_level": 5})
    (message,) = text.findall(system_message)
    assert message["level"] == 3, "an error, which -W makes a failure"
    assert f"{call}: " in message.astext()
    assert said in message.astext()
    assert not list(text.findall(raw))


def test_a_slider_moves_its_own_figure(page):
    before, other = drawn(page, FIRST), drawn(page, SECOND)
    rate = rate_of(page, FIRST)
    press(page, FIRST, "alpha", "ArrowRight", 5)
    assert rate_of(page, FIRST) > rate
    assert drawn(page, FIRST) != before
    assert drawn(page, SECOND) == other
    page.locator(FIRST).get_by_role("button", name="Reset").click()
    settle(page)
    assert rate_of(page, FIRST) == rate
    assert drawn(page, FIRST) == before
    assert page.faults == []


def test_a_link_brings_both_figures_back(page, root):
    press(page, FIRST, "alpha", "ArrowRight", 3)
    press(page, SECOND, "steps", "ArrowLeft", 2)
    handle = page.locator(f"{FIRST} .mf-handle").first
    handle.focus()
    page.keyboard.press("ArrowUp")
    settle(page)
    for figure in (SECOND, FIRST):
        page.locator(figure).get_by_role("button", name="Link").click()
    pictures = [drawn(page, figure) for figure in (FIRST, SECOND)]
    link = page.url
    parts = dict(part.split("=", 1) for part in link.partition("?")[2].split("&"))
    start = json.loads(unquote(parts["valley"]))["start"]
    assert len(str(start[1])) > 6, "every digit of the dragged point is kept"
    visit(page, link)
    assert [drawn(page, figure) for figure in (FIRST, SECOND)] == pictures
    page.goto(f"{root}{PAGE}#second")
    settle(page)
    assert page.evaluate("scrollY") > 0, "the sections' own anchors work"
    assert page.faults == []


@pytest.mark.parametrize("root", ["file"], indirect=True)  # an undamaged one is tried in both
@pytest.mark.parametrize("damage", [
    "%7B%22alpha%22", "%E0%A4", '{"alpha":"x"}', '{"alpha":1e999}', '{"nothing":1}',
    '{"alpha":1000}', '{"optimizer":"none"}', "null", '{"start":["a"]}', '{"start":[1]}',
])
def test_a_damaged_link_is_one_sentence(page, root, damage):
    visit(page, f"{root}{PAGE}#figure-valley?valley={damage}")
    assert "damaged" in page.locator(f"{FIRST} [data-note]").inner_text()
    assert drawn(page, FIRST) == page.begins[0]
    assert page.locator(f"{SECOND} [data-note]").inner_text() == ""
    assert page.faults == []


def test_points_are_dragged_by_mouse_and_keyboard(page):
    handle = page.locator(f"{FIRST} .mf-handle").first
    where = [handle.get_attribute("aria-valuetext")]
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    assert min(box["width"], box["height"]) >= 24
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 30, steps=4)
    page.mouse.up()
    settle(page)
    where.append(handle.get_attribute("aria-valuetext"))
    moved = handle.bounding_box()
    assert abs(moved["x"] - box["x"] - 40) <= 1.5
    assert abs(moved["y"] - box["y"] - 30) <= 1.5
    page.mouse.move(x, y)
    settle(page)
    assert handle.get_attribute("aria-valuetext") == where[-1], "let go"
    for key in ("ArrowLeft", "Shift+ArrowDown"):
        handle.focus()
        page.keyboard.press(key)
        settle(page)
        where.append(handle.get_attribute("aria-valuetext"))
    assert len(set(where)) == 4
    assert page.faults == []


def test_points_are_dragged_by_touch(browser, root):
    with browser.new_context(has_touch=True, viewport={"width": 390, "height": 800}) as context:
        page = context.new_page()
        visit(page, root + PAGE)
        handle = page.locator(f"{FIRST} .mf-handle").first
        handle.scroll_into_view_if_needed()
        box, top = handle.bounding_box(), page.evaluate("scrollY")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch = context.new_cdp_session(page)

        def send(kind, *points):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

        send("touchStart", {"x": x, "y": y})
        for k in range(1, 6):
            send("touchMove", {"x": x + 6 * k, "y": y + 5 * k})
        send("touchEnd")
        settle(page)
        moved = handle.bounding_box()
        assert abs(moved["x"] - box["x"] - 30) <= 2
        assert abs(moved["y"] - box["y"] - 25) <= 2
        assert page.evaluate("scrollY") == top, "the page does not scroll under the finger"


@pytest.mark.parametrize("root", ["http"], indirect=True)  # from the disk none can be changed
def test_a_figure_that_cannot_be_drawn_says_so(browser, root):
    with watched(browser, root) as page:
        page.route("**/Valley.js*", lambda route: route.fulfill(body="", content_type="text/plain"))
        page.goto(root + PAGE)
        page.get_by_text("cannot be drawn here").first.wait_for()
        assert page.get_by_text("cannot be drawn here").count() == 2
        assert page.locator("article h1").count() == 1


def test_every_figure_has_an_id_of_its_own():
    ids = [cls._figure_id for cls in figures().values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z-]+", name) for name in ids)


def test_a_notebook_stores_a_picture_and_what_makes_it_again(html):
    """And of another widget that one was there; JupyterLab hides the view of no model."""
    notebook = nbformat.read(html.parents[1] / "book" / "figures.ipynb", as_version=4)
    assert "widgets" not in notebook.metadata
    first, second, slider = (out for cell in notebook.cells for out in cell.get("outputs", []))
    for output, made in ((first, Valley()), (second, Valley(figure_id="second", alpha=0.05))):
        assert output.data.keys() == {"image/png", "text/plain"}
        assert output.metadata.metasgd_core == {"figure": "Valley", "arguments": made.arguments()}
    assert slider.data.keys() == {VIEW, "text/plain"}
    assert slider.data[VIEW].model_id == ""


def read_source(outputs, caplog):
    """Return the outputs of a notebook as the build reads them, and what it complains of."""
    notebook = {"metadata": {}, "cells": [{"outputs": outputs}, {}]}
    app = SimpleNamespace(env=SimpleNamespace(doc2path="book/{}.ipynb".format))
    source = [json.dumps(notebook)]
    make_figures(app, "02-valley", source)
    return json.loads(source[0])["cells"][0]["outputs"], [r.getMessage() for r in caplog.records]


@pytest.mark.parametrize(("name", "arguments", "said"), [
    ("Gone", {}, "there is no figure Gone; there are "),
    ("Valley", {"depth": 1}, "Valley has no depth; it has alpha, "),
    ("Valley", {"steps": 0}, "steps must be from 1 to 100"),
])
def test_a_stored_figure_of_other_times_fails_the_build(name, arguments, said, caplog):
    """An error, which -W makes a failure, and which says how to mend it."""
    stored = {
        "data": {"image/png": ""},
        "metadata": {"metasgd_core": {"figure": name, "arguments": arguments}},
    }
    _, messages = read_source([stored], caplog)
    (message,) = messages
    assert caplog.records[0].levelname == "ERROR"
    assert caplog.records[0].location == "02-valley"
    assert message.startswith(f"the stored figure {name} cannot be made again: {said}")
    assert message.endswith("; run `make notebooks ONLY=02-valley`")


def test_a_figure_that_nothing_makes_again_stays_a_picture(caplog):
    """As one of arms that a reader has trained."""
    stored = {"data": {"image/png": "", "text/plain": "AlphaLab()"}, "metadata": {}}
    assert read_source([stored], caplog) == ([stored], [])


MARK = "A mark in draw.js."


@pytest.fixture
def commented(tmp_path, monkeypatch):
    """Add a line to draw.js in a copy of the package, and return the folder of the copy."""
    copy = tmp_path / "metasgd_core"
    shutil.copytree(joining.HERE.parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "widgets" / "shared" / "draw.js").open("a") as file:
        file.write(f'\nconst DRAW_MARK = "{MARK}";\n')
    monkeypatch.setattr(joining, "HERE", copy / "widgets")
    joining.module_text.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    joining.module_text.cache_clear()


def test_a_change_of_code_alone_changes_no_notebook(commented):
    """Which holds no code: nobody need run the chapters for it."""
    changed = type("Valley", (Valley,), {"sources": Valley.sources})  # as its file makes it now
    assert MARK in changed._esm
    assert MARK not in Valley._esm
    kept = []
    for figure in (Valley(), changed()):
        data, metadata = figure._repr_mimebundle_()
        data.pop(VIEW)  # as notebooks.py does
        kept.append((data, metadata))
    assert kept[0] == kept[1]


def test_a_change_of_code_alone_reaches_the_page(commented, html, monkeypatch):
    """Built once more from the same notebooks: the page loads the new script, by a new address."""
    book = commented / "book"
    shutil.copytree(html.parents[1], book, ignore=shutil.ignore_patterns("_build"))
    monkeypatch.setenv("PYTHONPATH", str(commented))
    address = re.compile(r"_static/figures/Valley\.js\?v=\w+")
    again = jupyter_book(book)
    old, new = (address.search((pages / PAGE).read_text("utf-8"))[0] for pages in (html, again))
    assert old != new
    assert MARK in (again / new.partition("?")[0]).read_text("utf-8")


def test_what_figures_share_is_there_once(browser):
    """Whatever kinds meet on a page: one scope, no name twice in it, and one that is global."""
    names = sorted(figures())
    text, told = script(names)
    for path in (joining.HERE / "shared").glob("*.js"):
        for name in re.findall(r"^function (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert len(re.findall(rf"\bfunction {name}\b", text)) == 1, name
    with browser.new_context() as context:
        page, faults = context.new_page(), []
        page.on("pageerror", lambda error: faults.append(str(error)))
        before = set(page.evaluate("Object.getOwnPropertyNames(window)"))
        page.set_content(told)
        page.add_script_tag(content=text)
        now = set(page.evaluate("Object.getOwnPropertyNames(window)"))
        assert now - before == {"bookFigures"}
        assert page.evaluate("Object.keys(bookFigures)") == names
        assert page.evaluate("typeof createFrame") == "undefined"
        assert faults == []


#: A large figure and another of these, or of the next, are more than a page should load.
LARGE = {"CartPolePlay", "DrawCharacter"}
MIDDLING = {"AdaptSine", "AlphaLab", "AttentionStep", "PatientCurve", "TwentyWalks"}
TOO_MUCH = {("CartPolePlay", "Valley"), ("DrawCharacter", "StepKernel")}


def test_two_kinds_fit_on_a_page():
    """With what every page loads, in 60 kB of code; the exceptions are named, and all of them."""
    assets = joining.HERE.parents[1] / "book" / "assets"
    every = {name: (assets / name).read_text() for name in ("book.css", "book.js", "figures.js")}
    every["figure.css"] = joining.module_text(("shared/figure.css",))
    sizes = [len(lean(text, css=name.endswith("css")).encode()) for name, text in every.items()]
    pairs = combinations(sorted(figures()), 2)
    over = {pair for pair in pairs if len(script(list(pair))[0].encode()) + sum(sizes) > 60_000}
    known = {pair for pair in combinations(sorted(LARGE | MIDDLING), 2) if LARGE & set(pair)}
    assert over == known | TOO_MUCH
