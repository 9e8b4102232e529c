"""What the decks have beside Markdown: notes for the teacher, the chapters' pictures, a list."""

import json
import re
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from figures_hook import Interactive, load_figures
from pictures_hook import in_the_dark
from pybtex.backends.plaintext import Backend
from pybtex.plugin import register_plugin
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_hooks import copy_mathjax
from sphinx_revealjs.nodes import revealjs_section

ROOT = Path(__file__).resolve().parents[1]


class Notes(SphinxDirective):
    """What only the speaker sees; before it, how many minutes the slide takes."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        slide = revealjs_section()
        slide["data-timing"] = round(60 * float(self.arguments[0]))
        return [
            slide,
            nodes.raw("", '<aside class="notes">', format="html"),
            *self.parse_content_to_nodes(),
            nodes.raw("", "</aside>", format="html"),
        ]


@cache
def stored_pictures() -> dict[str, tuple[str, str]]:
    """Return the picture (SVG) and the alt text of each figure of the chapters, by its name."""
    found = {}
    for path in sorted((ROOT / "book").glob("[0-9]*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            shown = cell["metadata"].get("mystnb", {})
            for output in cell.get("outputs", []):
                if "figure" in shown and (svg := output.get("data", {}).get("image/svg+xml")):
                    found[shown["figure"]["name"]] = ("".join(svg), shown["image"]["alt"])
    return found


def cut(svg: str, top: float, bottom: float) -> str:
    """Return what a picture has between two heights, as shares of its own."""

    def size(found: re.Match[str]) -> str:
        width, height = map(float, found.groups())
        part = (bottom - top) * height
        return f'width="{width}pt" height="{part}pt" viewBox="0 {top * height} {width} {part}"'

    whole = r'width="[\d.]+pt" height="[\d.]+pt" viewBox="0 0 ([\d.]+) ([\d.]+)"'
    return re.sub(whole, size, svg, count=1)


class Stored(SphinxDirective):
    """The picture that a chapter has of a figure, by the figure's name; nothing is drawn again.

    With `cut` its panels stand side by side: a picture that is tall for a page is small on a slide.
    """

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"cut": float}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in (known := stored_pictures()):
            raise self.error(f"no chapter has a picture {name}")
        svg, alt = known[name]
        edges = [0.0, *([self.options["cut"]] if "cut" in self.options else []), 1.0]
        parts = list(pairwise(edges))
        most = max(bottom - top for top, bottom in parts)
        images = []
        for k, (top, bottom) in enumerate(parts):
            for theme, text in (("light", svg), ("dark", in_the_dark(svg))):
                file = Path(self.env.app.outdir) / "_images" / f"{name}-{k}-{theme}.svg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(cut(text, top, bottom), encoding="utf-8")
                images.append(
                    f'<img class="only-{theme}" src="_images/{file.name}" alt="{escape(alt)}" '
                    f'style="--share: {(bottom - top) / most:.3f}">'
                )
            alt = ""  # it tells of all parts
        kind = "stored parts" if len(parts) > 1 else "stored"
        return [nodes.raw("", f'<div class="{kind}">{"".join(images)}</div>', format="html")]


class Decks(SphinxDirective):
    """A link to each deck, with its slides and its minutes."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for path in sorted(Path(self.env.srcdir).glob("[0-9]*.md")):
            self.env.note_dependency(str(path))
            text = path.read_text(encoding="utf-8")
            title = re.search(r"^# (.+)$", text, re.MULTILINE)
            minutes = sum(map(float, re.findall(r"^`+\{notes\} (\S+)$", text, re.MULTILINE)))
            slides = len(re.findall(r"^##? ", text, re.MULTILINE))
            assert title is not None
            rows.append(
                f'<li value="{int(path.name[:2])}"><a href="{path.stem}.html">{escape(title[1])}'
                f"</a> <small>{slides} slides, {minutes:.0f} minutes</small></li>"
            )
        return [nodes.raw("", f'<ol class="decks">{"".join(rows)}</ol>', format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    register_plugin("pybtex.backends", "plaintext", Backend, force=True)  # as in sphinx_hooks
    app.add_directive("interactive", Interactive)
    app.add_directive("notes", Notes)
    app.add_directive("stored", Stored)
    app.add_directive("decks", Decks)
    app.connect("html-page-context", load_figures)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
