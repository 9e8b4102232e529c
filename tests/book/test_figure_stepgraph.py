"""The graph of a step: its numbers are torch's, and each method cuts the edges that it cuts."""

import re

import mounting
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from browsing import WCAG
from mounting import get, goals, settle

from metasgd_core.widgets import StepGraph
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import module_text
from metasgd_core.widgets.stepgraph import NAMES, RANGES

pytestmark = pytest.mark.browser
RUN = """async ([source, cases]) => {
    const text = source + "\\nexport { graphNumbers };";
    const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const { graphNumbers } = await import(address);
    return cases.map(([method, task, theta, alpha]) => graphNumbers(method, task, theta, alpha));
}"""


def mount(page, **traits):
    return mounting.mount(page, StepGraph(**traits))


def press(page, label, times=1):
    for _ in range(times):
        page.get_by_role("button", name=label, exact=True).click()
    settle(page)


def said(page, name):
    """Return the numbers that the sentence has under a name."""
    text = page.locator(f'[data-say] [data-readout="{name}"]').inner_text().replace("−", "-")
    return [float(part) for part in re.findall(r"-?[\d.]+", text)]


def edges(page):
    """Return the edges on which something flows back, and those that are cut."""
    cut = page.locator('[data-key$=" cross"]').evaluate_all("all => all.map((e) => e.dataset.key)")
    cut = {key.removesuffix(" cross") for key in cut}
    names = ("arrive", "straight", "through-phi", "through", "rates")
    return {key for key in names if page.locator(f'[data-key="{key}"]').count()} - cut, cut


