"""The chapters as they are committed: run, asserted, described, and in the one canonical form."""

import ast
import json
import re
from base64 import b64decode
from collections import Counter
from functools import cache
from io import BytesIO

import pytest
import yaml
from budget import EXERCISE, FIGURE, HEADER, LINES, MINUTES, WORDS, five, measure
from conftest import CHAPTERS, NOTEBOOKS, ROOT
from matplotlib.image import imread
from notebooks import canonical, read
from repository import DEFAULT

import metasgd_core.widgets
from metasgd_core import plotting
from metasgd_core.widgets.figure import HERE

LINE = 88  # characters of code that fit the page

SETUP = f"""\
import os
import sys

if "google.colab" in sys.modules:
    package = os.environ.get("METASGD_CORE", "git+{DEFAULT}")
    %pip install -q {{package}}

"""

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)



def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def asserts(cell):
    """Whether the cell has an assert statement or calls an assert_... function."""
    lines = (line for line in cell.source.splitlines() if not line.lstrip().startswith("%"))
    for node in ast.walk(ast.parse("\n".join(lines) + "\n" if lines else "")):
        name = getattr(
            getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", "")
        )
        if isinstance(node, ast.Assert) or name.startswith("assert_"):
            return True
    return False


def outputs(path):
    return [(cell, output) for cell in code(read(path).cells) for output in cell.outputs]


def test_is_canonical(path):
    """`make notebooks` wrote it: counts in order, no timings, outputs stored."""
    assert canonical(read(path)) == path.read_text(encoding="utf-8"), "run `make notebooks`"


def test_was_run_from_top_to_bottom(path):
    cells = code(read(path).cells)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        shown = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        shown = [output for output in shown if not output.metadata]  # figures are tested below
        pictures = cell.source.count("plt.show()") + cell.source.count("\nImage(")  # animations
        assert len(shown) == pictures, cell.source
        if "plt.show()" in cell.source:
            assert all("image/svg+xml" in output.data for output in shown), cell.source
        printed = [output for output in cell.outputs if output.output_type == "stream"]
        prints = any("print(" in line for line in cell.source.splitlines())
        assert prints or not printed, cell.source


def test_outputs_are_the_same_everywhere(path):
    for cell, output in outputs(path):
        assert output.output_type != "error", cell.source
        assert output.get("name") != "stderr", f"a warning is stored: {output.text}"
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        assert not re.search(r"\bat 0x[0-9a-f]+|/home/|/Users/|/tmp/|/root/", text), text


def test_no_final_semicolon(path):
    """nbval does not store history, so a final `;` no longer hides a repr there."""
    assert not [
        cell.source for cell in code(read(path).cells) if cell.source.rstrip().endswith(";")
    ]


def test_ignored_outputs_are_asserted(path):
    cells = code(read(path).cells)
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if "nbval-ignore-output" in tags(cell):
            assert following is not None, f"no cell follows: {cell.source}"
            assert asserts(following), f"no assertion follows: {cell.source}"
        assert not tags(cell) & {"nbval-skip", "raises-exception"}, cell.source


def test_pictures_are_described(path):
    for cell, output in outputs(path):
        if any(kind.startswith("image/") for kind in output.get("data", {})):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 40, f"say in the cell's mystnb.image.alt what is seen: {cell.source}"


def test_code_fits_the_page(path):
    cells = code(read(path).cells)[1:]  # the setup cell is folded, and holds an address
    lines = [line for cell in cells for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > LINE]


def test_begins_as_all_chapters_do(path):
    first, setup, *_ = read(path).cells
    label, title = first.source.splitlines()[:2]
    assert re.fullmatch(r"\(ch-[a-z-]+\)=", label)
    assert title.startswith("# ")
    assert HEADER.search(first.source), "the line with the times: see tools/chapter.md"
    assert setup.source.startswith(SETUP)
    assert tags(setup) == {"hide-input"}
    for call in ("torch.set_num_threads(1)", "plotting.use_style()"):
        assert call in setup.source


def test_ends_as_all_chapters_do(path):
    if path not in CHAPTERS:
        pytest.skip("a companion page ends where it ends")
    headings = re.findall(
        r"^##+ (.*)$", "\n\n".join(cell.source for cell in read(path).cells), flags=re.M
    )
    ends = [
        h for h in headings if h in ("What to take away", "What it does not do", "Where to read on")
    ]
    assert ends == ["What to take away", "What it does not do", "Where to read on"]


def test_a_guess_comes_before_the_result(path):
    cells = read(path).cells
    guesses = [i for i, cell in enumerate(cells) if "Predict, then run" in cell.source]
    assert guesses or path not in CHAPTERS, "ask for a guess at least once"
    for i in guesses:
        answer = next(cell for cell in code(cells[i + 1 :]) if cell.outputs)
        assert "hide-output" in tags(answer), f"the answer shows: {answer.source}"


