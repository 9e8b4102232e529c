"""Drawn pictures on the pages: a twin for the dark, and labels that can be read on a phone."""

import re

import matplotlib
import pytest
from bs4 import BeautifulSoup
from conftest import HTML, NOTEBOOKS
from matplotlib.figure import Figure
from pictures_hook import LABEL, PAGE, in_the_dark, least_width

from metasgd_core import plotting

PALE = 0.3  # what is drawn on a dark page is lighter than that


def drawn(path, size=12):
    """Draw a line and words 4 inches wide, as SVG."""
    with matplotlib.rc_context():
        plotting.use_style()
        figure = Figure(figsize=(4, 3))
        ax = figure.subplots()
        ax.plot([0, 1], color=plotting.PALETTE["blue"])
        ax.plot([1, 0], color="#123456")  # none of the book's
        ax.set_xlabel("x", fontsize=size)
        figure.savefig(path)
    return path.read_text(encoding="utf-8")


def test_a_picture_is_as_wide_as_its_smallest_label_needs(tmp_path):
    """4 inches are 384 pixels and 12 points are 16: at 11 pixels a label, 264 pixels."""
    assert least_width(drawn(tmp_path / "a.svg")) == 264
    assert least_width(drawn(tmp_path / "b.svg", size=6)) == 528
    assert least_width("<svg/>") == 0


def test_in_the_dark_the_books_colours_change_and_no_others(tmp_path):
    light = drawn(tmp_path / "a.svg")
    dark = in_the_dark(light)
    themes = plotting.THEMES
    assert plotting.PALETTE["blue"].lower() in light
    assert themes["dark"]["blue"].lower() in dark.lower()
    assert "#ffffff" in light
    assert PAGE in dark
    assert not {"#ffffff", "#000000"} & set(re.findall(r"#\w{6}", dark))
    assert "#123456" in dark


def brightness(colour):
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return 0.2 * red + 0.7 * green + 0.1 * blue


@pytest.mark.built
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_drawing_has_its_twin_and_its_least_width(path):
    page = HTML / "book" / f"{path.stem}.html"
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    boxes = soup.select(".picture")
    assert boxes or "image/svg+xml" not in path.read_text(encoding="utf-8")
    for box in boxes:
        light, dark = box.find_all("img")
        assert "only-light" in light["class"]
        assert "only-dark" in dark["class"]
        assert light["alt"] == dark["alt"] != ""
        svg = (page.parent / light["src"]).read_text(encoding="utf-8")
        least = int(re.search(r"min-width: (\d+)px", light["style"])[1])
        assert least == least_width(svg)
        assert least >= LABEL
        twin = (page.parent / dark["src"]).read_text(encoding="utf-8")
        assert brightness(re.search(r'<svg fill="(#\w{6})"', twin)[1]) > PALE
