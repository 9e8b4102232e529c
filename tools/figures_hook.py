"""Interactive figures in the built pages: the package's present code, and no kernel."""

import ast
import json
import re
from hashlib import sha256
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from traitlets import TraitError

PACKAGE = "metasgd_core.widgets."
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-view\+json">(.*?)</script>', re.DOTALL
)
PLACE = re.compile(r'<div class="mf-place" data-figure="([\w.]+)">')
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


def opening(model: dict[str, Any]) -> str:
    """Return the opening of the place of a figure, with its state; what is seen first follows."""
    # The notebook's copy of the code stays behind.
    state = {name: v for name, v in model["state"].items() if name not in ("_esm", "_css")}
    stored = json.dumps({"state": state, "buffers": model.get("buffers", [])}).replace("</", "<\\/")
    return (
        f'<div class="mf-place" data-figure="{escape(state["_anywidget_id"])}">'
        f'<script type="application/json">{stored}</script>'
    )


class Interactive(SphinxDirective):
    """A figure on a page of text: made here as a notebook makes it, ``AdaptSine(steps=2)``.

    The directive's content is seen until the figure is drawn, and where it never is.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        import metasgd_core.widgets

        try:
            match ast.parse(self.arguments[0], mode="eval").body:
                case ast.Call(func=ast.Name(id=name), args=[], keywords=words):
                    traits = {str(word.arg): ast.literal_eval(word.value) for word in words}
                case _:
                    raise ValueError("write it as AdaptSine(steps=2)")
            figure = getattr(metasgd_core.widgets, name)(**traits)
        except (AttributeError, SyntaxError, TypeError, ValueError, TraitError) as error:
            raise self.error(f"{self.arguments[0]}: {error}") from error
        models = figure.get_manager_state(drop_defaults=False, widgets=[figure])["state"]
        start, end = opening(models[figure.model_id]), "</div>"
        return [
            nodes.raw("", start, format="html"),
            *self.parse_content_to_nodes(),
            nodes.raw("", end, format="html"),
        ]


def put_figures(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Make a place for each figure of the page, and load what draws it; else load nothing."""
    scripts = context["script_files"]
    typed = ((js, getattr(js, "attributes", {}).get("type")) for js in scripts)
    stored = next((js for js, kind in typed if kind == STATE), None)
    models = {} if stored is None else json.loads(stored.attributes["body"])["state"]

    def place(found: re.Match[str]) -> str:
        model = models.get(json.loads(found[1])["model_id"], {})
        if not model.get("state", {}).get("_anywidget_id", "").startswith(PACKAGE):
            return f"<p><em>{LIVE_ONLY}</em></p>"
        return f"{opening(model)}<p><em>{WAITING}</em></p></div>"

    body = VIEW.sub(place, context.get("body", ""))
    context["script_files"] = [js for js in scripts if js is not stored]
    if names := sorted(set(PLACE.findall(body))):
        from metasgd_core.widgets.figure import module_text

        link = context["pathto"]
        css = link(write(app, "figure.css", module_text(("shared/figure.css",))), resource=True)
        files = [write(app, f"{name.rpartition('.')[2]}.js", script(name)) for name in names]
        body = f'<link rel="stylesheet" href="{css}">\n{body}\n' + "\n".join(
            f'<script src="{link(file, resource=True)}"></script>'
            for file in (*files, "_static/figures.js")
        )
    context["body"] = body
