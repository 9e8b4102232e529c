"""The assignments: from one source each, what a student gets and what a teacher grades with.

python tools/assignments.py                     writes them all into _build/assignments
python tools/assignments.py --grade 03-meta-sgd has otter grade trial answers to this one, too
python tools/assignments.py --rubric            writes the rubric into teach/assignments/README.md

`teach/assignments/NN-name/assignment.py` is the source, a script of cells; CONTRIBUTING.md says
what its marks mean. `wrong.yml` beside it holds wrong answers, which the checks must tell.
"""

import ast
import inspect
import json
import linecache
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any, NamedTuple

import nbformat
import yaml
from repository import DEFAULT, ROOT, published, readdressed, repository, revision

SOURCES = sorted((ROOT / "teach" / "assignments").glob("[0-9][0-9]-*/assignment.py"))
FOLDER = ROOT / "_build" / "assignments"
OTTER = ROOT / ".venv-teach" / "bin" / "otter"
README = ROOT / "teach" / "assignments" / "README.md"
RUBRIC = "\n## The rubric\n"
CPU = "https://download.pytorch.org/whl/cpu"
MARK = re.compile(r"^# %% ?(.*)\n", re.MULTILINE)
BLOCK = re.compile(r"^( +)# BEGIN SOLUTION\n((?:.*\n)*?)\1# END SOLUTION\n", re.MULTILINE)
VALUE = re.compile(r"^(\w+ = )(.+?)  # SOLUTION$", re.MULTILINE)
KINDS = ("[markdown]", "", "answer", "check", "hidden")
HERE = f"""\
import os
import sys

if "google.colab" in sys.modules:
    package = os.environ.get("METASGD_CORE", "git+{DEFAULT}")
    %pip install -q {{package}}

"""


class Check(NamedTuple):
    """One check, worth one point.

    Attributes
    ----------
    name, question : str
        Of its function, and of what it belongs to.
    about : str
        The function's docstring: what the point is for.
    needs : tuple of str
        What it takes from the notebook.
    hidden : bool
        Whether students do not get it.
    source : str
        The function.
    """

    name: str
    question: str
    about: str
    needs: tuple[str, ...]
    hidden: bool
    source: str


class Cell(NamedTuple):
    """A cell of a source: its kind, one of `KINDS`, its question, its text."""

    kind: str
    question: str
    source: str


class Assignment(NamedTuple):
    """What a source says."""

    name: str
    title: str
    cells: list[Cell]
    checks: list[Check]

    @property
    def given(self) -> str:
        """The code before the first answer: what checks may use, too."""
        kinds = [cell.kind for cell in self.cells]
        before = self.cells[: kinds.index("answer")]
        return "\n\n".join(cell.source for cell in before if not cell.kind)


def checks_of(cell: Cell) -> list[Check]:
    """Return the checks of a cell."""
    found = []
    for node in ast.parse(cell.source).body:
        if not isinstance(node, ast.FunctionDef) or not (about := ast.get_docstring(node)):
            raise ValueError(f"{cell.question}: a check is a function with a docstring")
        source = ast.get_source_segment(cell.source, node)
        assert source is not None
        needs = tuple(argument.arg for argument in node.args.args)
        hidden = cell.kind == "hidden"
        found.append(Check(node.name, cell.question, about, needs, hidden, source))
    return found


def parse(text: str, name: str) -> Assignment:
    """Read the source of an assignment.

    Raises
    ------
    ValueError
        If a mark is none of those known, or a check is no function with a docstring.
    """
    _, *parts = MARK.split(text)
    cells = []
    for mark, source in zip(parts[::2], parts[1::2], strict=True):
        kind, _, question = mark.partition(" ")
        if kind not in KINDS:
            raise ValueError(f"{name}: no cell is marked # %% {mark}; there are {KINDS}")
        if kind == "[markdown]":
            source = re.sub(r"^# ?", "", source, flags=re.MULTILINE)
        cells.append(Cell(kind, question, source.strip("\n")))
    title = cells[0].source.partition("\n")[0].removeprefix("# ")
    tests = [cell for cell in cells if cell.kind in ("check", "hidden")]
    return Assignment(name, title, cells, [check for cell in tests for check in checks_of(cell)])


