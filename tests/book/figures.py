"""What the tests of the interactive figures share: a small book, and when they are drawn."""

import shutil
import subprocess
import sys
from pathlib import Path

import mounting
import nbformat
from conftest import ROOT
from notebooks import run

FIGURES = [
    ("markdown", "# Figures\n\nTwo of one kind, and a control that needs Python."),
    ("code", "from metasgd_core.widgets import Valley\n\nValley()"),
    ("markdown", "(second)=\n## A section"),
    ("code", 'Valley(figure_id="second", alpha=0.05)'),
    ("code", "from ipywidgets import IntSlider\n\nIntSlider()"),
]
CARTPOLE = [
    ("markdown", "# CartPole"),
    ("code", "from metasgd_core.widgets import CartPolePlay\n\nCartPolePlay()"),
    ("markdown", "## Below\n\nA word."),
]
NOTEBOOKS = {"figures": FIGURES, "cartpole": CARTPOLE}
INDEX = """# A book

```{interactive} Valley(alpha=0.05)
A sentence in its place.
```

```{interactive} AdaptSine()
```
"""

# Whether all the figures of a page are drawn, and when that was, after the page itself.
PLACES = 'document.querySelectorAll(".mf-place")'
READY = f'[...{PLACES}].every((place) => place.querySelector("[data-ready]"))'
WATCH_READY = f"""new MutationObserver(() => {{
    const [page] = performance.getEntriesByType("navigation");
    if (window.readyAfter === undefined && {PLACES}.length && {READY}) {{
        window.readyAfter = performance.now() - page.domContentLoadedEventStart;
    }}
}}).observe(document, {{ subtree: true, childList: true, attributes: true }});"""


#: Open all groups of controls of a figure.
UNFOLD = "(f) => f.querySelectorAll('details').forEach((one) => { one.open = true; })"


def settle(page):
    """Wait until what was asked for is drawn, and what takes longer is computed."""
    mounting.settle(page)
    page.wait_for_function("() => !document.querySelector('.mf-place [aria-busy=true]')")


def build(folder, notebooks=NOTEBOOKS, index=INDEX):
    """Build a book of notebooks and a page of text, and return the folder of its pages."""
    for name in ("tools", "book/assets"):
        unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    for name in ("_config.yml", "pyproject.toml", "CITATION.cff", "book/references.bib"):
        shutil.copy(ROOT / name, folder / name)
    cell = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    toc = "format: jb-book\nroot: book/index\nchapters:\n"
    for name, cells in notebooks.items():
        notebook = nbformat.v4.new_notebook(cells=[cell[kind](text) for kind, text in cells])
        nbformat.write(notebook, folder / "book" / f"{name}.ipynb")
        run(folder / "book" / f"{name}.ipynb")
        toc += f"  - file: book/{name}\n"
    (folder / "book" / "index.md").write_text(index, encoding="utf-8")
    (folder / "_toc.yml").write_text(toc, encoding="utf-8")
    return jupyter_book(folder)


def jupyter_book(folder):
    """Build the book in a folder, and return the folder of its pages."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", folder, "-W", "--all", "-q"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"
