"""The setup cells as on Colab, where torch is, and this package and its repository are not."""

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution

import nbformat
import pytest
from conftest import CHAPTERS, ROOT
from packaging.requirements import Requirement

# Colab carries these and what they need. pip and setuptools are there to install the package.
# anywidget is not: pip fetches it there, which it may not here.
CARRIED = [
    "torch", "numpy", "scipy", "matplotlib", "ipywidgets", "gymnasium", "safetensors", "tqdm",
    "pip", "setuptools", "anywidget",
]

RUN = """
import sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
try:
    import metasgd_core
except ModuleNotFoundError:
    pass
else:
    sys.exit(f"metasgd_core is already here: {metasgd_core.__file__}")
for path in sys.argv[1:]:
    shell.run_cell(open(path, encoding="utf-8").read()).raise_error()
import metasgd_core
print(metasgd_core.__file__)
"""


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


@pytest.mark.slow
def test_setup_cells_install_the_package(tmp_path):
    """A fresh environment that holds what Colab carries, by links, and nothing of this book."""
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

    package = tmp_path / "package"  # a copy: pip builds in the folder that it installs from
    package.mkdir()
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, package)
    shutil.copytree(ROOT / "metasgd_core", package / "metasgd_core")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cells = []
    for chapter in CHAPTERS:
        cell = nbformat.read(chapter, as_version=4).cells[1]
        cells.append(tmp_path / f"{chapter.stem}.py")
        cells[-1].write_text(cell.source, encoding="utf-8")
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    environment |= {"METASGD_CORE": f"--no-build-isolation {package}", "PIP_NO_INDEX": "1"}
    result = subprocess.run(
        [python, "-c", RUN, *map(str, cells)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert str(site) in result.stdout.splitlines()[-1]
    assert sys.prefix not in result.stdout.splitlines()[-1]
