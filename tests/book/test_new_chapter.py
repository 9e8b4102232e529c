"""`make new-chapter`: a beginning that passes what holds the chapters, or nothing at all."""

import os
import shutil
import subprocess
import sys

import nbformat
import new_chapter
import pytest
from conftest import CHAPTERS, ROOT

#: The first number that no chapter has.
NUMBER = next(n for n in range(2, 100) if not any(p.name.startswith(f"{n:02d}") for p in CHAPTERS))
NAME = f"{NUMBER:02d}-few-shot"


def python(folder, *words):
    """Run Python in a copy of the book, with that copy's package."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'tests'}"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_new_chapter_passes_what_holds_the_chapters(tmp_path):
    """In a copy of the tree: its form, and its cells run again (nbval).

    That it is built without a warning is seen in test_student_notebooks.py, whose book holds one.
    """
    for name in ("tools", "book", "tests/book", "metasgd_core"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("_config.yml", "_toc.yml", "pyproject.toml", "CITATION.cff", "tests/patience.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    before = (ROOT / "_toc.yml").read_text(encoding="utf-8").splitlines()
    files = sorted(os.listdir(tmp_path / "book"))

    said = python(tmp_path, "tools/new_chapter.py", NAME)
    assert NAME in said
    assert sorted(os.listdir(tmp_path / "book")) == sorted([*files, f"{NAME}.ipynb"])
    after = (tmp_path / "_toc.yml").read_text(encoding="utf-8").splitlines()
    entry = next(i for i, line in enumerate(after) if line.endswith(NAME))
    assert after[:entry] + after[entry + 1 :] == before
    above = {line.strip().removeprefix("- file: book/") for line in after[:entry]}
    for path in CHAPTERS:
        assert (path.stem in above) == (path.stem < NAME)

    python(tmp_path, "-m", "ruff", "check", f"book/{NAME}.ipynb")
    checks = ("tests/book/test_notebooks.py", f"book/{NAME}.ipynb", "--nbval", "-k", NAME)
    checks += ("-p", "tools.pace", "-p", "tools.kernels")  # as the gate does
    said = python(tmp_path, "-m", "pytest", "-v", "-p", "no:cacheprovider", *checks)
    assert f"test_is_canonical[{NAME}] PASSED" in said
    assert f"book/{NAME}::ipynb::Cell 0 PASSED" in said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "NAME=12-few-shot"),
        ("few-shot", "two digits and words"),
        (f"{NUMBER:02d}-Few-Shot", "two digits and words"),
        (f"{NUMBER:02d}-few shot", "two digits and words"),
        (f"{NUMBER:02d}-few_shot", "two digits and words"),
        (f"{NUMBER:02d}", "two digits and words"),
        (f"../{NAME}", "two digits and words"),
        ("04-maml", "The number 04 is that of book/04-maml.ipynb"),
        ("04-few-shot", "The number 04 is that of book/04-maml.ipynb"),
        (f"{NUMBER:02d}-maml", "The label ch-maml stands in book/04-maml.ipynb"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(name, sentence, monkeypatch, capsys):
    def nothing(*_):
        raise AssertionError("written")

    for module, function in ((new_chapter, "run"), (nbformat, "write")):
        monkeypatch.setattr(module, function, nothing)
    monkeypatch.setattr(new_chapter, "TOC", None)
    assert new_chapter.main(name) == 2
    said = capsys.readouterr().out
    assert sentence in said
    assert said.count("\n") == 1


def test_a_failing_run_leaves_nothing(tmp_path, monkeypatch):
    """The table of contents would otherwise name a chapter that is not there."""
    shutil.copy(CHAPTERS[-1], tmp_path)
    monkeypatch.setattr(new_chapter, "BOOK", tmp_path)
    monkeypatch.setattr(new_chapter, "TOC", None)

    def fail(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(new_chapter, "run", fail)
    with pytest.raises(KeyboardInterrupt):
        new_chapter.main(NAME)
    assert os.listdir(tmp_path) == [CHAPTERS[-1].name]
