"""The pages on paper: `make pdf` prints them all and holds each to more; here is one of them."""

import json
import os
import re
import shutil
import subprocess

import print_pages
import pytest
import yaml
from conftest import HTML, ROOT

SENTINEL = "this sentence tells what the solution is"
CORE = 14  # sheets: two fifths of the 37 that chapter 6 once took


def lacking(reason):
    pytest.fail(reason) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(reason)


@pytest.fixture(scope="module")
def pdftotext():
    program = shutil.which("pdftotext")
    if program is None:
        lacking("no pdftotext here: no PDF was read (Debian: apt install poppler-utils)")

    def read(pdf):
        done = subprocess.run([program, "-", "-"], input=pdf, capture_output=True, check=True)
        return done.stdout.decode()

    return read


@pytest.mark.built
@pytest.mark.browser
def test_a_chapter_as_a_pdf(browser, pdftotext, tmp_path):
    """Fit for paper, few sheets, numbered, maths set; the students' holds no word of a solution."""
    for folder in ("_static", "_images"):
        (tmp_path / folder).symlink_to(HTML / folder)
    chapter = tmp_path / "book" / "06-meta-sgd.html"
    chapter.parent.mkdir()
    built = (HTML / "book" / chapter.name).read_text(encoding="utf-8")
    opening = '<section id="solution-content">'
    solutions = built.count(opening)
    assert solutions
    planted = built.replace(opening, f"{opening}<p>{SENTINEL}</p>")
    chapter.write_text(planted, encoding="utf-8")
    page = print_pages.open_page(browser, chapter.as_uri())
    page.emulate_media(media="print")
    seen = page.evaluate(print_pages.SEEN, print_pages.SOLUTIONS)
    assert seen["faults"] == []
    assert seen["headings"][0] == "6. Meta-SGD: learn the step too"
    assert SENTINEL.replace(" ", "") in seen["answers"]
    teacher = print_pages.paper(page, "teacher")
    students = print_pages.paper(page, "students", first=81, foot="where it is published")
    page.close()
    assert pdftotext(teacher).count(SENTINEL) == solutions
    assert b"/Outlines" in students
    count = print_pages.sheets(students)
    assert 5 < count <= CORE
    *sheets, rest = pdftotext(students).split("\f")
    assert len(sheets) == count
    assert not rest.strip()
    for number, sheet in enumerate(sheets, 81):
        assert "6. Meta-SGD: learn the step too — Learning to learn" in sheet
        assert "where it is published" in sheet
        assert str(number) in sheet.split()
    text = " ".join(sheets)
    assert "Exercise 6.1" in text
    assert "(6.1)" in text
    for told in (SENTINEL, "Solution to", "\\(", "\\[", "\\alpha", "\\theta", "Show code"):
        assert told not in text


@pytest.mark.built
@pytest.mark.browser
def test_what_does_not_fit_on_paper_is_told(browser, tmp_path):
    """A table wider than the sheet, and a formula left as it was typed, would be cut off or raw."""
    page = browser.new_page()
    page.set_content(
        '<html data-theme=light><body><article class="bd-article"><h1>A page</h1>'
        '<table style="width: 900px"><tr><td>wide</table><span class="math">raw</span></article>'
    )
    page.set_viewport_size({"width": print_pages.WIDTH, "height": 900})
    seen = page.evaluate(print_pages.SEEN, print_pages.SOLUTIONS)
    page.close()
    assert seen["faults"] == ["a formula is not set", "too wide for the paper: table wide"]


def test_every_page_has_a_pdf():
    """In the book's order, none twice, and under a name of its own."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    printed = [entry["page"] for entry in print_pages.book_pages(toc)]
    assert printed == [page for page in listed if page not in print_pages.ON_SCREEN]
    assert len({print_pages.name(page) for page in printed}) == len(printed)


def test_no_browser_is_said(monkeypatch, capsys):
    """One sentence, and not a traceback."""
    monkeypatch.setattr(print_pages, "CHROMIUM", None)
    monkeypatch.setattr("sys.argv", ["print_pages.py"])
    assert print_pages.main() == 1
    assert "sudo apt install chromium" in capsys.readouterr().out


@pytest.mark.browser
def test_the_binder_tells_what_is_wrong(browser, tmp_path):
    """Each fault that it looks for, in a page that has them all; pypdf is in .venv-teach alone."""
    python = ROOT / ".venv-teach" / "bin" / "python"
    there = [python, "-c", "import pypdf"]
    if not python.exists() or subprocess.run(there, capture_output=True).returncode:
        lacking("no pypdf in .venv-teach: `make pdf` installs it, and holds every PDF to the same")
    style = (ROOT / "book" / "assets" / "print.css").read_text(encoding="utf-8")
    page = browser.new_page()
    page.set_content(
        f"<!doctype html><html data-theme=light style='--paper-title: \"A page\"'><style>{style}"
        "</style><article class=bd-article><h1>A page</h1><p>Here \\(\\alpha\\) is raw.</p>"
        "<div style='height: 80px; background: #eee'></div><h2>A title alone</h2>"
        "<p style='break-before: page'>The solution is what this line says.</p></article>"
    )
    entry = {"page": "book/a", "name": "a", "part": None, "level": 0, "titles": [],
             "headings": ["A page", "A title alone"], "first": {"students": 1, "teacher": 7},
             "answers": ["Thesolutioniswhatthislinesays."]}  # fmt: skip
    for kind in print_pages.KINDS:
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.pdf").write_bytes(print_pages.paper(page, kind))
    page.close()
    told = {"html": "file:///html", "published": None, "whole": False, "pages": [entry]}
    (tmp_path / "pages.json").write_text(json.dumps(told), encoding="utf-8")
    command = [python, ROOT / "tools" / "bind_book.py", "--printed", tmp_path, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    faults = [line.partition(".pdf: ")[2] for line in done.stdout.splitlines()]
    assert faults == [
        "page 1 ends with the title 'Atitlealone', cut from what it stands over",
        "page 1 has an empty frame, cut from what it should hold",
        "page 1 has raw TeX: '\\\\(\\\\alpha\\\\) is raw. A title alone'",
        "the students' PDF tells a solution: 'Thesolutioniswhatthislinesays.'",
        "sheet 1 should have the number 7, and has '1'",
        "page 7 ends with the title 'Atitlealone', cut from what it stands over",
        "page 7 has an empty frame, cut from what it should hold",
        "page 7 has raw TeX: '\\\\(\\\\alpha\\\\) is raw. A title alone'",
        "sheet 2 should have the number 8, and has '2'",
    ]
