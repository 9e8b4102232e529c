"""Pack the drawn figures of the built book: SVG, light and dark, with a page that shows them.

python tools/pictures.py _build/figures.zip
"""

import sys
from html import escape
from pathlib import Path
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

from bs4 import BeautifulSoup
from bs4.filter import SoupStrainer
from repository import ROOT, published, repository

HTML = ROOT / "_build" / "html"
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The figures of “Learning to learn with Meta-SGD”</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 45rem; margin: auto; padding: 1rem; }}
  img {{ max-width: 100%; }}
  figure {{ margin: 0 0 3rem; }}
</style>
<h1>The figures of “Learning to learn with Meta-SGD”</h1>
<p>By the Meta-SGD book authors, under the <a href="{licence}">CC BY 4.0</a> licence: use them and
change them for any purpose, name the source (<a href="{address}">{address}</a>), and say what you
changed. Formulas in captions are TeX.</p>
{figures}
</html>
"""
FIGURE = """\
<figure id="{name}">
<a href="{file}.svg"><img src="{file}.svg" alt="{alt}" loading="lazy"></a>
<figcaption>{caption}
<a href="{file}.svg">For light</a>, <a href="{file}-dark.svg">for dark</a>,
<a href="{page}">on its page</a>.</figcaption>
</figure>
"""


class Drawing(NamedTuple):
    """Attributes: `page` is relative to the built book; `light` and `dark` are files there."""

    name: str
    page: str
    caption: str
    alt: str
    light: Path
    dark: Path

    @property
    def file(self) -> str:
        """Its name in the archive, without an ending."""
        return f"{Path(self.page).stem}/{self.name}"


def drawings(html: Path) -> list[Drawing]:
    """Return the figures of the pages that have a twin for the dark, in the order of the pages."""
    found = []
    for page in sorted((html / "book").glob("*.html"), key=lambda page: page.stem):
        text = page.read_text(encoding="utf-8")
        soup = BeautifulSoup(text, "html.parser", parse_only=SoupStrainer("figure"))
        for figure in soup.select("figure"):
            images, caption = figure.select(".picture img"), figure.select_one("figcaption")
            if not images or caption is None:
                continue
            light, dark = ((page.parent / str(image["src"])).resolve() for image in images)
            for link in caption.select(".headerlink"):
                link.decompose()
            said = " ".join(caption.get_text().split())
            said = said.replace("\\(", "$").replace("\\)", "$")
            where = page.relative_to(html).as_posix()
            alt = str(images[0]["alt"])
            found.append(Drawing(str(figure["id"]), where, said, alt, light, dark))
    return found


def pack(target: Path, html: Path = HTML) -> list[Drawing]:
    """Write the archive and return the figures that it has."""
    found = drawings(html)
    address = repository()
    book = published(address) or f"{address}#"
    figures = "\n".join(
        FIGURE.format(
            name=one.name, file=one.file, alt=escape(one.alt), caption=escape(one.caption),
            page=f"{book}{one.page}#{one.name}",
        )
        for one in found
    )  # fmt: skip
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        index = PAGE.format(licence=LICENCE, address=address, figures=figures)
        archive.writestr("figures/index.html", index)
        archive.write(ROOT / "LICENSE-TEXT", "figures/LICENSE")
        for one in found:
            archive.write(one.light, f"figures/{one.file}.svg")
            archive.write(one.dark, f"figures/{one.file}-dark.svg")
    return found


if __name__ == "__main__":
    archive = Path(sys.argv[1])
    print(f"{len(pack(archive))} figures, light and dark: {archive}")