def read(source: Path) -> Assignment:
    """Return the assignment in a file."""
    return parse(source.read_text(encoding="utf-8"), source.parent.name)


def answered(source: str, *, solutions: bool) -> str:
    """Return a cell of answers with its solutions, or with what a student begins from."""
    if solutions:
        return VALUE.sub(r"\1\2", BLOCK.sub(r"\2", f"{source}\n")).rstrip("\n")
    empty = BLOCK.sub(r'\1raise NotImplementedError("your code here")\n', f"{source}\n")
    return VALUE.sub(r"\1...  # your answer here", empty).rstrip("\n")


def check(*tests: Any) -> None:
    """Run checks on what this notebook has named, and say what each of them found."""
    for test in tests:
        names = test.__code__.co_varnames[: test.__code__.co_argcount]
        try:
            test(*(globals().get(name) for name in names))
        except Exception as error:
            print(f"✗ {test.__doc__}\n    {str(error) or type(error).__name__}")
        else:
            print(f"✓ {test.__doc__}")


def names_of(notebook: str | Path) -> dict[str, Any]:
    """Run a notebook's code, cell by cell and past errors, and return what it has named."""
    names: dict[str, Any] = {"__name__": "notebook"}
    for k, cell in enumerate(json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            code = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
            place = f"<cell {k}>"  # so that an error shows the line
            linecache.cache[place] = len(code), None, code.splitlines(keepends=True), place
            try:
                exec(compile(code, place, "exec"), names)
            except Exception:
                traceback.print_exc()
    return names


@cache
def place() -> tuple[str, str]:
    """Return the repository's address, and the revision that notebooks install."""
    return repository(), revision()


def notice(assignment: Assignment) -> str:
    """Return what stands under the title: the points, and how to go about it."""
    address, pin = place()
    book, package = published(address) or address, f"git+{address}@{pin}"
    return (
        f"*{len(assignment.checks)} points, one a check; some checks you see, some you do not. "
        "Replace each `raise NotImplementedError` by your code, run the checks below it, and hand "
        f"in this file. It goes with [the book]({book}). On Colab the next cell installs what it "
        f'needs. Elsewhere, install that first:* `pip install "{package}"`'
    )


def notebook(assignment: Assignment, *, solutions: bool = False) -> Any:
    """Return the notebook that a student gets, or the same with the model solution."""
    cells = []
    folded = {"cellView": "form", "jupyter": {"source_hidden": True}}
    for k, cell in enumerate(assignment.cells):
        name, source = f"cell-{k:02}", cell.source
        if cell.kind == "[markdown]":
            if not k:
                title, _, rest = source.partition("\n")
                title += " (with solutions)" if solutions else ""
                source = f"{title}\n\n{notice(assignment)}\n{rest}"
            cells.append(nbformat.v4.new_markdown_cell(source, id=name))
        elif cell.kind == "check":
            tests = ", ".join(check.name for check in checks_of(cell))
            source = f"{source}\n\n\ncheck({tests})"
            cells.append(nbformat.v4.new_code_cell(source, id=name, metadata=folded))
        elif cell.kind != "hidden":
            if cell.kind == "answer":
                source = answered(source, solutions=solutions)
            elif not any(c.cell_type == "code" for c in cells):
                pinned = readdressed(HERE, *place())
                source = f"{pinned}\n{source}\n\n\n{inspect.getsource(check)}".rstrip()
                source = source.replace("(*tests: Any) -> None", "(*tests)")
            cells.append(nbformat.v4.new_code_cell(source, id=name))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    made.nbformat_minor = 5
    nbformat.validate(made)
    return made


def pytest_file(assignment: Assignment, *, hidden: bool) -> str:
    """Return the checks as a file for plain pytest, which looks at the notebook beside it."""
    kind = "All" if hidden else "The visible"
    checks = [check for check in assignment.checks if hidden or not check.hidden]
    name = "solution" if hidden else assignment.name
    return "\n\n\n".join([
        dedent(f'''\
        """{kind} checks of the assignment "{assignment.title}", for pytest.

        They look at {name}.ipynb beside this file, or at the file that NOTEBOOK names.
        """

        import json
        import linecache
        import os
        import traceback
        from pathlib import Path
        from typing import Any

        os.environ.setdefault("MPLBACKEND", "agg")  # no window
        ''').rstrip(),
        assignment.given,
        inspect.getsource(names_of).rstrip(),
        dedent(f'''\
        NAMES = names_of(os.environ.get("NOTEBOOK") or Path(__file__).with_name("{name}.ipynb"))


        def pytest_generate_tests(metafunc):
            for name in metafunc.fixturenames:
                metafunc.parametrize(name, [NAMES.get(name)], ids=[name])
        ''').rstrip(),
        *(check.source for check in checks),
    ]) + "\n"  # fmt: skip


def otter_file(assignment: Assignment, question: str) -> str:
    """Return the checks of a question as otter-grader reads them."""
    top = "OK_FORMAT = False\n\nfrom otter.test_files import test_case"
    last = f'name = "{question}"'  # last: what is given may use the word, too
    checks = [check for check in assignment.checks if check.question == question]
    cases = [
        f'@test_case(name="{check.name}", points=1, hidden={check.hidden})\n{check.source}'
        for check in checks
    ]
    return "\n\n\n".join([f"{top}\n\n{assignment.given}", *cases, last]) + "\n"


def rubric(assignment: Assignment) -> str:
    """Return the rubric as rows of a Markdown table: the question, the point, who sees it."""
    rows = [
        f"| {check.question[1:]} | {check.about} | {'hidden' if check.hidden else 'visible'} |"
        for check in assignment.checks
    ]
    return "\n".join(["| question | one point for | check |", "|---|---|---|", *rows])


def page() -> str:
    """Return the teacher's page with the rubric of all assignments at its end."""
    tables = [f"### {a.name[:2]} {a.title}\n\n{rubric(a)}\n" for a in map(read, SOURCES)]
    top, _, _ = README.read_text(encoding="utf-8").partition(RUBRIC)
    said = "Every check is one point: `python tools/assignments.py --rubric` writes these tables."
    return "\n".join([f"{top}{RUBRIC}", f"{said}\n", *tables])


def write(assignment: Assignment, folder: Path) -> None:
    """Write a student's two files, and a teacher's."""
    test = f"test_{assignment.name.replace('-', '_')}.py"
    student, teacher = folder / "student", folder / "teacher" / assignment.name
    shutil.rmtree(teacher, ignore_errors=True)
    package = "metasgd-core @ git+{}@{}".format(*place())
    texts = {
        student / f"{assignment.name}.ipynb": nbformat.writes(notebook(assignment)),
        student / test: pytest_file(assignment, hidden=False),
        teacher / "solution.ipynb": nbformat.writes(notebook(assignment, solutions=True)),
        teacher / test: pytest_file(assignment, hidden=True),
        teacher / "rubric.md": f"# Rubric: {assignment.title}\n\n{rubric(assignment)}",
        # for Gradescope's machine, which needs no CUDA
        teacher / "requirements.txt": f"--extra-index-url {CPU}\n{package}",
        # students read what hidden checks say once the marks are published
        teacher / "otter_config.json": json.dumps({"show_hidden": True}),
        **{
            teacher / "tests" / f"{question}.py": otter_file(assignment, question)
            for question in dict.fromkeys(check.question for check in assignment.checks)
        },
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def grade(assignment: Assignment, answer: Any, folder: Path) -> dict[str, str]:
    """Run the checks on a notebook, without otter; return what each that failed has said."""
    path = folder / "answer.ipynb"
    path.write_text(nbformat.writes(answer), encoding="utf-8")
    names, said = names_of(path), {}
    given: dict[str, Any] = {"__name__": "checks"}
    exec(assignment.given, given)
    for each in assignment.checks:
        scope = dict(given)
        exec(each.source, scope)
        try:
            scope[each.name](*(names.get(name) for name in each.needs))
        except Exception as error:
            said[each.name] = str(error) or type(error).__name__
    return said


class Wrong(NamedTuple):
    """A wrong answer: the model solution, changed; the checks it must lose; what one says."""

    name: str
    change: list[tuple[str, str]]
    loses: list[str]
    says: str


def wrong_answers(source: Path) -> list[Wrong]:
    """Return the wrong answers that stand beside a source."""
    text = source.with_name("wrong.yml").read_text(encoding="utf-8")
    return [Wrong(**entry) for entry in yaml.safe_load(text)]


def changed(made: Any, changes: Iterable[tuple[str, str]]) -> Any:
    """Return a notebook with pieces of its code replaced, each of which one cell must have."""
    for old, new in changes:
        (cell,) = (cell for cell in made.cells if old in f"{cell.source}\n")
        cell.source = f"{cell.source}\n".replace(old, new).rstrip("\n")
    return made


def answers(assignment: Assignment, source: Path) -> dict[str, tuple[Any, list[str], str]]:
    """Return trial answers: each notebook, the checks that it must lose, what one must say."""
    everything = [check.name for check in assignment.checks]
    model = notebook(assignment, solutions=True)
    found = {
        "the model solution": (model, [], ""),
        "the empty notebook": (notebook(assignment), everything, "your code here"),
    }
    for wrong in wrong_answers(source):
        found[wrong.name] = changed(deepcopy(model), wrong.change), wrong.loses, wrong.says
    return found


def zipped(teacher: Path) -> Path:
    """Make otter's autograder of a teacher's folder."""
    made = teacher / "autograder.zip"
    words = ["-t", "tests", "-r", "requirements.txt", "-c", "otter_config.json"]
    words += ["--python-version", "3.12", "-o", made.name]
    subprocess.run([OTTER, "generate", *words], check=True, cwd=teacher)
    return made


def otter(autograder: Path, answer: Any) -> tuple[float, float, str]:
    """Have otter grade an answer as a grader does: its points, of how many, what it was told."""
    with TemporaryDirectory() as folder:
        nbformat.write(answer, Path(folder) / "answer.ipynb")
        run = [str(OTTER), "run", "-a", str(autograder), "-o", folder, "--no-logo", "answer.ipynb"]
        subprocess.run(run, check=True, capture_output=True, cwd=folder)
        results = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
    graded = [test for test in results["tests"] if "max_score" in test]
    points, most = (sum(test[key] for test in graded) for key in ("score", "max_score"))
    return points, most, "\n".join(test["output"] for test in graded)


def trial(assignment: Assignment, source: Path, autograder: Path) -> int:
    """Have otter grade the trial answers, and return how many got other marks than they must."""
    amiss = 0
    for name, (answer, loses, says) in answers(assignment, source).items():
        points, most, told = otter(autograder, answer)
        lost = {check.name for check in assignment.checks if f"{check.name} result:\n" in told
                and f"{check.name} result:\n        ✅" not in told}  # fmt: skip
        right = points == most - len(loses) and lost == set(loses) and says in told
        amiss += not right
        note = f"  otter: {says}" if right and loses else ""
        note = note if right else f"  AMISS: must lose {sorted(loses)}, lost {sorted(lost)}"
        print(f"  {points:4g} of {most:g}  {name}{note}", flush=True)
    return amiss


def main(arguments: list[str]) -> int:
    if arguments == ["--rubric"]:
        README.write_text(page(), encoding="utf-8")
        return 0
    names = [word for word in arguments if word != "--grade"]
    if unknown := set(names) - {source.parent.name for source in SOURCES}:
        print(f"There is no assignment {', '.join(sorted(unknown))} in teach/assignments.")
        return 2
    amiss = 0
    for source in SOURCES:
        if names and source.parent.name not in names:
            continue
        assignment = read(source)
        write(assignment, FOLDER)
        print(f"{assignment.name}: {len(assignment.checks)} points", flush=True)
        if OTTER.exists():
            autograder = zipped(FOLDER / "teacher" / assignment.name)
            amiss += trial(assignment, source, autograder) if "--grade" in arguments else 0
    without = "" if OTTER.exists() else ", without otter's zips: make assignments installs otter"
    print(f"Written: {FOLDER.relative_to(ROOT)}/student and teacher{without}")
    return 1 if amiss else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
