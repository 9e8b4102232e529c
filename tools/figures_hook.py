"""Interactive figures in the built pages: the package's present code, and no kernel."""

import json
import re
from hashlib import sha256
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PACKAGE = "metasgd_core.widgets."
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-view\+json">(.*?)</script>', re.DOTALL
)
# Seen until the figure is drawn, and where it never is.
WAITING = "This figure moves where JavaScript runs; the text and pictures beside it say the same."
LIVE_ONLY = "This control needs a running notebook: open the page on Colab or in JupyterLab."


def lean(text: str) -> str:
    """Leave out a source's indentation, empty lines and the comments that fill whole lines."""
    text = re.sub(r"^[ \t]*/\*\*.*?\*/[ \t]*\n", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^[ \t]*(?://.*)?\n|^[ \t]+", "", text, flags=re.MULTILINE)


def script(name: str) -> str:
    """Return a figure class's module as a classic script: modules do not load from a disk.

    Parameters
    ----------
    name : str
        The class with its module, as anywidget stores it in the notebook.
    """
    from metasgd_core.widgets.figure import Figure, module_text

    module, _, attribute = name.rpartition(".")
    figure = getattr(import_module(module), attribute)
    assert issubclass(figure, Figure), name
    text, exports = re.subn(
        r"^export default", "return", lean(module_text(figure.sources)), flags=re.MULTILINE
    )
    if exports != 1:
        raise ValueError(f"{name}: one line must begin with `export default`, found {exports}")
    registry = "(window.bookFigures = window.bookFigures || {})"
    return f'{registry}["{name}"] = (() => {{ "use strict";\n{text}\n}})();\n'


def write(app: Sphinx, file: str, text: str) -> str:
    """Write a file beside the pages and return its path, with a mark that changes with the text."""
    target = Path(app.outdir) / "_static" / "figures" / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return f"_static/figures/{file}?v={sha256(text.encode()).hexdigest()[:8]}"


def put_figures(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Make a place for each figure of the page, and load what draws it; else load nothing."""
    body = context.get("body", "")
    if not VIEW.search(body):
        return
    from metasgd_core.widgets.figure import module_text

    scripts = context["script_files"]
    typed = ((js, getattr(js, "attributes", {}).get("type")) for js in scripts)
    stored = next((js for js, kind in typed if kind == STATE), None)
    models = {} if stored is None else json.loads(stored.attributes["body"])["state"]
    figures: dict[str, Any] = {}

    def place(found: re.Match[str]) -> str:
        key = json.loads(found[1])["model_id"]
        model = models.get(key, {})
        name = model.get("state", {}).get("_anywidget_id", "")
        if not name.startswith(PACKAGE):
            return f"<p><em>{LIVE_ONLY}</em></p>"
        # The notebook's copy of the code stays behind.
        kept = {k: v for k, v in model["state"].items() if k not in ("_esm", "_css")}
        figures[key] = {**model, "state": kept}
        return (
            f'<div class="mf-place" data-model="{escape(key)}" data-figure="{escape(name)}">'
            f"<p><em>{WAITING}</em></p></div>"
        )

    body = VIEW.sub(place, body)
    if stored is not None:
        context["script_files"] = [js for js in scripts if js is not stored]
    if figures:
        link = context["pathto"]
        css = link(write(app, "figure.css", module_text(("figure.css",))), resource=True)
        body = f'<link rel="stylesheet" href="{css}">\n{body}'
        state = json.dumps({"state": figures}).replace("</", "<\\/")
        body += f'\n<script type="{STATE}">{state}</script>'
        for name in sorted({model["state"]["_anywidget_id"] for model in figures.values()}):
            file = write(app, f"{name.rpartition('.')[2]}.js", script(name))
            body += f'\n<script src="{link(file, resource=True)}"></script>'
        body += f'\n<script src="{link("_static/figures.js", resource=True)}"></script>\n'
    context["body"] = body
