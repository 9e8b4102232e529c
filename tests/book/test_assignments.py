"""The assignments: right answers have full marks, wrong ones lose the right ones, and hear why.

Graded here without otter, and with short trainings; `make assignments` has otter grade the same.
"""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from types import ModuleType

import assignments
import matplotlib.pyplot as plt
import nbformat
import pytest
from assignments import (
    SOURCES,
    answers,
    grade,
    notebook,
    otter_file,
    parse,
    pytest_file,
    read,
    write,
    wrong_answers,
)
from conftest import ROOT
from repository import DEFAULT, repository

from metasgd_core import Comparison

# Enough for every check but one, which judges what a whole training has shown.
SHORT = {
    "ITERATIONS = 600": "ITERATIONS = 2",
    "TASKS = 300": "TASKS = 9",
    "TASKS = 40": "TASKS = 2",
}
TRAINED = "test_the_claim_is_what_the_numbers_bear"

each_assignment = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.parent.name)


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    """No window waits, and no figure stays open."""
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))


def short(made):
    """Return a notebook whose trainings are cut."""
    for cell in made.cells:
        for old, new in SHORT.items():
            cell.source = cell.source.replace(old, new)
    return made


@each_assignment
def test_each_answer_gets_the_marks_that_it_should(source, tmp_path):
    """The model solution all, the empty notebook none; a wrong one loses its own, and hears why."""
    assignment = read(source)
    trial = answers(assignment, source)
    assert len(trial) >= 5, "the model solution, the empty notebook, three wrong answers"
    for name, (answer, loses, says) in trial.items():
        said = grade(assignment, short(answer), tmp_path)
        assert set(said) - {TRAINED} == set(loses) - {TRAINED}, name
        assert says in "\n".join(said.values()), name


def test_the_mistakes_that_everybody_makes_are_among_them():
    wrong = [answer for source in SOURCES for answer in wrong_answers(source)]
    named = {"alpha is one number", "the gradient detached", "query = support"}
    assert named <= {answer.name for answer in wrong}
    says = "alpha has one number; Meta-SGD learns one per parameter: its shape must be theta's"
    assert says in {answer.says for answer in wrong}


@pytest.mark.parametrize(
    ("claim", "verdict", "right"),
    [("B", "lower", True), ("D", "lower", False), ("D", "not distinguished", True),
     ("D", "equal within 0.1", True), ("B", "not distinguished", False), ("A", "lower", False),
     ("C", "lower", False), (..., "lower", False)],
)  # fmt: skip
def test_the_claim_follows_from_the_numbers(claim, verdict, right):
    """Whatever a student's training showed, one sentence is right."""
    (check,) = (c for source in SOURCES for c in read(source).checks if c.name == TRAINED)
    scope = {}
    exec(check.source, scope)
    with nullcontext() if right else pytest.raises(AssertionError):
        scope[TRAINED](claim, Comparison(-0.1, 0.05, verdict))


@each_assignment
def test_ten_points_that_the_teachers_page_explains(source):
    assert len(read(source).checks) == 10
    assert assignments.README.read_text(encoding="utf-8") == assignments.page(), (
        "python tools/assignments.py --rubric"
    )


@each_assignment
def test_nothing_that_a_student_gets_tells_the_answer(source, tmp_path):
    """No line of a solution, no hidden check, no output; and what it needs is pinned."""
    assignment = read(source)
    write(assignment, tmp_path)
    files = sorted((tmp_path / "student").iterdir())
    assert [path.suffix for path in files] == [".ipynb", ".py"]
    made = nbformat.read(files[0], as_version=4)
    nbformat.validate(made)
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    texts = [*code, files[1].read_text(encoding="utf-8")]
    lines = {line.strip() for text in texts for line in text.splitlines()}
    text = source.read_text(encoding="utf-8")
    solved = [block for _, block in assignments.BLOCK.findall(text)]
    secret = {line.strip() for block in solved for line in block.splitlines()}
    secret |= {found[0] for found in re.finditer(r"^\w+ = .+(?=  # SOLUTION)", text, re.MULTILINE)}
    assert len(secret) > 10 or "SOLUTION" in text
    assert not {line for line in secret & lines if len(line) > 12}
    for check in assignment.checks:
        assert (check.name in "\n".join(texts)) != check.hidden
    assert "SOLUTION" not in "\n".join(texts)
    assert not [cell for cell in made.cells if cell.get("outputs")]
    address = re.escape(repository())
    assert re.search(rf'"git\+{address}@(v\d+\.\d+\.\d+|[0-9a-f]{{40}})"\)', code[0])
    assert "%pip install -q {package}" in code[0]
    if repository() != DEFAULT:
        assert DEFAULT not in "\n".join(texts)


