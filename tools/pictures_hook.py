"""Static pictures in the built pages: sharp at any size, right in the dark, readable on a phone."""

import os
import re
from math import ceil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

#: CSS pixels that the smallest label of a picture has on any screen. A narrow one scrolls it.
LABEL = 11
PIXELS_A_POINT = 4 / 3
PAGE = "#121212"  # the theme's background in the dark
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_WIDTH = re.compile(r'<svg [^>]*\bwidth="([\d.]+)pt"')
_LABELS = re.compile(r'<g id="text_\d+">.*?scale\(([\d.]+) ', re.DOTALL)  # glyphs of 100 units
_LEAST = re.compile(r'<img([^>]*) class="([^"]*)\bleast-(\d+)\b')


def in_the_dark(svg: str) -> str:
    """Return the picture with the colours that the figures have in the dark.

    Colours that are none of the book's stay: a colour map's order is its meaning.
    """
    from metasgd_core.plotting import THEMES

    dark = {colour.lower(): THEMES["dark"][name] for name, colour in THEMES["light"].items()}
    dark |= {"#000000": THEMES["dark"]["text"], "#ffffff": PAGE}
    svg = _COLOUR.sub(lambda found: dark.get(found[0], found[0]), svg)
    return svg.replace("<svg ", f'<svg fill="{THEMES["dark"]["text"]}" ', 1)  # letters have none


def least_width(svg: str) -> int:
    """Return how wide the picture must be for its smallest label to be read, in CSS pixels."""
    width = _WIDTH.search(svg)
    sizes = [100 * float(scale) * PIXELS_A_POINT for scale in _LABELS.findall(svg)]
    if not width or not sizes:  # no drawing of matplotlib's, or one without words
        return 0
    return ceil(float(width[1]) * PIXELS_A_POINT * LABEL / min(sizes))


def make_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Put each drawn picture in a box that scrolls, beside its twin for the dark."""
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        if not image["uri"].endswith(".svg"):
            continue
        path = Path(app.env.relfn2path(image["uri"], app.env.docname)[1])
        svg = path.read_text(encoding="utf-8")
        dark = Path(app.outdir).parent / "jupyter_execute" / f"{path.stem}.dark.svg"
        dark.parent.mkdir(parents=True, exist_ok=True)
        dark.write_text(in_the_dark(svg), encoding="utf-8")
        twin = image.deepcopy()
        twin["uri"] = f"/{os.path.relpath(dark, app.srcdir)}"
        for one, theme in ((image, "only-light"), (twin, "only-dark")):
            one["classes"] += [theme, f"least-{least_width(svg)}"]
        box = nodes.container("", classes=["picture"])
        image.parent.replace(image, box)
        box += [image, twin]


def set_widths(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Write each picture's least width, which a class cannot say."""
    context["body"] = _LEAST.sub(
        r'<img\1 style="min-width: \3px" class="\2', context.get("body", "")
    )
