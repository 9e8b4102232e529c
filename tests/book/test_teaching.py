"""The pages for teachers, and what the kit beside them holds."""

import re
import subprocess
import zipfile

import pytest
from browsing import watched
from bs4 import BeautifulSoup
from budget import EXERCISE, PLAN, core, sections, timetable
from conftest import CHAPTERS, HTML, ROOT
from figures_hook import REFUSED, call, make, state, stored
from kit import PARTS, gather
from mounting import get, mount
from notebooks import read
from pictures import pack

TEXT = PLAN.read_text(encoding="utf-8")
LINK = re.compile(r"\{interactive\}`[^<`]+<([\w-]+): ([^`]+)>`")
LINKS = LINK.findall(TEXT)


def label(path):
    return re.match(r"\((ch-[\w-]+)\)=", read(path).cells[0].source)[1]


def part(title):
    """Return the text under a heading of the plan, up to the next one of its kind."""
    return re.search(rf"^## {title}.*?(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL)[0]


def test_the_minutes_are_those_of_the_chapters():
    assert timetable(CHAPTERS, TEXT) == TEXT, "python tools/budget.py --write"


def test_every_chapter_is_in_the_plan():
    """With its core, a question for the room, and something to show."""
    entries = re.split(r"^### ", part("Chapter by chapter"), flags=re.MULTILINE)[1:]
    said = dict(re.match(r"\{ref\}`([\w-]+)`(.*)", entry, re.DOTALL).groups() for entry in entries)
    assert list(said) == [label(path) for path in CHAPTERS], "an entry for each, in their order"
    for name, entry in said.items():
        assert re.findall(r"^\*\*(\w+):\*\*", entry, re.MULTILINE) == ["Core", "Ask", "Show"], name
    assert all(core(TEXT).values())


def test_what_the_plan_names_is_there():
    """Sections and exercises, by their names, which a chapter may change."""
    known = {"Going deeper", "Next", "New curve", "Import", "Moodle XML format"}
    for path in CHAPTERS:
        notebook = read(path)
        known |= {name.replace("*", "") for name in sections(notebook)}
        for cell in notebook.cells:
            exercises = (found[0].split("**")[1] for found in EXERCISE.finditer(cell.source))
            known |= {title.removesuffix(".") for title in exercises}
    text = TEXT.partition("\n## ")[2]
    named = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)
    assert len(named) > 40
    assert [name for name in named if " ".join(name.split()) not in known] == []


@pytest.mark.parametrize("session", ["Session 1", "Session 2", "Session 3", "Session 4", ""])
def test_a_session_has_its_minutes(session):
    text = part("An afternoon") if not session else part("Two weeks").partition(session)[2]
    minutes = re.findall(r"^- \*\*(\d+) min\*\*", text.partition("\n### ")[0], re.MULTILINE)
    assert sum(map(int, minutes)) == (90 if session else 180)


def test_each_chapter_with_a_figure_has_a_link_to_it():
    """A teacher shows it in the state that the question needs."""
    linked = {page for page, _ in LINKS}
    assert linked == {path.stem for path in CHAPTERS if stored(path)}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Valley(alpha=20)", "alpha must be from 0.001 to 10"),
        ("Valley(alpha='small')", "alpha"),
        ("Valley(width=2)", "a link cannot set width of Valley"),
        ("Valley(figure_id='b')", "a link cannot set figure_id of Valley"),
        ("AdaptSine()", "02-gradient-descent.ipynb has no AdaptSine; it has Valley"),
        ("Valley", "write it as"),
    ],
)
def test_a_state_that_cannot_be_is_refused(text, sentence):
    """By the build, at the latest: a link that opens something else is worse than none."""
    with pytest.raises(REFUSED, match=re.escape(sentence)):
        state(ROOT / "book" / "02-gradient-descent.ipynb", *call(text))


@pytest.mark.browser
def test_each_link_sets_its_figure(page, address):
    """As the page reads it: its own ranges, and no word of damage."""
    for name, text in LINKS:
        path = ROOT / "book" / f"{name}.ipynb"
        figure, traits = call(text)
        page.goto("about:blank")
        page.goto(address + state(path, figure, traits))
        shown = make(figure, stored(path)[figure])
        mount(page, shown)
        assert page.locator("[data-note]").text_content() == "", text
        for trait, value in traits.items():
            assert get(page, trait) == value, text


@pytest.mark.built
@pytest.mark.browser
def test_a_link_of_the_plan_leads_to_the_figure(browser):
    with watched(browser, f"{HTML.as_uri()}/") as page:
        page.goto(f"{HTML.as_uri()}/book/teaching.html")
        page.get_by_role("link", name="a rate on the edge").click()
        page.locator("#figure-valley[data-ready]").wait_for()
        assert page.locator('[data-number="alpha"]').input_value() == "0.2"
        page.wait_for_function("() => scrollY > 0")
        assert page.faults == []


@pytest.mark.built
def test_every_drawn_figure_is_in_the_zip(tmp_path):
    """Light and dark, with its caption, its words for who does not see it, and its page."""
    found = pack(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = archive.namelist()
        index = BeautifulSoup(archive.read("figures/index.html"), "html.parser")
        for one in found:
            light, dark = (f"figures/{one.file}{end}.svg" for end in ("", "-dark"))
            assert b"<svg" in archive.read(light)[:2000]
            assert archive.read(light) != archive.read(dark)
            entry = index.find(id=one.name)
            assert one.alt == entry.img["alt"] != ""
            assert len(one.caption) > 20, one.name
            assert "\\(" not in one.caption
            assert f"{one.page}#{one.name}" in str(entry)
    assert len(names) == len(set(names)) == 2 * len(found) + 2
    assert "figures/LICENSE" in names
    assert "CC BY 4.0" in index.get_text()
    drawn = {one.name for one in found}
    for page in (HTML / "book").glob("*.html"):
        for figure in re.findall(r"<figure.*?</figure>", page.read_text("utf-8"), re.DOTALL):
            if image := re.search(r'<img [^>]*src="([^"]+)"', figure):
                moves = b"acTL" in (page.parent / image[1]).read_bytes()[:200]  # an animation
                assert moves or re.search(r'id="([^"]+)"', figure)[1] in drawn, f"{page}: a raster"


def test_the_kit_leads_to_all_that_was_made(tmp_path):
    for one in PARTS:
        place = tmp_path / "built" / one.links.replace("**/", "deep/").replace("*", "one")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("here")
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "of-yesterday").write_text("old")
    assert gather(tmp_path / "kit", tmp_path / "built") == PARTS
    page = BeautifulSoup((tmp_path / "kit" / "index.html").read_text("utf-8"), "html.parser")
    links = {a["href"] for a in page.find_all("a", href=True)}
    assert all((tmp_path / "kit" / link).read_text() == "here" for link in links)
    assert len(links) == len(PARTS)
    assert not (tmp_path / "kit" / "of-yesterday").exists()
    (tmp_path / "built" / "figures.zip").unlink()
    assert len(gather(tmp_path / "kit", tmp_path / "built")) == len(PARTS) - 1


def test_the_zip_takes_the_kit_along_when_asked():
    """And what makes the kit makes each of its parts."""

    def said(*words):
        made = (f"-o{name}" for name in ("_build/.book", ".venv/.installed"))
        command = ["make", "-n", *made, *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "zip html kit" not in said("zip")
    whole = said("zip", "KIT=1")
    assert "meta-sgd-book.zip html kit" in whole
    assert [one.made for one in PARTS if one.made not in whole.partition("tools/kit.py")[0]] == []
