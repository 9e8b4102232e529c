"""Begin a chapter: a short notebook that has every part of one and passes the tests for chapters.

python tools/new_chapter.py 12-few-shot

fills in `chapter.md`, runs it, writes it as `book/12-few-shot.ipynb` and adds it to `_toc.yml`.
"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook
from notebooks import BOOK, ROOT, run
from repository import DEFAULT

TEMPLATE = Path(__file__).with_name("chapter.md")
TOC = ROOT / "_toc.yml"
ENTRY = re.compile(
    r"^(?P<indent> *)- file: (?:book|teach/quizzes)/(?P<name>[0-9]{2}-[\w-]+)$", re.MULTILINE
)


def refusal(name: str) -> str | None:
    """Return why there can be no chapter of that name, or None."""
    if not name:
        return "Say the chapter's name: make new-chapter NAME=12-few-shot"
    if not re.fullmatch(r"[0-9]{2}(-[a-z]+)+", name):
        return f"A name is two digits and words in small letters, as in 12-few-shot, not {name!r}."
    if taken := sorted(BOOK.glob(f"{name[:2]}-*.ipynb"), key=lambda path: len(path.name)):
        return f"The number {name[:2]} is that of book/{taken[0].name}: choose another."
    label = f"(ch-{name[3:]})="
    for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]:
        if label in path.read_text(encoding="utf-8"):
            return f"The label ch-{name[3:]} stands in book/{path.name}: choose other words."
    return None


def skeleton(name: str) -> Any:
    """Return the notebook of a chapter that is still to be written."""
    _, _, words = name.partition("-")
    text = TEMPLATE.read_text(encoding="utf-8")
    filled = {"NAME": words, "TITLE": words.replace("-", " ").capitalize(), "ADDRESS": DEFAULT}
    for place, value in filled.items():
        text = re.sub(rf"\b{place}\b", value, text)
    return read_myst_markdown_notebook(text)


def entered(toc: str, name: str) -> str:
    """Return the table of contents with the chapter behind the last one of a smaller number."""
    *_, last = (entry for entry in ENTRY.finditer(toc) if entry["name"] < name)
    indent = next(e["indent"] for e in ENTRY.finditer(toc))  # a chapter's, not a companion page's
    return f"{toc[: last.end()]}\n{indent}- file: book/{name}{toc[last.end() :]}"


def main(name: str = "") -> int:
    if why := refusal(name):
        print(why)
        return 2
    with TemporaryDirectory(prefix=".", dir=BOOK) as folder:
        draft = Path(folder) / f"{name}.ipynb"
        nbformat.write(skeleton(name), draft)
        run(draft)
        draft.replace(BOOK / draft.name)
    TOC.write_text(entered(TOC.read_text(encoding="utf-8"), name), encoding="utf-8")
    print(f"book/{name}.ipynb passes the tests and stands in _toc.yml.")
    print(f"Write it, then: make notebooks ONLY={name}, a row in the table of README.md, and")
    print("an entry in book/teaching.md, whose minutes `python tools/budget.py --write` fills in.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
