"""Interactive figures in the built pages: the package's present code, and no kernel."""

import ast
import json
import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import rjsmin
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import ReferenceRole, SphinxDirective
from sphinx.util.logging import getLogger
from traitlets import TraitError

if TYPE_CHECKING:  # torch is loaded where a page has a figure
    from metasgd_core.widgets.figure import Figure

VIEW = "application/vnd.jupyter.widget-view+json"
PLACE = re.compile(r'<div class="mf-place" data-figure="(\w+)">')
REFUSED = (TypeError, ValueError, TraitError)


def words() -> dict[str, dict[str, Any]]:
    """Return the table of all that is shown, `metasgd_core.widgets.words.WORDS`."""
    from metasgd_core.widgets.words import WORDS

    return WORDS


def figures() -> "dict[str, type[Figure]]":
    """Return the classes of figures by name."""
    from metasgd_core import widgets
    from metasgd_core.widgets.figure import Figure

    found = {name: getattr(widgets, name) for name in widgets.__all__}
    return {name: cls for name, cls in found.items() if issubclass(cls, Figure)}


def make(name: str, arguments: dict[str, Any]) -> "Figure":
    """Return a figure; one of `REFUSED` says what is wrong with its name or its arguments."""
    if name not in (known := figures()):
        raise ValueError(f"there is no figure {name}; there are {', '.join(known)}")
    return known[name](**arguments)


def opening(figure: "Figure") -> str:
    """Return the opening of the place of a figure, with its state; what is seen first follows."""
    from anywidget import AnyWidget

    names = set(figure.keys) - set(AnyWidget().keys) - {"_css"}  # of the figure, and no code
    state = {name: getattr(figure, name) for name in sorted(names)}
    data = {name: state.pop(name) for name in names if isinstance(state[name], bytes)}
    buffers = {name: b64encode(value).decode() for name, value in sorted(data.items())}
    stored = json.dumps({"state": state, "buffers": buffers}).replace("<", "\\u003c")
    return (
        f'<div class="mf-place" data-figure="{type(figure).__name__}">'
        f'<script type="application/json">{stored}</script>'
    )