SENTINEL = "planted-in-a-solution"
PLANTED = f'''\
# %% [markdown]
# # A title

# %%
given = 1

# %% answer
def f():
    """Text for all."""
    # BEGIN SOLUTION
    return "{SENTINEL}"
    # END SOLUTION


value = "{SENTINEL}"  # SOLUTION


# %% check q1
def test_seen(f):
    """It answers."""
    assert f(), "nothing"


# %% hidden q1
def test_unseen(f):
    """It answers well."""
    assert f() == "{SENTINEL}", "{SENTINEL}"
'''


def test_no_answer_is_left_for_students(tmp_path):
    """What was planted in a solution, in a value and in a hidden check."""
    write(parse(PLANTED, "05-planted"), tmp_path)
    found = {
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*") if path.is_file() and SENTINEL in path.read_text("utf-8")
    }  # fmt: skip
    teacher = "teacher/05-planted"
    assert found == {f"{teacher}/{name}" for name in
                     ("solution.ipynb", "test_05_planted.py", "tests/q1.py")}  # fmt: skip
    student = nbformat.read(tmp_path / "student" / "05-planted.ipynb", as_version=4)
    (answer,) = (cell.source for cell in student.cells if "Text for all" in cell.source)
    assert answer.endswith(
        '    raise NotImplementedError("your code here")\n\n\nvalue = ...  # your answer here'
    )


def test_a_mark_that_is_unknown_is_said():
    with pytest.raises(ValueError, match="no cell is marked # %% chek q1"):
        parse(PLANTED.replace("# %% check", "# %% chek"), "05-planted")
    with pytest.raises(ValueError, match="q1: a check is a function with a docstring"):
        parse(PLANTED.replace('    """It answers."""\n', ""), "05-planted")


def test_a_student_runs_them_with_pytest(tmp_path):
    """Beside the notebook, with no otter: the visible checks pass or say what is wrong."""
    (source,) = (path for path in SOURCES if path.parent.name.startswith("02"))
    assignment = read(source)
    answer, _, says = answers(assignment, source)["query = support"]
    nbformat.write(answer, tmp_path / f"{assignment.name}.ipynb")
    test = tmp_path / "test_mine.py"
    test.write_text(pytest_file(assignment, hidden=False), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name]
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert "1 failed, 4 passed" in ran.stdout, ran.stdout + ran.stderr
    assert says in " ".join(ran.stdout.split())


@each_assignment
def test_otter_finds_each_check_with_its_point(source, monkeypatch):
    """The files that go into otter's zip, with a stand-in for the decorator that they import."""
    assignment, stand_in = read(source), ModuleType("otter.test_files")
    stand_in.test_case = lambda **said: lambda function: (said, function.__name__)
    monkeypatch.setitem(sys.modules, "otter", ModuleType("otter"))
    monkeypatch.setitem(sys.modules, "otter.test_files", stand_in)
    cases = []
    for question in dict.fromkeys(check.question for check in assignment.checks):
        names = {}
        exec(otter_file(assignment, question), names)
        assert names["OK_FORMAT"] is False
        assert names["name"] == question
        cases += [v for k, v in names.items() if k.startswith("test_") and isinstance(v, tuple)]
    assert cases == [
        ({"name": check.name, "points": 1, "hidden": check.hidden}, check.name)
        for check in sorted(assignment.checks, key=lambda check: check.question)
    ]
    needed = (ROOT / "teach" / "requirements.txt").read_text(encoding="utf-8")
    (pinned,) = re.findall(r"^otter-grader==(.+)$", needed, re.MULTILINE)
    assert pinned.startswith("7.")


@each_assignment
def test_its_code_is_no_wider_than_a_chapters(source):
    """What a student works in; the folded checks may be."""
    _, *cells = (c for c in notebook(read(source)).cells if c.cell_type == "code")  # no setup
    worked = "\n".join(cell.source for cell in cells if not cell.metadata)
    assert max(map(len, worked.splitlines())) <= 88
    assert worked.count("your code here") >= 5
