"""The built pages, read without a browser: links, pictures, buttons."""

from functools import cache
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from conftest import CHAPTERS, HTML, NOTEBOOKS, ROOT, pages
from repository import repository

pytestmark = pytest.mark.built
each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(HTML)))


@cache
def soup(page):
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(page):
    return {tag["id"] for tag in soup(page).find_all(id=True)}


def test_every_chapter_has_a_page_under_its_number():
    """Numbered by its file: where a chapter is not written yet, no other takes its place."""
    assert len(CHAPTERS) >= 9
    for path in CHAPTERS:
        (own,) = soup(HTML / "book" / f"{path.stem}.html").select("li.toctree-l1.current.active")
        assert own.get_text().strip().startswith(f"{int(path.name[:2])}. "), path.name


@each_page
def test_only_titles_are_numbered(page):
    """Else all sections of a companion page bear the chapter's number."""
    assert not soup(page).select("h2 .section-number, h3 .section-number")


@each_page
def test_no_dead_link(page):
    for tag in soup(page).find_all(["a", "img", "link", "script"]):
        address = tag.get("href") or tag.get("src") or ""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            loads = tag.name in ("img", "script") or "stylesheet" in tag.get("rel", [])
            assert not loads, f"asks the network for {address}"
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.is_file(), f"{address} leads nowhere"
        if "?" in parts.fragment:  # a state of a figure, whose place has its name once it is drawn
            name = parts.fragment.partition("?")[0].removeprefix("figure-")
            assert f'"_figure": "{name}"' in target.read_text(encoding="utf-8"), address
        elif parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in anchors(target), (
                f"no place #{parts.fragment} in {target.name}"
            )


@each_page
def test_every_picture_has_alt_text(page):
    for image in soup(page).find_all("img"):
        if "theme" not in (image.get("src") or "") and not image.find_parent(
            class_="header-article"
        ):
            alt = image.get("alt", "")
            assert alt, f"{image} has no alt text"
            assert not alt.endswith((".png", ".svg")), f"{alt} is a file's name"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_buttons_lead_to_the_students_notebook(path):
    """Of the repository that the book was built for; Colab opens notebooks from GitHub alone."""
    host, _, owner_and_name = repository().removeprefix("https://").partition("/")
    links = soup(HTML / "book" / f"{path.stem}.html").find_all("a", href=True)
    colab = {a["href"] for a in links if a["href"].startswith("https://colab.")}
    base = "https://colab.research.google.com/github"
    button = {f"{base}/{owner_and_name}/blob/gh-pages/notebooks/{path.name}"}
    assert colab == (button if host == "github.com" else set())
    (download,) = (a["href"] for a in links if "btn-download-source-button" in a.get("class", []))
    assert download == f"../notebooks/{path.name}"
    assert (HTML / "notebooks" / path.name).is_file()


def test_the_root_leads_to_the_book():
    refresh = soup(HTML / "index.html").find("meta", attrs={"http-equiv": "Refresh"})
    assert refresh is not None
    assert (HTML / refresh["content"].partition("url=")[2]).is_file()


def test_every_module_is_on_the_api_page():
    described = anchors(HTML / "book" / "api.html")
    for path in (ROOT / "metasgd_core").rglob("[!_]*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        assert f"module-{module}" in described, module


def test_stable_anchors_for_who_builds_on_it():
    """A course may link to a name of the API, a term, a chapter."""
    assert "metasgd_core.adaptation.adapt" in anchors(HTML / "book" / "api.html")
    assert "term-meta-learning" in anchors(HTML / "book" / "glossary.html")
    assert "ch-meta-sgd" in anchors(HTML / "book" / "06-meta-sgd.html")
