"""Gather what a teacher shows, hands out and reads into one folder, with a page that leads to it.

python tools/kit.py _build/kit     after the targets of the Makefile that make the parts
"""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from repository import ROOT

BUILD = ROOT / "_build"
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>To teach with “Learning to learn with Meta-SGD”</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 45rem; margin: auto; padding: 1rem; }}
</style>
<h1>To teach with “Learning to learn with Meta-SGD”</h1>
<p>The book's page “Teaching with this book” says how to use it.
Text and figures are under CC BY 4.0, the code is under the MIT License.</p>
<dl>
{parts}
</dl>
</html>
"""


class Part(NamedTuple):
    """Attributes: `made` is what a target leaves in `_build`, `links` a pattern of what to open."""

    made: str
    links: str
    title: str
    what: str


PARTS = [
    Part("slides", "slides/index.html", "Decks",
         "One for each chapter, with live figures. S: the speaker's notes, ?: all keys."),
    Part("student-notebooks.zip", "student-notebooks.zip", "Notebooks for students",
         "The chapters, with an empty cell in place of each solution."),
    Part("assignments", "assignments/*/*", "Assignments",
         "Four: student/ to hand out; teacher/ with rubrics, solutions and what grades them."),
    Part("quizzes", "quizzes/all-chapters.xml", "Quizzes",
         "For a question bank of Moodle: Import, Moodle XML format."),
    Part("pdf", "pdf/**/*.pdf", "To print", "The book and each chapter."),
    Part("figures.zip", "figures.zip", "Figures",
         "All drawn figures as SVG, for light and for dark, with captions."),
    Part("wheel", "wheel/*.whl", "The package",
         "What the notebooks import, for machines that cannot reach GitHub."),
]  # fmt: skip


def entry(folder: Path, part: Part) -> str:
    """Return what the page says of a part, with its links."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob(part.links))
    links = [f'<a href="{quote(name)}">{name.partition("/")[2] or name}</a>' for name in names]
    return f"<dt><b>{part.title}</b></dt>\n<dd>{part.what}<br>{', '.join(links)}</dd>"


def gather(folder: Path, build: Path = BUILD) -> list[Part]:
    """Fill the folder anew with the parts that there are, and return them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts = [part for part in PARTS if (build / part.made).exists()]
    for part in parts:
        copy = shutil.copytree if (build / part.made).is_dir() else shutil.copy
        copy(build / part.made, folder / part.made)
    page = PAGE.format(parts="\n".join(entry(folder, part) for part in parts))
    (folder / "index.html").write_text(page, encoding="utf-8")
    return parts


if __name__ == "__main__":
    kit = Path(sys.argv[1])
    print(f"{', '.join(part.title for part in gather(kit))}: {kit}/index.html")
