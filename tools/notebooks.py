"""Run the chapters and write them in one canonical form: a second run gives no difference in git.

python tools/notebooks.py              all chapters
python tools/notebooks.py 04-maml ...  the ones named
"""

import copy
import os
import re
import sys
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import kernels
import nbformat
import pace
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
VIEW = "application/vnd.jupyter.widget-view+json"
DATE = re.compile(r" *<metadata>.*?</metadata>\n", re.DOTALL)  # when matplotlib drew a picture

FOLDED = {"hide-output", "hide-cell"}

# Written by Jupyter on each run, or by an editor; none of it is the chapter's.
VOLATILE = {"execution", "collapsed", "scrolled", "trusted", "ExecuteTime", "outputId", "colab"}


def read(path: Path) -> Any:
    """Return a notebook in which each cell has an id of its own, and keeps it for ever.

    A new cell's comes from its source (nbformat would draw it), so that two runs agree.
    """
    notebook = nbformat.v4.reads(path.read_text(encoding="utf-8"))
    taken, seen = {cell.get("id") for cell in notebook.cells}, {None}
    for cell in notebook.cells:
        if cell.get("id") in seen:
            ids = (sha256(f"{k} {cell.source}".encode()).hexdigest()[:8] for k in count())
            cell.id = next(new for new in ids if new not in taken)
            taken.add(cell.id)
        seen.add(cell.id)
    return notebook


def canonical(notebook: Any) -> str:
    """Return the notebook's text with everything that differs between two runs made plain."""
    number = 0
    for cell in notebook.cells:
        for key in VOLATILE & cell.metadata.keys():
            del cell.metadata[key]
        if cell.cell_type != "code":
            continue
        number += 1
        cell.execution_count = number
        # What is folded on the page is folded in JupyterLab: a guess comes before the answer.
        if FOLDED & set(cell.metadata.get("tags", [])):
            cell.metadata.setdefault("jupyter", {})["outputs_hidden"] = True
        for output in cell.outputs:
            if svg := output.get("data", {}).get("image/svg+xml"):
                output.data["image/svg+xml"] = DATE.sub("", svg)
            if "execution_count" in output:
                output.execution_count = number
            # A widget's model ends with its kernel. A figure leaves its picture and what makes it
            # again; of other widgets a view of no model remains, which JupyterLab hides.
            if (data := output.get("data", {})) and VIEW in data:
                if "image/png" in data:
                    del data[VIEW]
                else:
                    data[VIEW].model_id = ""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"


def keep_times(notebook: Any, stored: Any) -> None:
    """Keep what a clock said before, while the chapter's code is the same.

    A cell tagged `measures-time` shows seconds, which differ in each run; nothing else may.
    """
    if [cell.source for cell in notebook.cells] == [cell.source for cell in stored.cells]:
        for cell, old in zip(notebook.cells, stored.cells, strict=True):
            if "measures-time" in cell.metadata.get("tags", []) and old.outputs:
                cell.outputs = old.outputs


def run(path: Path) -> float:
    """Execute one notebook in place; return its processor seconds, as on a usual machine."""
    notebook = read(path)
    stored = copy.deepcopy(notebook)
    pieces = [pace.piece()]
    client = NotebookClient(
        notebook,
        on_cell_executed=lambda **_: pieces.append(pace.piece()),
        kernel_manager_class=kernels.Kernel,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    before = pace.of_children()
    client.execute()
    seconds = (pace.of_children() - before) / pace.slowness(pieces)
    keep_times(notebook, stored)
    # Written beside it and renamed: a killed run leaves the old notebook whole.
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(canonical(notebook), encoding="utf-8")
    draft.replace(path)
    return seconds


def plain(error: CellExecutionError) -> str:
    """Return the cell and its traceback without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).rstrip()


def main(names: list[str]) -> int:
    os.environ["TQDM_DISABLE"] = "1"
    chapters = sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))
    unknown = set(names) - {path.stem for path in chapters}
    if unknown:
        known = ", ".join(path.stem for path in chapters) or "none"
        print(f"No chapter {', '.join(sorted(unknown))} in book/. Chapters: {known}.")
        return 2
    failed = 0
    for path in chapters:
        if names and path.stem not in names:
            continue
        try:
            seconds = run(path)
        except CellExecutionError as error:
            print(f"{path.stem:<28} FAILED, the old notebook is kept:\n{plain(error)}", flush=True)
            failed += 1
            continue
        slow = seconds > pace.CHAPTER
        failed += slow
        note = f"  longer than the {pace.CHAPTER:.0f} s a chapter may take" if slow else ""
        print(f"{path.stem:<28} {seconds:6.1f} s{note}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
