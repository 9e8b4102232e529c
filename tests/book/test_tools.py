"""The scripts behind the Makefile."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from urllib.request import urlopen

import check
import nbformat
import pace
import pytest
from conftest import CHAPTERS, HTML, ROOT
from nbclient.exceptions import CellExecutionError
from notebooks import canonical, plain, read, run
from repository import DEFAULT


def notebook(*sources, **metadata):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, **metadata})


def execute(path, *sources):
    unnamed = notebook(*sources)
    for cell in unnamed.cells:
        del cell["id"]
    path.write_text(json.dumps(unnamed), encoding="utf-8")
    run(path)
    return path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_runs_write_the_same(tmp_path):
    """Also ids of widgets and new cells, which Jupyter draws, and pictures, which carry no time."""
    sources = [
        "import ipywidgets\nipywidgets.HBox([ipywidgets.IntSlider(), ipywidgets.IntText()])",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
        "print('a')\nprint('b')",
    ]
    first, second = (execute(tmp_path / name, *sources) for name in ("a.ipynb", "b.ipynb"))
    assert first == second
    assert '"model_id": ""' in first
    assert "widget-state" not in first
    assert "image/png" in first
    assert "timestamp" not in first


def test_canonical_form_is_a_fixed_point():
    text = canonical(notebook("1 + 1", "2", language_info={"name": "python", "version": "3.11.7"}))
    assert canonical(nbformat.reads(text, as_version=4)) == text
    assert "3.11.7" not in text


def test_a_cell_keeps_its_id(tmp_path):
    """Whatever is inserted: a review sees the new cell, and not every one that follows."""
    path = tmp_path / "a.ipynb"

    def ids(cells):
        old = notebook()
        path.write_text(json.dumps({**old, "cells": cells}), encoding="utf-8")
        cells = read(path).cells
        path.write_text(canonical(read(path)), encoding="utf-8")
        assert [cell.id for cell in read(path).cells] == [cell.id for cell in cells]
        return [cell.id for cell in cells]

    def cell(source, **named):
        new = nbformat.v4.new_code_cell(source)
        return {key: value for key, value in new.items() if key != "id"} | named

    old = [cell("1", id="cell-001"), cell("2", id="cell-002")]
    assert ids(old) == ["cell-001", "cell-002"]
    first, a, b, last = ids([old[0], cell("new"), cell("new"), old[1]])
    assert (first, last) == ("cell-001", "cell-002")
    assert len({a, b, first, last}) == 4
    assert ids([cell("0"), *old, cell("new")])[-1] == a, "its source decides"
    copied = ids([old[0], cell("3", id="cell-001"), old[1]])
    assert (copied[0], copied[2]) == ("cell-001", "cell-002")


@pytest.mark.slow
def test_only_what_a_clock_says_is_kept(tmp_path):
    path = tmp_path / "a.ipynb"
    stored = notebook("import time\nprint(time.time_ns())", "print(time.time_ns())")
    stored.cells[0].metadata.tags = ["measures-time"]
    nbformat.write(stored, path)

    def outputs():
        run(path)
        return [cell.outputs[0].text for cell in nbformat.read(path, as_version=4).cells]

    first, second = outputs(), outputs()
    assert first[0] == second[0]
    assert first[1] != second[1]


#: A kernel's own port may be another's before it binds it, and the kernel dies; a file may not.
OVER_FILES = (
    "from ipykernel.connect import get_connection_info\n"
    "assert '\"transport\": \"ipc\"' in get_connection_info()\n"
)


@pytest.mark.slow
def test_a_failing_run_keeps_the_old_notebook(tmp_path):
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook(OVER_FILES, "raise ValueError('no')"), path)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError) as caught:
        run(path)
    assert "ValueError: no" in plain(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.ipynb"]


@pytest.mark.slow
def test_a_chapter_is_judged_by_its_work_alone(tmp_path, monkeypatch):
    """Not by what else the machine does meanwhile, nor by how fast its processor is."""
    work = "sum(k * k for k in range(100_000_000))"
    for name, source in (("waits", f"{OVER_FILES}import time\ntime.sleep(4)"), ("works", work)):
        nbformat.write(notebook(source), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(pace, "CHAPTER", 100 * pace.USUAL)
    monkeypatch.setattr(check, "PYTEST", [*check.PYTEST[:-1], "0"])
    paths = [str(tmp_path / f"{name}.ipynb") for name in ("waits", "works")]
    whole, waits, works = check.notebooks(paths)
    assert [result.passed for result in (whole, waits, works)] == [True, True, False]
    assert waits.wall > waits.processor + 3


def test_every_companion_page_has_its_turn():
    """On one of three days, whichever they are; a changed one on any day."""
    companions = sorted((ROOT / "book").glob("*-deeper.ipynb"))
    for day in range(3):
        ran = [set(companions) - set(check.not_in_turn(companions, day + k, "")) for k in range(3)]
        assert set.union(*ran) == set(companions)
        assert sum(map(len, ran)) == len(companions)
        assert max(map(len, ran)) <= len(companions) / 3 + 1
    last = check.not_in_turn(companions, 0, "")[-1]
    assert last not in check.not_in_turn(companions, 0, f"book/{last.name}\nREADME.md\n")
    assert check.git("log", "-1", "--format=%ct").strip().isdigit()
    assert check.git("no-such-word") == ""


def test_a_machine_of_half_the_speed_is_twice_as_slow():
    assert pace.slowness([pace.USUAL, 3 * pace.USUAL]) == pytest.approx(2)
    start = time.process_time()
    took = [pace.piece() for _ in range(3)]
    assert 0 < sum(took) <= time.process_time() - start


def install(folder, **environment):
    unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=unwanted)
    (folder / "requirements.txt").write_text("torch==2.13.0\nno-such-package==1\n")
    quiet = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    return subprocess.run(
        ["sh", "tools/install.sh"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **quiet, **environment},
        capture_output=True,
        text=True,
    )


def stand_in(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_wrong_python_says_what_to_do(tmp_path):
    old = stand_in(tmp_path / "python3.8", "exit 1")
    result = install(tmp_path, PYTHON=old)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Python 3.11, 3.12 or 3.13 is needed and {old} is none")
    assert result.stderr.count("\n") == 1


def test_missing_venv_says_what_to_do(tmp_path):
    bare = stand_in(tmp_path / "python3", 'case "$2" in *ensurepip*) exit 1;; esac')
    result = install(tmp_path, PYTHON=bare)
    assert result.returncode == 1
    assert "apt install python3-venv" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_failed_install_says_what_to_do(tmp_path):
    result = install(tmp_path, PYTHON=sys.executable)
    assert result.returncode != 0
    assert "Installing failed: pip's last lines above say why." in result.stderr
    assert not (tmp_path / ".venv" / ".installed").exists()


@pytest.mark.built
def test_a_second_build_does_nothing_until_a_source_changes():
    def stale(*options):
        return subprocess.run(["make", "-q", *options, "_build/.book"], cwd=ROOT).returncode

    assert stale() == 0
    assert stale("REPOSITORY=https://example.org/another/address") == 1
    sources = ["metasgd_core/adaptation.py", "book/index.md", "book/references.bib", "_config.yml"]
    for source in [*sources, *(str(path.relative_to(ROOT)) for path in CHAPTERS[:1])]:
        assert stale("-W", source) == 1, source


@pytest.mark.built
def test_zip_holds_the_built_book():
    with zipfile.ZipFile(ROOT / "_build" / "meta-sgd-book.zip") as archive:
        assert archive.testzip() is None
        packed = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
    files = (path for path in HTML.rglob("*") if path.is_file())
    assert packed == {
        f"html/{path.relative_to(HTML).as_posix()}": path.stat().st_size for path in files
    }


def test_the_repository_has_one_address():
    """It stands in pyproject.toml; every other mention agrees (the setup cells: test_notebooks)."""
    host, owner, name = DEFAULT.removeprefix("https://").split("/")
    for file in ("README.md", "CITATION.cff"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert f"{owner}/{name}" in text, file
        for mention in text.split(f"{host}/")[1:]:
            if not mention.startswith("licenses"):
                assert mention.removeprefix("github/").startswith(f"{owner}/{name}"), (
                    file,
                    mention[:60],
                )
    assert host not in (ROOT / "_config.yml").read_text(encoding="utf-8")


@pytest.mark.built
def test_serve_shows_the_book_to_this_machine_only():
    command = [sys.executable, "-u", "tools/serve.py", "0"]
    environment = {**os.environ, "BROWSER": "true"}  # opens nothing
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as server:
        line = server.stdout.readline().decode()
        address = line.split()[4]
        assert address.startswith("http://127.0.0.1:")
        with urlopen(address + "book/index.html") as page:
            assert b"Meta-SGD" in page.read()
        server.terminate()


@pytest.mark.slow
def test_lab_reads_the_chapters_directives():
    command = [sys.executable, "-m", "jupyter", "labextension", "list"]
    listing = subprocess.run(command, capture_output=True, text=True)
    assert re.search(r"jupyterlab-myst .*enabled.*OK", listing.stdout + listing.stderr)
