"""The notebooks behind the buttons: for students without an answer, for teachers with them."""

import ast
import re
import shutil
import subprocess
import zipfile
from urllib.parse import urldefrag

import nbformat
import pytest
import student_notebooks
import yaml
from bs4 import BeautifulSoup
from conftest import HTML, NOTEBOOKS, ROOT, anchors, once
from figures import jupyter_book
from new_chapter import skeleton
from notebooks import canonical, read, run
from repository import DEFAULT, published, repository

STUDENTS, TEACHERS = HTML / "notebooks", HTML / "notebooks" / "teacher"
EMPTY = "# your code here"
FORK = "https://github.com/someone/fork"
SENTINEL = "planted-in-a-solution"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
PIN = re.compile(r"(git\+https://[\w./-]+)@([\w.]+)")

each_chapter = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook):
    """Return the sources of the cells of code, without what pip installs exactly."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [PIN.sub(r"\1", cell.source).replace(repository(), DEFAULT) for cell in cells]


def solutions(chapter):
    """Return the chapter's cells of code outside of solutions, and those of each solution."""
    outside, inside, current = [], {}, None
    for cell in chapter.cells:
        if cell.cell_type == "code":
            (outside if current is None else current).append(cell.source)
        elif found := re.search(r"\{solution-start\} (\S+)", cell.source):
            current = inside.setdefault(found[1], [])
        elif "{solution-end}" in cell.source:
            current = None
    return outside, inside


def put_back(student, chapter):
    """Fill the empty cells of a student's notebook with the chapter's solutions."""
    _, inside = solutions(chapter)
    cells = []
    for cell in student.cells:
        if cell.cell_type == "code" and cell.source == EMPTY:
            cells += [nbformat.v4.new_code_cell(source) for source in inside.pop(cell.id)]
        else:
            cells.append(cell)
    assert not inside, "a solution has no empty cell"
    return nbformat.v4.new_notebook(cells=cells, metadata=student.metadata)


@pytest.mark.built
@each_chapter
def test_is_the_chapter_without_its_answers(path):
    """Nothing that ran, nothing that a solution says; and with it put back, the chapter."""
    chapter, student = read(path), nbformat.read(STUDENTS / path.name, as_version=4)
    teacher = nbformat.read(TEACHERS / path.name, as_version=4)
    assert code(put_back(student, chapter)) == code(teacher) == code(chapter)
    for made in (student, teacher):
        nbformat.validate(made)
        for cell in made.cells:
            assert "attachments" not in cell
            assert set(cell.metadata) <= {"cellView", "jupyter"}
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None
    pins = {PIN.search(cell.source)[2] for cell in student.cells if PIN.search(cell.source)}
    (pin,) = pins
    assert re.fullmatch(r"v\d+\.\d+\.\d+|[0-9a-f]{40}", pin), "not pinned to a release or a commit"


@each_chapter
def test_runs_with_the_solutions_left_empty(path):
    """No cell reads a name that only a solution has bound."""

    def names(sources, context):
        lines = "\n".join(sources).splitlines()
        tree = ast.parse("\n".join(line for line in lines if not line.lstrip().startswith("%")))
        found = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and type(n.ctx) is context}
        if context is ast.Store:
            defined = (ast.FunctionDef, ast.ClassDef)
            found |= {node.name for node in ast.walk(tree) if isinstance(node, defined)}
            found |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
            found |= {
                alias.asname or alias.name.partition(".")[0]
                for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))
                for alias in node.names
            }  # fmt: skip
        return found

    outside, inside = solutions(read(path))
    bound = names((source for cells in inside.values() for source in cells), ast.Store)
    assert not (bound - names(outside, ast.Store)) & names(outside, ast.Load)


@pytest.mark.built
@pytest.mark.parametrize("folder", [STUDENTS, TEACHERS], ids=lambda folder: folder.name)
@each_chapter
def test_is_plain_markdown(path, folder):
    """Whatever shows it: no directive, role, label or option of MyST is left."""
    for cell in nbformat.read(folder / path.name, as_version=4).cells:
        if cell.cell_type == "markdown":
            left = re.findall(
                r"\{[\w:-]+\}`|^ *[`:~]{3,}\{.*|:::|^\([\w-]+\)=|^:[\w-]+:.*|\$\$ *\(.*\)$",
                cell.source, flags=re.MULTILINE,
            )  # fmt: skip
            assert not left, cell.source
            assert cell.source.count("```") % 2 == 0
            dead = re.search(r"\]\((?!https)\S+\.(md|ipynb|png|svg)", cell.source)
            assert not dead, "it leads nowhere outside of the book"


