"""An environment as on Colab, where torch is and this package is not: the setup cells install it.

What they have installed is then all that the page for a practitioner has.
"""

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from conftest import CHAPTERS, ROOT
from packaging.requirements import Requirement
from repository import PROJECT, readdressed

FORK = "https://github.com/someone/fork"
PRACTICE = ROOT / "book" / "13-transfer-and-shift-deeper.ipynb"

# Colab carries these and what they need. pip and setuptools are there to install the package.
# anywidget is not: pip fetches it there, which it may not here.
CARRIED = [
    "torch", "numpy", "scipy", "matplotlib", "ipywidgets", "gymnasium", "safetensors", "tqdm",
    "pip", "setuptools", "anywidget",
]

RUN = """
import os, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
again = []
try:
    import metasgd_core
except ModuleNotFoundError:
    pass
else:
    sys.exit(f"metasgd_core is already here: {metasgd_core.__file__}")
for path in sys.argv[1:]:
    shell.run_cell(open(path, encoding="utf-8").read()).raise_error()
    shell.register_magic_function(again.append, magic_name="pip")  # the rest say the same
assert len(set(again)) == 1 and len(again) == len(sys.argv) - 2, again
import metasgd_core
from importlib.metadata import version
print(metasgd_core.__file__)
print(version("metasgd-core"))
"""

# As a reader runs a page: cell by cell, in an empty folder.
FOLLOW = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for path in sys.argv[1:]:
    shell.run_cell(open(path, encoding="utf-8").read()).raise_error()
import metasgd_core
print(metasgd_core.__file__)
"""


class Place(NamedTuple):
    """Attributes: the environment's `python` and `site`-packages, its variables, what was said."""

    python: Path
    site: Path
    variables: dict[str, str]
    setup: subprocess.CompletedProcess[str]


def closure(names):
    """Return the installed distributions that these need, with what those need in turn."""
    found, waiting = {}, list(names)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = requirement.name.lower().replace("_", "-")
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # a CUDA companion, where torch is the CPU build
            continue
        waiting += found[name].requires or []
    return found.values()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A fresh environment that holds what Colab carries, by links, and nothing of this book.

    In it the setup cells are run. In place of the network git takes a copy of the package, which
    has gone on since its release.
    """
    tmp_path = tmp_path_factory.mktemp("colab")
    carried = tmp_path / "carried"
    carried.mkdir()
    for dist in closure(CARRIED):
        for file in dist.files or []:
            top = file.parts[0]
            if top != ".." and not (carried / top).exists():
                (carried / top).symlink_to(dist.locate_file(top))
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "carried.pth").write_text(f"{carried}\n")

    package = tmp_path / "package"
    package.mkdir()
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, package)
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "metasgd_core", package / "metasgd_core", ignore=unwanted)

    def git(*words):
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", package, *who, *words], check=True, capture_output=True)

    release = PROJECT["version"]
    git("init")
    git("add", ".")
    git("commit", "-m", "A release")
    git("tag", f"v{release}")
    text = (package / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{release}"' in text
    text = text.replace(f'version = "{release}"', 'version = "9.9.9"')
    (package / "pyproject.toml").write_text(text, encoding="utf-8")
    git("commit", "-am", "Gone on")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cells = []
    for chapter in CHAPTERS:
        cell = nbformat.read(chapter, as_version=4).cells[1]
        cells.append(tmp_path / f"{chapter.stem}.py")
        text = readdressed(cell.source, FORK, f"v{release}")  # as in the students' notebooks
        cells[-1].write_text(text, encoding="utf-8")
    unset = ("PYTHONPATH", "VIRTUAL_ENV", "METASGD_CORE")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0: none
    environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": FORK}
    environment["GIT_CONFIG_KEY_0"] = f"url.{package.as_uri()}.insteadOf"
    result = subprocess.run(
        [python, "-c", RUN, *map(str, cells)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    return Place(python, site, environment, result)


@pytest.mark.slow
def test_setup_cells_install_the_release(place):
    assert place.setup.returncode == 0, place.setup.stdout + place.setup.stderr
    file, version = place.setup.stdout.splitlines()[-2:]
    assert str(place.site) in file
    assert sys.prefix not in file
    assert version == PROJECT["version"]


@pytest.mark.slow
def test_your_own_network_needs_nothing_but_the_package(place, tmp_path):
    """The page as printed (solutions aside), from a folder that is empty, and stays so.

    Whoever follows it has no repository: a path into it, or a file of its tests, fails here.
    """
    assert place.setup.returncode == 0
    cells, empty = [], tmp_path / "empty"
    empty.mkdir()
    for number, cell in enumerate(nbformat.read(PRACTICE, as_version=4).cells):
        if cell.cell_type == "code" and "cellView" not in cell.metadata:
            cells.append(tmp_path / f"{number}.py")
            cells[-1].write_text(cell.source, encoding="utf-8")
    result = subprocess.run(
        [place.python, "-c", FOLLOW, *map(str, cells)],
        cwd=empty,
        env=place.variables | {"MPLBACKEND": "agg", "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert str(place.site) in result.stdout.splitlines()[-1]
    assert "head alone minus every layer" in result.stdout
    assert not any(empty.iterdir())
