"""How long a chapter is: words, visible lines, minutes, and when its first live figure comes.

python tools/budget.py            all chapters
python tools/budget.py --write    the same, and the times in their headers and in the plan made true

A quiz is a page of its own and no prose of the chapter, nor is the line that leads to it.
"""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from notebooks import BOOK, canonical, read

PLAN = BOOK / "teaching.md"

WORDS, LINES, MINUTES, FIGURE = 2500, 300, 90, 1 / 3  # what a chapter may have at most
WORDS_A_MINUTE, SECONDS_A_LINE = 200, 20
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
HEADER = re.compile(
    r"^- \*\*Reading time:\*\* about (\d+) minutes with the code"
    r"(?:, and (\d+) for the exercises)?\."
    r" \*\*Running time:\*\* about (\d+) seconds on 2 CPU cores",
    re.MULTILINE,
)
EXERCISE = re.compile(r"^\*\*[^*]+\*\* \*\((\d+) minutes, (easy|medium|hard)\)\.?\*", re.MULTILINE)
NO_PROSE = re.compile(
    "|".join(
        [
            r"^(`{3,}|:{3,})\{(?:bibliography|interactive)\}(?s:.*?)^\1",  # filled in
            r"^```[a-z]*\n(?s:.*?)^```",  # code that is only shown
            r"^\*\*Test yourself:\*\*.*$",
            r"\$\$(?s:.*?)\$\$|\$[^$]+\$",
            r"^(?:`{3,}|:{3,}).*$|^:\w+:.*$|^\(\S+\)=$|^\|[-:| ]+\|$",  # fences, options, labels
            r"\{[\w:-]+\}|<[^>]*>|https?://\S+",
        ]
    ),
    re.MULTILINE,
)


class Budget(NamedTuple):
    """Attributes: `figure` is the share of the reading that comes before the first live figure."""

    words: int
    lines: int
    figure: float | None
    reading: float
    exercises: int


def prose(text: str) -> int:
    """Count the words that are read as words."""
    return len(re.findall(r"\w[\w'’.,-]*", NO_PROSE.sub(" ", text)))


def minutes(words: int, lines: int) -> float:
    return words / WORDS_A_MINUTE + lines * SECONDS_A_LINE / 60


def measure(notebook: Any) -> Budget:
    """Measure one chapter; exercises and their solutions are no part of the reading."""
    words = lines = exercises = 0
    before, aside = None, False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            aside = aside or bool(re.search(r"\{(exercise|solution)-start\}", cell.source))
            exercises += sum(int(found) for found, _ in EXERCISE.findall(cell.source))
            if not aside:
                words += prose(cell.source)
            if before is None and "{interactive}" in cell.source:
                before = minutes(words, lines)
            if re.search(r"\{(exercise|solution)-end\}", cell.source):
                aside = False
            continue
        live = any("metasgd_core" in output.get("metadata", {}) for output in cell.outputs)
        if before is None and live:
            before = minutes(words, lines)
        if not aside and not FOLDED & set(cell.metadata.get("tags", [])):
            lines += sum(bool(line.strip()) for line in cell.source.splitlines())
    reading = minutes(words, lines)
    return Budget(words, lines, None if before is None else before / reading, reading, exercises)


def sections(notebook: Any) -> dict[str, float]:
    """Return the minutes of each section by its heading; "" is what stands before the first."""
    found, heading, aside = {"": 0.0}, "", False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            lines = sum(bool(line.strip()) for line in cell.source.splitlines())
            if not aside and not FOLDED & set(cell.metadata.get("tags", [])):
                found[heading] += minutes(0, lines)
            continue
        first, *more = re.split(r"^## (.+)\n", cell.source, flags=re.MULTILINE)
        for title, text in zip(["", *more[::2]], [first, *more[1::2]], strict=True):
            heading = title or heading
            found.setdefault(heading, 0.0)
            aside = aside or bool(re.search(r"\{(exercise|solution)-start\}", text))
            if not aside:
                found[heading] += minutes(prose(title) + prose(text), 0)
            aside = aside and not re.search(r"\{(exercise|solution)-end\}", text)
    return found


def core(plan: str) -> dict[str, list[str]]:
    """Return the sections that the plan calls core, by the label of their chapter."""
    return {
        label: re.findall(r"\*(.+?)\*", " ".join(text.split()))
        for label, text in re.findall(
            r"^### \{ref\}`(ch-[\w-]+)`\n\n\*\*Core:\*\* (.+?)\.\n\n", plan, re.M | re.S
        )
    }


def timetable(paths: list[Path], plan: str) -> str:
    """Return the plan with the minutes of each chapter, whose core sections it names."""
    rows = ["| chapter | to read | of it core | exercises | to run |", "|---|---:|---:|---:|---:|"]
    for path in paths:
        notebook = read(path)
        label = re.match(r"\((ch-[\w-]+)\)=", notebook.cells[0].source)
        header = HEADER.search(notebook.cells[0].source)
        if label is None or header is None:
            raise ValueError(f"{path.name} does not begin with its label and its times")
        each, names = sections(notebook), core(plan).get(label[1], [])
        if unknown := [name for name in names if name not in each]:
            raise ValueError(f"{path.name} has no section {unknown[0]!r}, which {PLAN.name} names")
        taught = five(sum(each[name] for name in ["", *names]))
        rows.append(
            f"| {int(path.name[:2])} {{ref}}`{label[1]}` | {header[1]} min | {taught} min "
            f"| {header[2] or 0} min | {header[3]} s |"
        )
    begin, end = "<!-- minutes: begin -->", "<!-- minutes: end -->"
    table = f"{begin}\n\n" + "\n".join(rows) + f"\n\n{end}"
    return re.sub(f"{begin}.*{end}", lambda _: table, plan, flags=re.S)


def five(number: float) -> int:
    """Round to five minutes, as a header says it."""
    return max(5, 5 * round(number / 5))


def main(write: bool) -> None:
    print(f"{'':<34} words  lines  figure after  minutes  exercises")
    paths = sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))
    for path in paths:
        notebook = read(path)
        budget = measure(notebook)
        share = "none" if budget.figure is None else f"{100 * budget.figure:.0f} %"
        print(
            f"{path.stem:<34} {budget.words:>5}  {budget.lines:>5}  {share:>12}"
            f"  {budget.reading:>7.0f}  {budget.exercises:>9}"
        )
        if write and (header := HEADER.search(notebook.cells[0].source)):
            said = re.sub(r"about \d+ minutes", f"about {five(budget.reading)} minutes", header[0])
            said = re.sub(r"and \d+ for", f"and {budget.exercises} for", said)
            notebook.cells[0].source = notebook.cells[0].source.replace(header[0], said)
            path.write_text(canonical(nbformat.from_dict(notebook)), encoding="utf-8")
    if write:
        chapters = [path for path in paths if not path.stem.endswith("-deeper")]
        PLAN.write_text(timetable(chapters, PLAN.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
