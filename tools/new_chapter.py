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
ENTRY = re.compile(r"^(?P<start> *- file: book/)[0-9]{2}-[\w-]+$", re.MULTILINE)


def refusal(name: str, number: int) -> str | None:
    """Return why there can be no chapter of that name, or None."""
    if not name:
        return f"Say the chapter's name: make new-chapter NAME={number:02d}-few-shot"
    if not re.fullmatch(r"[0-9]{2}(-[a-z]+)+", name):
        return f"A name is two digits and words in small letters, as in 12-few-shot, not {name!r}."
    if int(name[:2]) != number:
        return f"Chapters are numbered without gaps, and the next is {number:02d}, not {name[:2]}."
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


def main(name: str = "") -> int:
    chapters = sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))
    if why := refusal(name, int(chapters[-1].name[:2]) + 1):
        print(why)
        return 2
    with TemporaryDirectory(prefix=".", dir=BOOK) as folder:
        draft = Path(folder) / f"{name}.ipynb"
        nbformat.write(skeleton(name), draft)
        run(draft)
        draft.replace(BOOK / draft.name)
    toc = TOC.read_text(encoding="utf-8")
    *_, last = ENTRY.finditer(toc)
    end = last.end()
    TOC.write_text(f"{toc[:end]}\n{last['start']}{name}{toc[end:]}", encoding="utf-8")
    print(f"book/{name}.ipynb passes the tests and stands in _toc.yml, behind the last chapter.")
    print(f"Write it, then: make notebooks ONLY={name}, and a row in the table of README.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