def test_the_numbers_are_those_of_torch(page):
    """240 random tasks of both kinds and all methods, to 1e-9 of the largest number."""
    generator, figures, cases = torch.Generator().manual_seed(0), [], []
    for k in range(240):
        drawn = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        traits = {name: low + share * (high - low)
                  for (name, (low, high)), share in zip(RANGES.items(), drawn, strict=True)}
        figure = StepGraph(method=NAMES[k % 4], parameters=("one", "two")[k // 4 % 2], **traits)
        count, each = 1 + (figure.parameters == "two"), figure.method == "Meta-SGD"
        theta, alpha = ([traits[f"{name}_1"], traits[f"{name}_{other}"]][:count]
                        for name, other in (("theta", 2), ("alpha", 2 if each else 1)))
        figures.append(figure)
        cases.append([figure.method, CONSTANTS["stepgraph"]["tasks"][figure.parameters], theta,
                      alpha])
    source = module_text(("stepgraph.js",)).split("export default")[0]
    for figure, found in zip(figures, page.evaluate(RUN, [source, cases]), strict=True):
        expected = figure.numbers()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            mine = torch.tensor(found[name], dtype=torch.float64)
            assert mine.shape == value.shape, name
            assert (mine - value).abs().max() <= 1e-9 * max(1, value.abs().max()), (name, figure)


@pytest.mark.parametrize("kind", ["one", "two"])
@pytest.mark.parametrize("name", NAMES)
def test_the_reader_goes_forward_and_back(page, name, kind):
    """By the button, each stage says torch's numbers to two digits; Back takes the last away."""
    figure = mount(page, method=name, parameters=kind)
    numbers, heard = figure.numbers(), set()
    for stage in range(9):
        assert get(page, "stage") == stage
        for readout in page.locator("[data-say] [data-readout]").all():
            key = readout.get_attribute("data-readout")
            assert said(page, key) == pytest.approx(numbers[key].tolist(), abs=0.00501), key
            heard.add(key)
        if stage < 8:
            press(page, "Next")
    assert {"theta", "alpha", "support", "gradient", "phi", "straight", "total"} <= heard
    assert page.get_by_role("button", name="Next", exact=True).is_disabled()
    press(page, "Back")
    assert get(page, "stage") == 7
    assert page.locator('[data-key="rates"]').count() == 0
    press(page, "Back", 7)
    assert page.locator('[data-key="to-support"]').count() == 0


def test_switching_the_method_cuts_edges(page):
    """The whole point: what flows where, before the reader's eyes."""
    mount(page, method="Meta-SGD", stage=8)
    box = page.locator('select[data-trait="method"]')
    flows = {"arrive", "straight", "through-phi", "through", "rates"}
    assert edges(page) == (flows, set())
    closed = {
        "MAML": {"rates"}, "FOMAML": {"rates", "through-phi"},
        "Reptile": {"rates", "through-phi", "arrive"},
    }
    drawn = mounting.picture(page)
    for name, cut in closed.items():
        box.focus()
        page.keyboard.press("Home")
        for _ in range(NAMES.index(name)):
            page.keyboard.press("ArrowDown")
        settle(page)
        assert get(page, "method") == name
        there = flows - cut - ({"through"} if "through-phi" in cut else set())
        assert edges(page) == (there, cut)
        assert mounting.picture(page) != drawn
    assert "½" in page.locator('[data-key="last name"]').text_content()


def test_the_goals_are_reached_one_after_the_other(page):
    """Each is ticked when it is reached, and not before; Reset begins with the first."""
    mount(page, method="Meta-SGD")
    assert len(goals(page)) == 1
    assert goals(page)[0].startswith("Goal 1 of 5: Go forward")
    press(page, "Next", 8)
    assert goals(page)[0].startswith("✓ Go forward")
    assert goals(page)[1].startswith("Goal 2 of 5: With MAML")
    method = page.locator('select[data-trait="method"]')
    rate = page.locator('[data-number="alpha_1"]')
    method.select_option("MAML")
    rate.fill("0.3")
    rate.press("Enter")
    settle(page)
    assert len(goals(page)) == 2
    rate.fill("0.5")
    rate.press("Enter")
    settle(page)
    assert said(page, "total") == [0]
    assert goals(page)[2].startswith("Goal 3 of 5: With FOMAML")
    method.select_option("FOMAML")
    settle(page)
    assert len(goals(page)) == 3
    rate.press("ArrowUp")
    settle(page)
    assert goals(page)[3].startswith("Goal 4 of 5: With Reptile")
    method.select_option("Reptile")
    settle(page)
    assert goals(page)[4].startswith("Goal 5 of 5: With Meta-SGD")
    method.select_option("Meta-SGD")
    page.locator('select[data-trait="parameters"]').select_option("two")
    rate.fill("0")
    rate.press("Enter")
    settle(page)
    assert len(goals(page)) == 5
    page.locator('[data-trait="alpha_2"]').fill("0.75")
    settle(page)
    assert goals(page)[-1] == "All goals reached."
    press(page, "Reset")
    assert [text[:11] for text in goals(page)] == ["Goal 1 of 5"]


def test_only_the_numbers_that_count_can_be_set(page):
    mount(page, method="Meta-SGD")

    def shown():
        rows = page.locator("[data-number]:visible")
        return rows.evaluate_all("all => all.map((e) => e.dataset.number)")

    assert shown() == ["theta_1", "alpha_1"]
    page.locator('select[data-trait="parameters"]').select_option("two")
    settle(page)
    assert shown() == ["theta_1", "theta_2", "alpha_1", "alpha_2"]
    page.locator('select[data-trait="method"]').select_option("MAML")
    settle(page)
    assert shown() == ["theta_1", "theta_2", "alpha_1"]


@pytest.mark.parametrize("name", ["theta_1", "theta_2", "alpha_1", "alpha_2"])
def test_the_sliders_move_what_follows_from_them(page, name):
    mount(page, method="Meta-SGD", parameters="two", stage=3)
    before, drawn = said(page, "phi"), mounting.picture(page)
    page.locator(f'input[type=range][data-trait="{name}"]').focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert said(page, "phi") != before
    assert mounting.picture(page) != drawn


def test_a_link_brings_the_stage_back(page, browser):
    mount(page, method="FOMAML", stage=5)
    press(page, "Next", 2)
    press(page, "Link to this state")
    link = page.evaluate("location.href")
    for where, stage in ((link, 7), (link.replace("%22stage%22%3A7", "%22stage%22%3A9"), 5)):
        with browser.new_context() as context:
            other = context.new_page()
            other.goto(where)
            mount(other, method="FOMAML", stage=5)
            assert get(other, "stage") == stage


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_and_accessible_on_a_phone(page, scheme):
    """Labels of 11 pixels at least, none over another or cut off; Next is pressed by the keys."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    mount(page, method="Meta-SGD", parameters="two", stage=7)
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    settle(page)
    assert get(page, "stage") == 8
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [text.bounding_box() for text in page.locator(".mf-plot text").all()]
    assert len(boxes) > 15
    plot = page.locator(".mf-plot > svg").bounding_box()
    for k, box in enumerate(boxes):
        assert box["height"] >= 11
        assert box["x"] >= plot["x"] - 8
        assert box["x"] + box["width"] <= plot["x"] + plot["width"] + 8
        for other in boxes[:k]:
            across = (box["x"] < other["x"] + other["width"]
                      and other["x"] < box["x"] + box["width"])
            down = (box["y"] + 3 < other["y"] + other["height"]
                    and other["y"] + 3 < box["y"] + box["height"])
            assert not (across and down)
    options = {"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"]}
    found = Axe().run(page, context="main", options=options).response["violations"]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []
    heard = page.locator(".mf-live")
    page.wait_for_function("document.querySelector('.mf-live').textContent !== ''")
    assert "In all θ has received" in heard.inner_text()
