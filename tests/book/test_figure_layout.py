"""Every figure's controls: wide sliders, fields for their numbers, a picture that stays beside."""

import re

import mounting
import pytest
from figures_hook import figures
from mounting import get, settle

pytestmark = pytest.mark.browser
#: Those with sliders; "Draw a character" and "Beat the guesser" have none.
CLASSES = {name: cls for name, cls in figures().items()
           if name not in ("DrawCharacter", "BeatTheGuesser")}  # fmt: skip
#: What a panel of sliders begins with, so that all of them are there.
STATES = {
    "StepGraph": {"method": "Meta-SGD", "parameters": "two"}, "Valley": {"rates": "each"},
    "CartPolePlay": {"start": "random", "side": 0},  # fewer episodes are played
}
each = pytest.mark.parametrize("name", CLASSES)
widths = pytest.mark.parametrize("width", [1280, 390])


def mount(page, name, width=1280):
    page.set_viewport_size({"width": width, "height": 900 if width > 600 else 844})
    figure = mounting.mount(page, CLASSES[name](**STATES.get(name, {})))
    mounting.unfold(page)
    return figure


def sliders(page):
    return page.locator("input[type=range]:visible").all()


@each
@widths
def test_sliders_are_as_wide_as_the_panel(page, name, width):
    """And a field for the number stands above each, with a name of its own."""
    mount(page, name, width)
    panel = page.locator(".mf-controls").bounding_box()["width"]
    found = sliders(page)
    assert len(found) >= 2
    for slider in found:
        assert slider.bounding_box()["width"] >= 0.98 * panel
        trait = slider.get_attribute("data-trait")
        field = page.locator(f'[data-number="{trait}"]')
        label = slider.evaluate("e => e.labels[0].textContent")
        assert field.get_attribute("aria-label") == f"{label}, as a number" or name == "StepGraph"
        assert field.get_attribute("data-lm-suppress-shortcuts") == "true"
        box, under = field.bounding_box(), slider.bounding_box()
        assert min(box["width"], box["height"]) >= 24
        assert 0 <= under["y"] - box["y"] < 60
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@each
def test_a_number_is_typed(page, name):
    """Reached by Tab just before its slider; what lies beyond the range becomes its end."""
    mount(page, name)
    slider = sliders(page)[-1]
    trait = slider.get_attribute("data-trait")
    field = page.locator(f'[data-number="{trait}"]')
    low, high = (float(field.get_attribute(end)) for end in ("min", "max"))
    field.focus()
    page.keyboard.press("Tab")
    assert slider.evaluate("e => e === document.activeElement")
    page.keyboard.press("Shift+Tab")
    between = float(f"{0.7 * low + 0.3 * high:.2g}")
    for typed, becomes in ((str(between), between), ("1e6", high), ("-1e6", low), ("", low)):
        page.keyboard.press("Control+a")
        page.keyboard.type(typed) if typed else page.keyboard.press("Delete")
        page.keyboard.press("Enter")
        settle(page)
        assert get(page, trait) == becomes
        assert float(field.input_value()) == pytest.approx(becomes, abs=0.005)
        assert field.evaluate("e => e === document.activeElement")
    page.keyboard.press("ArrowUp")
    settle(page)
    assert get(page, trait) > low, "an arrow moves it as it moves the slider"
    slider.focus()
    page.keyboard.press("End")
    settle(page)
    assert float(field.input_value()) == pytest.approx(high)


@each
@widths
def test_the_picture_stays_in_sight_of_the_control_in_hand(page, name, width):
    """On one screen, and neither over the other: what is moved, and what follows."""
    mount(page, name, width)
    height = page.viewport_size["height"]
    for slider in reversed(sliders(page)):
        slider.focus()
        settle(page)
        control = slider.bounding_box()
        plot = slider.evaluate("""(e) => {
            const own = e.closest("details")?.querySelector(".mf-plot");
            const { top, bottom } = (own ?? document.querySelector(".mf-plot"))
                .getBoundingClientRect();
            return [top, bottom];
        }""")
        assert -1 <= plot[0] < plot[1] <= control["y"] + 4, slider.get_attribute("data-trait")
        assert control["y"] + control["height"] <= height
    boxes = [box.bounding_box() for box in page.locator(".mf-plot").all()]
    stacked = page.evaluate("""() => [...document.querySelectorAll(".mf-plot")]
        .every((plot, k, all) => !k || plot.compareDocumentPosition(all[k - 1]) === 2)""")
    assert stacked
    assert len({round(box["x"]) for box in boxes}) == 1, "the second is the lower one"


@each
def test_on_a_phone_controls_are_folded(page, name):
    """A screen or two, not three; a group opens at a touch, or by the keyboard."""
    page.set_viewport_size({"width": 390, "height": 844})
    mounting.mount(page, CLASSES[name](**STATES.get(name, {})))
    assert page.locator("main").bounding_box()["height"] < 1300
    groups = page.locator("details:not([open])")
    if len(sliders(page)) <= 2 and not groups.count():
        pytest.skip("it has two sliders, and shows them")
    assert groups.count() >= 1
    before = len(sliders(page))
    if name != "AlphaLab":  # its last group, with all of its sliders
        groups.first.locator("summary").tap()
    else:
        groups.last.locator("summary").press("Enter")
    settle(page)
    assert len(sliders(page)) > before


@each
def test_no_number_is_said_twice(page, name):
    """The sentence has it, or a read-out."""
    mount(page, name)
    names = page.locator("[data-readout]").evaluate_all("all => all.map((e) => e.dataset.readout)")
    assert len(names) == len(set(names)) > 1
    said = re.findall(r"\d[\d.]*\d", page.locator("[data-say]").text_content())
    read = " ".join(page.locator(".mf-readouts dd").all_text_contents())
    long = {number for number in said if len(number.replace(".", "").lstrip("0")) >= 3}
    assert not long & set(re.findall(r"\d[\d.]*\d", read))
