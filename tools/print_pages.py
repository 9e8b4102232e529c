"""Print the built pages as PDFs, by the print style of the book, in a Chromium without a window.

python tools/print_pages.py [--only 06-meta-sgd] [--html _build/html] [--out _build/.printed]

Each page twice, for students and, with solutions, for teachers. `tools/bind_book.py` binds them;
what it needs to know of them stands beside them in pages.json.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import Browser, Page, sync_playwright
from repository import published, repository

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# CI runs as root, which Chromium keeps out of its sandbox; the pages are our own.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 600_000  # milliseconds: a busy machine is slow and not broken
#: CSS pixels between the margins of A4; figures are drawn for it.
WIDTH = 658
KINDS = ("teacher", "students")
#: Looked up rather than read: a hundred sheets.
ON_SCREEN = {"book/api"}
LINK = re.compile(r'href="([^"#?:]*)#([^"]+)"')

READY = """async () => {
    await window.MathJax?.startup?.promise;
    const drawn = () => [...document.querySelectorAll(".mf-place")].every(
        place => place.querySelector("[data-ready], [role=alert]"));
    while (!drawn()) await new Promise(requestAnimationFrame);
}"""
# The solutions leave the page, so that no reader of the file finds them.
SOLUTIONS = (
    ".solution, .quiz-key, :is(.quiz-answer, .quiz-number) > :not(summary), .quiz-number > summary"
)
# A hidden link to what other pages link to: the file then says where that stands.
LINKED = """(names) => document.body.append(...names.map(name => {
    const link = document.createElement("a");
    link.href = `#${name}`;
    link.hidden = true;
    return link;
}))"""
# What paper cannot show, and what is told of the page: its headings, the titles of its boxes, and
# the lines that stand in solutions alone, without white space.
SEEN = """(solutions) => {
    dispatchEvent(new Event("beforeprint"));
    const article = document.querySelector("article.bd-article");
    const shown = all => [...article.querySelectorAll(all)].filter(e => e.checkVisibility());
    const said = e => e.textContent.trim().replace(/\\s+/g, " ").slice(0, 90);
    const faults = [];
    if (article.querySelector(".math:not(:has(mjx-container)), mjx-merror, [data-mjx-error]"))
        faults.push("a formula is not set");
    for (const e of article.querySelectorAll(".mf-place [role=alert]"))
        faults.push(`a figure is not drawn: ${said(e)}`);
    const edge = document.documentElement.clientWidth + 1;
    const holds = e => e.matches("p, pre, dl, li, mjx-container[display]") && e.clientWidth;
    for (const e of shown("p, pre, dl, li, table, img, svg, mjx-container, .mf-figure"))
        if (e.getBoundingClientRect().right > edge || holds(e) && e.scrollWidth > e.clientWidth + 1)
            faults.push(`too wide for the paper: ${e.tagName.toLowerCase()} ${said(e) || e.alt}`);
    const lines = e => e.textContent.split("\\n").map(line => line.replace(/\\s+/g, ""));
    const those = [...article.querySelectorAll(":is(.solution, .quiz-key) :is(pre, p, li)")]
        .filter(e => !e.querySelector("mjx-container")).flatMap(lines);
    const headings = shown("h1, h2, h3, h4, h5, h6").map(e => said(e).replace(/#$/, ""));
    const titles = shown(".admonition-title").map(said);
    const rest = article.cloneNode(true);
    for (const e of rest.querySelectorAll(solutions)) e.remove();
    const elsewhere = rest.textContent.replace(/\\s+/g, "");
    dispatchEvent(new Event("afterprint"));
    return {headings, titles, faults: [...new Set(faults)],
            answers: those.filter(line => line.length > 24 && !elsewhere.includes(line))};
}"""


def book_pages(toc: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what is printed, in order: ``page``, ``part`` (or None) and ``level``, 0 or 1."""

    def below(entries: list[dict[str, Any]], part: str | None, level: int) -> Any:
        for entry in entries:
            if entry["file"] not in ON_SCREEN:
                yield {"page": entry["file"], "part": part, "level": level}
            yield from below(entry.get("sections", []), part, level + 1)

    yield {"page": toc["root"], "part": None, "level": 0}
    for part in toc["parts"]:
        yield from below(part["chapters"], part["caption"], 0)


def name(page: str) -> str:
    """Return the name of a page's PDF."""
    stem = Path(page).stem
    return f"{stem}-quiz" if "quizzes" in Path(page).parts else stem


def linked(html: Path, pages: list[str]) -> dict[str, set[str]]:
    """Return the places on each page to which another page links."""
    found: dict[str, set[str]] = {page: set() for page in pages}
    for page in pages:
        file = html / f"{page}.html"
        for target, place in LINK.findall(file.read_text(encoding="utf-8")):
            path = (file.parent / unescape(target)).resolve()
            known = str(path.relative_to(html))[: -len(".html")] if html in path.parents else ""
            if target and known in found:
                found[known].add(unescape(place))
    return found


def open_page(browser: Browser, address: str) -> Page:
    """Return a page with its formulas set and its figures drawn, as wide as the paper."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.evaluate(READY)
    return page


def paper(page: Page, kind: str, *, first: int = 1, foot: str = "") -> bytes:
    """Print a page for teachers or, from then on without the solutions, for students.

    Parameters
    ----------
    page : Page
        From `open_page`.
    kind : str
        One of `KINDS`.
    first : int
        The number of the first sheet.
    foot : str
        What stands at the foot of each.
    """
    page.evaluate(
        """([kind, solutions, first, foot]) => {
            const root = document.documentElement;
            root.dataset.for = kind;
            root.style.setProperty("--paper-address", JSON.stringify(foot));
            if (kind === "students")
                for (const e of document.querySelectorAll(solutions)) e.remove();
            const style = document.getElementById("first-sheet") ?? document.createElement("style");
            style.id = "first-sheet";
            style.textContent = `@page :first { counter-set: page ${first}; }`;
            document.head.append(style);
        }""",
        [kind, SOLUTIONS, first, foot],
    )
    return page.pdf(format="A4", prefer_css_page_size=True, print_background=True,
                    outline=True, tagged=True)  # fmt: skip


def front(html: Path, title: str, pages: list[dict[str, Any]], kind: str) -> str:
    """Return the first sheets of the book as a page: its title, and where what stands."""
    rows, part = [], None
    for entry in pages:
        if entry["part"] != part:
            part = entry["part"]
            rows.append(f"<tr><th colspan=2>{escape(part or '')}</th></tr>")
        where = (html / f"{entry['page']}.html").as_uri()
        link = f"<a href='{where}'>{escape(entry['headings'][0])}</a>"
        number = entry["first"][kind]
        rows.append(f"<tr class=level-{entry['level']}><td>{link}</td><td>{number}</td></tr>")
    said = "With the solutions of the exercises" if kind == "teacher" else ""
    return f"""<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>
<style>
@page {{ margin: 17mm 18mm 18mm; font: 8pt sans-serif; color: #555;
  @bottom-right {{ content: counter(page, lower-roman); }} }}
body {{ font: 10pt/1.35 sans-serif; }}
table {{ width: 100%; border-spacing: 0; }}
tr {{ break-inside: avoid; }}
th {{ text-align: left; padding-top: 1em; break-after: avoid; }}
td:last-child {{ text-align: right; }}
.level-1 td:first-child {{ padding-left: 1.5em; }}
a {{ color: inherit; text-decoration: none; }}
</style><h1>{escape(title)}</h1><p>{said}</p><table>{"".join(rows)}</table></html>"""


def sheets(pdf: bytes) -> int:
    """Return how many sheets Chromium has printed."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def print_pages(html: Path, out: Path, only: str | None) -> list[str]:
    """Print the book, or a chapter with what stands under it, and return what is wrong."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    book = pages = list(book_pages(toc))
    if only:
        pages = [page for page in book if Path(page["page"]).stem in (only, f"{only}-deeper")]
        if not pages:
            sys.exit(f"There is no page {only} in _toc.yml: name one, as in ONLY=04-maml.")
    places = linked(html, [page["page"] for page in book])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    address = published(repository())
    faults = []
    number = dict.fromkeys(KINDS, 1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for entry in pages:
            path = f"{entry['page']}.html"
            print(f"  {entry['page']}", flush=True)
            page = open_page(browser, (html / path).as_uri())
            page.evaluate(LINKED, sorted(places[entry["page"]]))
            page.emulate_media(media="print")
            entry |= {"name": name(entry["page"]), **page.evaluate(SEEN, SOLUTIONS)}
            faults += [f"{entry['page']}: {fault}" for fault in entry.pop("faults")]
            entry["first"] = dict(number)
            for kind in KINDS:
                foot = f"{address}{path}" if address else ""
                pdf = paper(page, kind, first=number[kind], foot=foot)
                target = out / kind / f"{entry['name']}.pdf"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(pdf)
                number[kind] += sheets(pdf)
            page.close()
        if not only:
            page = browser.new_page()
            for kind in KINDS:
                page.set_content(front(html, pages[0]["headings"][0], pages, kind))
                pdf = page.pdf(format="A4", prefer_css_page_size=True)
                (out / kind / "contents.pdf").write_bytes(pdf)
        browser.close()
    told = {"html": html.as_uri(), "published": address, "whole": not only, "pages": pages}
    (out / "pages.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", help="one chapter, with its companion page and its quiz")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / ".printed")
    options = parser.parse_args()
    if CHROMIUM is None:
        print("No PDFs without a Chromium: install one (Debian, Ubuntu: sudo apt install chromium; "
              "elsewhere Chromium or Chrome), then run this again.")  # fmt: skip
        return 1
    if not (options.html / "index.html").exists():
        print(f"There is no built book in {options.html}: run `make book` first.")
        return 1
    faults = print_pages(options.html.resolve(), options.out, options.only)
    for fault in faults:
        print(f"Not fit to print. {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
