"""The built pages, read without a browser: links, pictures, buttons."""

from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup, SoupStrainer
from conftest import CHAPTERS, HTML, NOTEBOOKS, ROOT, anchors, pages
from repository import repository

pytestmark = pytest.mark.built


def soup(page, only=None):
    only = only and SoupStrainer(only)
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser", parse_only=only)


def test_every_chapter_has_a_page_under_its_number():
    """Numbered by its file: where a chapter is not written yet, no other takes its place."""
    assert len(CHAPTERS) >= 9
    for path in CHAPTERS:
        menu = soup(HTML / "book" / f"{path.stem}.html", "nav")
        (own,) = menu.select("li.toctree-l1.current.active")
        assert own.get_text().strip().startswith(f"{int(path.name[:2])}. "), path.name


def numbered(soup):
    """Yield the sections with a number: all of a companion page would have its chapter's."""
    for number in soup.select("h2 .section-number, h3 .section-number"):
        yield f"a section has a number: {number.parent.get_text()}"


def dead(page, soup):
    """Yield the links that lead nowhere, and what would be loaded from the network."""
    for tag in soup.find_all(["a", "img", "link", "script"]):
        address = tag.get("href") or tag.get("src") or ""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            if tag.name in ("img", "script") or "stylesheet" in tag.get("rel", []):
                yield f"asks the network for {address}"
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.is_file():
            yield f"{address} leads nowhere"
        elif "?" in parts.fragment:  # a state of a figure: its place has its name once it is drawn
            name = parts.fragment.partition("?")[0].removeprefix("figure-")
            if f'"_figure": "{name}"' not in target.read_text(encoding="utf-8"):
                yield f"no figure at {address}"
        elif parts.fragment and target.suffix == ".html" and (
            unquote(parts.fragment) not in anchors(target)
        ):
            yield f"no place #{parts.fragment} in {target.name}"


def undescribed(soup):
    """Yield the pictures without a text for who does not see them."""
    for image in soup.find_all("img"):
        if "theme" in (image.get("src") or "") or image.find_parent(class_="header-article"):
            continue
        alt = image.get("alt", "")
        if not alt or alt.endswith((".png", ".svg")):
            yield f"no alt text, or a file's name: {image}"


def buttons(path, soup):
    """Yield the buttons that do not lead to the students' notebook.

    Of the repository that the book was built for; Colab opens notebooks from GitHub alone.
    """
    host, _, owner_and_name = repository().removeprefix("https://").partition("/")
    links = soup.find_all("a", href=True)
    colab = {a["href"] for a in links if a["href"].startswith("https://colab.")}
    base = "https://colab.research.google.com/github"
    button = {f"{base}/{owner_and_name}/blob/gh-pages/notebooks/{path.name}"}
    if colab != (button if host == "github.com" else set()):
        yield f"the buttons to Colab: {colab}"
    here = [a["href"] for a in links if "btn-download-source-button" in a.get("class", [])]
    if here != [f"../notebooks/{path.name}"] or not (HTML / "notebooks" / path.name).is_file():
        yield f"the buttons to download: {here}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(HTML)))
def test_page_reads(page):
    """Read once, and all that it finds: in headings, links, pictures, a notebook's buttons."""
    read = soup(page)
    found = [*numbered(read), *dead(page, read), *undescribed(read)]
    for path in NOTEBOOKS:
        if page == HTML / "book" / f"{path.stem}.html":
            found += buttons(path, read)
    assert not found, "\n".join(found)


def test_every_notebook_has_a_page():
    for path in NOTEBOOKS:
        assert (HTML / "book" / f"{path.stem}.html") in pages(), path.name


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
