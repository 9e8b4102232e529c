"""The decks' own Sphinx set-up: the book's maths, bibliography and figures, on slides."""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
CONFIG = BOOK["sphinx"]["config"]
sys.path.insert(0, str(ROOT / "tools"))

project, author, copyright = BOOK["title"], BOOK["author"], BOOK["copyright"]
extensions = [
    "myst_parser", "sphinx.ext.mathjax", "sphinxcontrib.bibtex", "sphinx_revealjs", "decks",
]  # fmt: skip
myst_enable_extensions = BOOK["parse"]["myst_enable_extensions"]
bibtex_bibfiles = [f"../../{file}" for file in BOOK["bibtex_bibfiles"]]
html_copy_source = False
bibtex_reference_style = CONFIG["bibtex_reference_style"]
suppress_warnings = ["myst.footnote"]  # MyST does not know the footnotes of citations ...
myst_footnote_transition = False  # ... and would draw a line above them
mathjax_path = CONFIG["mathjax_path"]
# Slides that are not shown have no height, which MathJax would match.
mathjax3_config = CONFIG["mathjax3_config"] | {"chtml": {"matchFontHeight": False}}

revealjs_html_theme = "revealjs-simple"
revealjs_style_theme = "white"
revealjs_use_section_ids = True
revealjs_static_path = ["slides.css", "slides.js", "../../book/assets/figures.js"]
revealjs_css_files = ["slides.css"]
revealjs_script_files = ["slides.js"]
revealjs_script_conf = "deck"  # slides.js says it
revealjs_script_plugins = [
    {"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"},
    {"name": "RevealHighlight", "src": "revealjs/plugin/highlight/highlight.js"},
]