def call(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the keywords of a figure that is written as ``AdaptSine(steps=2)``."""
    match ast.parse(text, mode="eval").body:
        case ast.Call(func=ast.Name(id=name), args=[], keywords=words):
            return name, {str(word.arg): ast.literal_eval(word.value) for word in words}
    raise ValueError("write it as AdaptSine(steps=2)")


@cache
def stored(path: Path) -> dict[str, dict[str, Any]]:
    """Return the arguments of each figure of a notebook, by the name of its class."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    kept = (output.get("metadata", {}) for cell in cells for output in cell.get("outputs", []))
    return {one["figure"]: one["arguments"] for one in (m.get("metasgd_core") for m in kept) if one}


def state(path: Path, name: str, traits: dict[str, Any]) -> str:
    """Return the part of an address that sets a notebook's figure to a state, as the page has it.

    Raises
    ------
    ValueError
        If the notebook has no such figure; one of `REFUSED`, if the figure cannot be set so.
    """
    if name not in (known := stored(path)):
        raise ValueError(f"{path.name} has no {name}; it has {', '.join(known) or 'no figure'}")
    figure = make(name, known[name])
    if unknown := sorted(traits.keys() - set(figure._state)):
        raise ValueError(f"a link cannot set {', '.join(unknown)} of {name}")
    for trait, value in traits.items():
        setattr(figure, trait, value)
    text = json.dumps({trait: getattr(figure, trait) for trait in traits}, separators=(",", ":"))
    place = known[name]["figure_id"]
    return f"#figure-{place}?{place}={quote(text, safe='')}"


class InteractiveLink(ReferenceRole):
    """A link to a figure of another page, set to a state.

    ``{interactive}`ten steps <03-tasks-and-shots: AdaptSine(steps=10)>` ``
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        page, _, text = self.target.partition(": ")
        name, _ = self.env.relfn2path(page)
        path = Path(self.env.doc2path(name))
        try:
            target = state(path, *call(text))
        except (OSError, SyntaxError, *REFUSED) as error:
            message = self.inliner.reporter.error(f"{self.target}: {error}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        self.env.note_dependency(str(path))
        address = self.env.app.builder.get_relative_uri(self.env.docname, name) + target
        return [nodes.reference(self.rawtext, self.title, refuri=address, internal=True)], []


class Interactive(SphinxDirective):
    """A figure on a page of text: made here as a notebook makes it, ``AdaptSine(steps=2)``.

    The directive's content is seen until the figure is drawn, and where it never is.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            figure = make(*call(self.arguments[0]))
        except (SyntaxError, *REFUSED) as error:
            raise self.error(f"{self.arguments[0]}: {error}") from error
        return [
            nodes.raw("", opening(figure), format="html"),
            *self.parse_content_to_nodes(),
            nodes.raw("", "</div>", format="html"),
        ]


def make_figures(app: Sphinx, page: str, source: list[str]) -> None:
    """Make the figures of a notebook anew; other widgets say what they need."""
    path = Path(app.env.doc2path(page))
    if path.suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    notebook["metadata"].pop("widgets", None)  # MyST-NB would load scripts from the network
    for output in (o for cell in notebook["cells"] for o in cell.get("outputs", [])):
        if stored := output.get("metadata", {}).get("metasgd_core"):
            try:
                figure = make(stored["figure"], stored["arguments"])
            except REFUSED as error:
                getLogger(__name__).error(
                    f"the stored figure {stored['figure']} cannot be made again: {error}; "
                    f"run `make notebooks ONLY={path.stem}`", location=page,
                )
                continue
            said = words()["pages"]["waiting"]
            output["data"] = {"text/html": f"{opening(figure)}<p><em>{said}</em></p></div>"}
        elif VIEW in output.get("data", {}):
            said = words()["pages"]["live"]
            output["data"] = {"text/html": f"<p><em>{said}</em></p>"}
    source[0] = json.dumps(notebook)


def lean(text: str, *, css: bool = False) -> str:
    """Leave out of a script, or of a style sheet, what no browser needs.

    What is constant has been checked before; to a browser `let` says as much, in fewer bytes.
    """
    if not css:
        text = re.sub(r"\bconst (?=[\w{[])", "let ", rjsmin.jsmin(text))
        return re.sub(r"(?<![);]);\}", "}", text)
    bare = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    close = re.sub(r"\s*([{};,])\s*|\s+", lambda found: found[1] or " ", bare).strip()
    return re.sub(r"([{;][\w-]+): ", r"\1:", close).replace(";}", "}")


def lean_assets(app: Sphinx, exception: Exception | None) -> None:
    """Do the same to the book's own files, which Sphinx has copied as they are."""
    for source in (Path(app.confdir) / "book" / "assets").glob("*.[cj]s*"):
        if (copy := Path(app.outdir) / "_static" / source.name).exists():
            text = source.read_text(encoding="utf-8")
            copy.write_text(lean(text, css=source.suffix == ".css"), encoding="utf-8")


def from_table(name: str) -> str:
    """Return the line by which a script finds its constant in the page's table."""
    from metasgd_core.widgets.constants import told

    return f"const {name.upper()} = TOLD.{name};\n" if told(name) else ""


def script(names: list[str]) -> tuple[str, str]:
    """Return the figures' modules as one classic script: modules do not load from a disk.

    What they share is there once; a figure's own part has a scope of its own inside. Words and
    constants are data, the same for all figures of the page: the element that holds them comes
    second, and goes before the script.
    """
    from metasgd_core.widgets.constants import told
    from metasgd_core.widgets.figure import module_text

    classes = [figures()[name] for name in names]
    sources = dict.fromkeys(source for cls in classes for source in cls.sources)
    shared = tuple(source for source in sources if source.startswith("shared/"))
    parts = [module_text(shared, from_table)]
    for cls in classes:
        own = tuple(source for source in cls.sources if source not in shared)
        text, exports = re.subn(
            r"^export default", "return", module_text(own, from_table), flags=re.MULTILINE
        )
        if exports != 1:
            raise ValueError(
                f"{cls.__name__}: one line must begin with `export default`, found {exports}"
            )
        parts.append(f"bookFigures.{cls.__name__} = (() => {{\n{text}\n}})();")
    whole = "\n".join(parts)
    read = 'const TOLD = JSON.parse(document.getElementById("mf-told").textContent);'
    text = lean(f'window.bookFigures = {{}};\n(() => {{ "use strict";\n{read}\n{whole}\n}})();\n')
    stems = (Path(source).stem for source in sources)
    said = json.dumps({stem: told(stem) for stem in stems if told(stem)}, ensure_ascii=False,
                      separators=(",", ":")).replace("<", "\\u003c")  # fmt: skip
    return text, f'<script type="application/json" id="mf-told">{said}</script>'


def write(app: Sphinx, file: str, text: str) -> str:
    """Write a file beside the pages and return its path, with a mark that changes with the text."""
    target = Path(app.outdir) / "_static" / "figures" / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return f"_static/figures/{file}?v={sha256(text.encode()).hexdigest()[:8]}"


def load_figures(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Load what draws the page's figures; a page without one loads nothing."""
    if names := sorted(set(PLACE.findall(context.get("body", "")))):
        from metasgd_core.widgets.figure import module_text

        link = context["pathto"]
        style = lean(module_text(("shared/figure.css",)), css=True)
        css = link(write(app, "figure.css", style), resource=True)
        text, told = script(names)
        code = write(app, f"{'-'.join(names)}.js", text)
        code, start = (link(file, resource=True) for file in (code, "_static/figures.js"))
        undrawn = words()["pages"]["undrawn"]
        context["body"] = (
            f'<link rel="stylesheet" href="{css}">\n{context["body"]}\n{told}\n'
            f'<script src="{code}"></script>\n'
            f'<script src="{start}" data-undrawn="{undrawn}"></script>'
        )