def test_exercises_have_tested_solutions(path):
    exercises, solutions, inside = [], {}, None
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            if found := re.search(r"\{exercise-start\}.*\n:label: (\S+)", cell.source):
                exercises.append(found[1])
            if found := re.search(r"\{solution-start\} (\S+)\n:class: dropdown", cell.source):
                inside = found[1]
                assert inside not in solutions, f"two solutions of {inside}"
                solutions[inside] = []
            if "{solution-end}" in cell.source:
                inside = None
        elif inside is not None:
            assert cell.metadata.get("jupyter", {}).get("source_hidden") is True, inside
            assert cell.metadata.get("cellView") == "form", inside
            solutions[inside].append(cell)
    assert inside is None, f"{inside} has no end"
    assert len(exercises) >= 3 or path not in CHAPTERS
    assert sorted(exercises) == sorted(solutions)
    for label, cells in solutions.items():
        assert any(asserts(cell) for cell in cells), f"{label}: nothing is asserted"


def test_a_student_finishes_it_in_an_evening(path):
    """What goes further stands on the companion page, which may be as long as it needs."""
    notebook = read(path)
    budget = measure(notebook)
    if path in CHAPTERS:
        assert budget.words <= WORDS
        assert budget.lines <= LINES
        assert budget.reading <= MINUTES
        assert budget.figure is None or budget.figure <= FIGURE, "the first live figure comes late"
    reading, exercises, _ = HEADER.search(notebook.cells[0].source).groups()
    said = (int(reading), int(exercises or 0))
    assert said == (five(budget.reading), budget.exercises), "python tools/budget.py --write"


def test_exercises_say_how_long_and_how_hard(path):
    starts = [cell.source for cell in read(path).cells if "{exercise-start}" in cell.source]
    texts = re.findall(
        r"\{exercise-start\}.*?^```\s*(.*?)^```\{exercise-end\}",
        "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown"),
        flags=re.MULTILINE | re.DOTALL,
    )
    assert len(texts) == len(starts)
    found = [EXERCISE.match(text) for text in texts]
    assert all(found), 'begin with "**Title** *(10 minutes, easy).*"'
    if path in CHAPTERS:
        assert found[0][2] == "easy", "the first exercise is for everyone"


@cache
def labels(path):
    found = []
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            pairs = re.findall(r"^\(([\w-]+)\)=|^:(?:label|name): (\S+)", cell.source, flags=re.M)
            found += [a or b for a, b in pairs]
        elif name := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
            found.append(name)
    return found


def test_labels_are_used_once(path):
    """Within the whole book, so a label of this chapter stands in no other."""
    counts = Counter(label for chapter in NOTEBOOKS for label in labels(chapter))
    assert not {label for label in labels(path) if counts[label] > 1}


def test_holds_no_script(path):
    """Nor a widget's state: a change of a script would run every chapter again."""
    text = path.read_text(encoding="utf-8")
    assert "widget-state" not in text
    for source in HERE.rglob("*.js"):
        for name in re.findall(r"^function (\w+)", source.read_text(encoding="utf-8"), flags=re.M):
            assert f"function {name}(" not in text, source.name


def present(cell):
    """Return the figure that a cell makes with the present code."""
    *body, last = ast.parse(cell.source).body
    names = {name: getattr(metasgd_core.widgets, name) for name in metasgd_core.widgets.__all__}
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def digits(value):
    """Return what a notebook stores, numbers as text: the last digits differ between machines."""
    return json.loads(json.dumps(value), parse_float=lambda text: f"{float(text):.12g}")


def test_figures_fit_the_code(path):
    """What makes a figure again, and its picture for GitHub, are what its cell makes today.

    nbval compares the repr alone: no picture, and nothing that a page is built from.
    """
    plotting.use_style()  # as the setup cell does
    stale = f"the figure has changed: `make notebooks ONLY={path.stem}`"
    names = []
    for cell, output in outputs(path):
        if not (stored := output.get("metadata", {}).get("metasgd_core")):
            continue
        figure = present(cell)
        assert set(output.data) == {"image/png", "text/plain"}, cell.source
        assert output.data["text/plain"] == repr(figure), stale
        assert stored["figure"] == type(figure).__name__, stale
        assert digits(stored["arguments"]) == digits(figure.arguments()), stale
        kept, drawn = (
            imread(BytesIO(png)) for png in (b64decode(output.data["image/png"]), figure.picture())
        )
        assert kept.shape == drawn.shape, stale
        assert abs(kept - drawn).mean() < 1e-3, stale  # another machine may shade an edge
        names.append(figure._figure)
    assert len(names) == len(set(names)), "two figures under one id: give one a figure_id"


def test_is_in_the_table_of_contents(path):
    """A companion page stands under its chapter."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    if path in CHAPTERS:
        assert f"book/{path.stem}" in [chapter["file"] for chapter in chapters]
    else:
        above = path.stem.removesuffix("-deeper")
        (chapter,) = (chapter for chapter in chapters if chapter["file"] == f"book/{above}")
        assert {"file": f"book/{path.stem}"} in chapter["sections"]