@pytest.mark.built
def test_links_lead_into_the_book():
    """To a page that was built, and to a place that it has."""
    book = published(repository())
    if book is None:
        pytest.skip("it is not known where the book will be: BOOK_URL says it")
    for path in NOTEBOOKS:
        text = "\n".join(cell.source for cell in read(STUDENTS / path.name).cells)
        links = re.findall(rf"\]\(({re.escape(book)}[^)\s]+)\)", text)
        assert f"{book}book/{path.stem}.html" in links
        for link in links:
            page, place = urldefrag(link.removeprefix(book))
            assert (HTML / page).is_file(), link
            assert not place or place in anchors(HTML / page), link


@pytest.mark.built
def test_the_zip_holds_the_students_notebooks_alone():
    made = ["-o", "_build/.book"]  # the book is built already, and only packed
    subprocess.run(["make", "-s", *made, "notebooks-for-students"], cwd=ROOT, check=True)
    with zipfile.ZipFile(ROOT / "_build" / "student-notebooks.zip") as archive:
        assert sorted(archive.namelist()) == [path.name for path in NOTEBOOKS]
        for path in NOTEBOOKS:
            assert archive.read(path.name) == (STUDENTS / path.name).read_bytes()


def planted():
    """Return a chapter whose solutions have something in their words, code and output."""
    chapter, inside = skeleton("12-few-shot"), False
    for cell in chapter.cells:
        inside |= "{solution-start}" in cell.source
        if inside and cell.cell_type == "code":
            cell.source += f"\nprint({SENTINEL + '-code'!r})"
            cell.outputs = [nbformat.v4.new_output("stream", text=f"{SENTINEL}-output")]
        elif "plt.show()" in cell.source:
            cell.outputs = [nbformat.v4.new_output("display_data", data={"image/png": PIXEL})]
        elif inside:
            top = ":class: dropdown\n```\n"
            cell.source = cell.source.replace(top, f"{top}\n{SENTINEL}-words\n")
        if "{solution-end}" in cell.source:
            cell.source += "\n\nAnd after it, in the same cell, more for all."
            inside = False
    return chapter


@pytest.fixture(scope="session")
def fork(tmp_path_factory):
    """The pages of a book of one chapter, in a clone whose origin is a fork."""

    def fill(folder):
        for name in ("tools", "book/assets"):
            unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
        for name in ("_config.yml", "pyproject.toml", "CITATION.cff", "book/references.bib",
                     "book/bibliography.md"):  # fmt: skip
            shutil.copy(ROOT / name, folder / name)
        index = "(ch-tasks)=\n# There\n\n{download}`To cite it <../CITATION.cff>`\n"
        (folder / "book" / "index.md").write_text(index, encoding="utf-8")
        (folder / "book" / "notation.md").write_text("# Notation\n", encoding="utf-8")
        chapter = folder / "book" / "12-few-shot.ipynb"
        chapter.write_text(canonical(planted()), encoding="utf-8")
        chapters = [{"file": f"book/{n}"} for n in ("12-few-shot", "notation", "bibliography")]
        toc = {"format": "jb-book", "root": "book/index", "chapters": chapters}
        (folder / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")

        def git(*words):
            who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
            subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)

        git("init")
        git("remote", "add", "origin", "git@github.com:someone/fork.git")
        git("add", "_toc.yml")
        git("commit", "-m", "A fork")
        with pytest.MonkeyPatch.context() as patch:
            for variable in ("REPOSITORY", "GITHUB_REPOSITORY", "BOOK_URL"):
                patch.delenv(variable, raising=False)
            jupyter_book(folder)

    return once(tmp_path_factory, "fork", fill)


@pytest.mark.slow
def test_no_answer_is_left_for_students(fork):
    """What was planted in a solution's words, code and output."""
    html = fork / "_build" / "html"
    texts = {
        path.relative_to(html).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in html.rglob("*") if path.is_file()
    }  # fmt: skip
    student = texts["notebooks/12-few-shot.ipynb"]
    teacher = texts["notebooks/teacher/12-few-shot.ipynb"]
    found = {path for path, text in texts.items() if SENTINEL in text}
    assert found == {"book/12-few-shot.html", "notebooks/teacher/12-few-shot.ipynb"}
    assert student.count("And after it, in the same cell") == 3
    assert teacher.count(f"{SENTINEL}-words") == teacher.count(f"{SENTINEL}-code") == 3
    assert f"{SENTINEL}-output" not in teacher


@pytest.mark.slow
def test_a_clone_of_a_fork_names_the_fork_alone(fork):
    """Its buttons, setup cells, notebooks and citation, without an edit."""
    html = fork / "_build" / "html"
    commit = subprocess.check_output(["git", "-C", fork, "rev-parse", "HEAD"], text=True).strip()
    texts = {path: path.read_bytes() for path in html.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if DEFAULT.encode() in text]
    page = BeautifulSoup(texts[html / "book" / "12-few-shot.html"], "html.parser")
    links = {a["href"] for a in page.find_all("a", href=True)}
    colab = "https://colab.research.google.com/github/someone/fork/blob/gh-pages/notebooks"
    assert {FORK, f"{colab}/12-few-shot.ipynb", "../notebooks/12-few-shot.ipynb"} <= links
    assert f'"git+{FORK}"' in page.get_text()
    (citation,) = html.rglob("CITATION.cff")
    assert f"repository-code: {FORK}\n" in citation.read_text(encoding="utf-8")
    for folder in ("notebooks", "notebooks/teacher"):
        notebook = nbformat.read(html / folder / "12-few-shot.ipynb", as_version=4)
        assert f'"git+{FORK}@{commit}"' in notebook.cells[0].source
        assert f'"git+{FORK}@{commit}"' in notebook.cells[1].source
        assert "](https://someone.github.io/fork/book/12-few-shot.html)" in notebook.cells[0].source


@pytest.mark.slow
def test_runs_from_top_to_bottom_with_the_solutions_put_back(fork, tmp_path):
    student = nbformat.read(
        fork / "_build" / "html" / "notebooks" / "12-few-shot.ipynb", as_version=4
    )
    chapter = read(fork / "book" / "12-few-shot.ipynb")
    nbformat.write(put_back(student, chapter), tmp_path / "a.ipynb")
    run(tmp_path / "a.ipynb")
    cells = [cell for cell in read(tmp_path / "a.ipynb").cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


KNOWN = {
    "book/a": "https://x.org/book/a.html",
    "book/b": "https://x.org/book/b.html",
    ":ref:`sec`": "[There](https://x.org/book/b.html#sec)",
    ":term:`shots <shot>`": "shots",
    "sec": "https://x.org/book/b.html#sec",
    "equation-eq-a": "3.1",
    "ex-a": "Exercise 3.2",
    "fig-a": "Fig. 3.4",
}


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("(here)=\n## A {ref}`sec`", "## A [There](https://x.org/book/b.html#sec)"),
        ("five {term}`shots\n<shot>`", "five shots"),
        ("[b](b.md), [c](sec)", "[b](https://x.org/book/b.html), [c](https://x.org/book/b.html#sec)"),
        ("$$\nx = {1}\n$$ (eq-a)", "$$\nx = {1}\n\\tag{3.1}$$"),
        ("- so\n\n  $$\n  x\n  $$ (eq-a)", "- so\n\n  $$\n  x\n  \\tag{3.1}$$"),
        (
            "````{admonition} Look at {ref}`sec`\n:class: tip\n\none\n\n```python\n{x}\n```\n````",
            "> **Look at [There](https://x.org/book/b.html#sec)**\n>\n> one\n>\n"
            "> ```python\n> {x}\n> ```",
        ),
        (":::{note}\ntwo\n:::\nthree", "> **Note**\n>\n> two\nthree"),
        ("```{exercise-start}\n:label: ex-a\n```\n\n**A** task.\n\n```{exercise-end}\n```",
         "### Exercise 3.2\n\n**A** task."),
        ("```\n{ref}`sec`\n```", "```\n{ref}`sec`\n```"),
        ("```{figure} images/x.svg\n:name: fig-a\n:alt: x\n\nWhat it shows.\n```",
         "[Fig. 3.4](https://x.org/book/a.html#fig-a)\n\nWhat it shows."),
        ("```{interactive} Valley(steps=2)\n```", "[The figure](https://x.org/book/a.html)"),
        ("![a drawing](images/x.png)", "[a drawing](https://x.org/book/a.html)"),
    ],
)  # fmt: skip
def test_each_part_of_myst_has_a_plain_form(myst, markdown):
    assert student_notebooks.plain(myst, "book/a", KNOWN) == markdown


def test_an_unknown_directive_is_an_error_of_the_build():
    """Not silence: it would stand in the notebook as it is."""
    with pytest.raises(ValueError, match=r"can show \{tab-set\}"):
        student_notebooks.plain("```{tab-set}\n```", "book/a", KNOWN)
    with pytest.raises(KeyError):
        student_notebooks.plain("{ref}`nowhere`", "book/a", KNOWN)
