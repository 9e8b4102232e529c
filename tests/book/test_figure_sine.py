"""Adapt to a sine: each control, by hand, changes the picture and the number that it should."""

import re

import mounting
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from conftest import HTML
from mounting import by_torch, check_quick, drag, get, goals, handle, number, picture, settle

from metasgd_core.widgets.sine import STARTS, AdaptSine, starts

pytestmark = pytest.mark.browser


def mount(page, weights=None, **traits):
    spoiled = {} if weights is None else {"_weights": weights}
    return mounting.mount(page, AdaptSine(**traits), **spoiled)


def check_numbers(page):
    """What the page says is what the package computes."""
    for side in ("left", "right"):
        if get(page, side) == "none":
            assert page.locator(f'[data-readout="{side} after"]').count() == 0
            assert number(page, f"{side} support") == "–"
            continue
        for when, error in zip(("before", "after"), by_torch(page, *starts()[get(page, side)])):
            said = page.locator(f'[data-readout="{side} {when}"]')
            if error <= 1e6:
                assert float(said.inner_text()) == pytest.approx(error, rel=6e-3)
            else:
                assert said.count() == 0


@pytest.mark.parametrize("state", [
    {}, {"steps": 3}, {"steps": 10}, {"left": "Reptile", "right": "FOMAML", "steps": 5},
    {"left": "random", "right": "joint", "steps": 10}, {"right": "none"},
    {"left": "Meta-Curvature", "steps": 10},
    {"on_curve": False, "points": [[-3, 2], [0, -1], [4, 4]], "steps": 2},
    {"amplitude": 1.0, "phase": 0.5, "frequency": 2.0},
])
def test_numbers_are_the_packages(page, state):
    mount(page, **state)
    check_numbers(page)


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
@pytest.mark.parametrize("trait", ["steps", "amplitude", "phase", "frequency"])
def test_sliders(page, trait, hand):
    """Further right is more, and the picture and both errors follow."""
    mount(page)
    slider = page.locator(f'input[data-trait="{trait}"]')
    before, drawn = get(page, trait), picture(page)
    errors = [number(page, f"{side} after") for side in ("left", "right")]
    first = {side: float(number(page, f"{side} before")) for side in ("left", "right")}
    if hand == "keyboard":
        slider.focus()
        for _ in range(2):
            page.keyboard.press("ArrowRight")
    else:
        box = slider.bounding_box()
        page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    settle(page)
    assert get(page, trait) > before
    assert picture(page) != drawn
    if trait != "steps":
        assert all(float(number(page, f"{side} before")) != old for side, old in first.items())
    if trait == "steps" and hand == "keyboard":  # three steps: MAML gains, Meta-SGD loses
        assert float(number(page, "left after")) < float(errors[0])
        assert float(number(page, "right after")) > float(errors[1])
    if trait in ("amplitude", "phase") and hand == "keyboard":  # further from where both begin
        assert all(float(number(page, f"{side} before")) > old for side, old in first.items())
    check_numbers(page)


@pytest.mark.parametrize("side", ["left", "right"])
def test_starts_are_chosen(page, side):
    mount(page)
    other = {"left": "right", "right": "left"}[side]
    kept, drawn = number(page, f"{other} after"), picture(page)
    page.locator(f'select[data-trait="{side}"]').focus()
    page.keyboard.press("ArrowUp")
    settle(page)
    assert get(page, side) == {"left": "joint", "right": "Reptile"}[side]
    assert picture(page) != drawn
    assert number(page, f"{other} after") == kept
    check_numbers(page)
    page.locator(f'select[data-trait="{side}"]').select_option("random")
    settle(page)
    check_numbers(page)


def test_points_come_and_go(page):
    mount(page)
    for label, count in (("Add a point", 6), ("Add a point", 7), ("Remove a point", 6)):
        page.get_by_role("button", name=label).click()
        settle(page)
        assert len(get(page, "points")) == count
        check_numbers(page)
    for _ in range(9):
        page.get_by_role("button", name="Remove a point").press("Enter")
    for _ in range(30):
        page.get_by_role("button", name="Add a point").press("Enter")
    settle(page)
    assert len(get(page, "points")) == 20
    check_numbers(page)


def test_seed_gives_the_curve(page):
    """The default state is that of its seed; another seed is another, and it comes back."""
    first = mount(page)
    seed = page.locator('input[data-trait="seed"]')
    seed.fill("6")
    seed.press("Enter")
    seed.blur()
    settle(page)
    assert get(page, "amplitude") != first.amplitude
    check_numbers(page)
    seed.fill("5")
    seed.press("Enter")
    seed.blur()
    settle(page)
    for trait in ("amplitude", "phase", "frequency"):
        assert get(page, trait) == getattr(first, trait)
    there = torch.tensor(get(page, "points"), dtype=torch.float64)
    torch.testing.assert_close(there, torch.tensor(first.points, dtype=torch.float64))
    page.get_by_role("button", name="New curve").click()
    settle(page)
    assert get(page, "seed") == 6
    check_numbers(page)


def test_a_new_curve_keeps_the_frequency(page):
    """The reader has set it, and looks for what follows from it."""
    mount(page)
    page.locator('[data-trait="frequency"]').fill("2")
    before = get(page, "amplitude")
    page.get_by_role("button", name="New curve").click()
    settle(page)
    assert get(page, "frequency") == 2
    assert get(page, "amplitude") != before
    check_numbers(page)


def counted(page):
    """Return on how many of how many sets of points the left start was ahead."""
    said = number(page, "tally")
    return [int(part) for part in re.findall(r"\d+", said)]


def test_new_points_on_the_same_curve_are_counted(page):
    """The landing page's puzzle: who is ahead more often than not? Another curve, another count."""
    mount(page, left="joint")
    curve = [get(page, name) for name in ("amplitude", "phase", "frequency")]
    assert counted(page) == []
    wins = 0
    for count in range(1, 5):
        before = get(page, "points")
        page.get_by_role("button", name="New points, same curve").click()
        settle(page)
        assert get(page, "points") != before
        check_numbers(page)
        wins += float(number(page, "left after")) < float(number(page, "right after"))
        assert counted(page) == [wins, count]
    page.get_by_role("button", name="20 times").click()
    settle(page)
    assert counted(page)[1] == 24
    assert [get(page, name) for name in ("amplitude", "phase", "frequency")] == curve
    assert goals(page)[0].startswith("Goal 1 of 2: Find a curve on which joint is ahead")
    for change in (lambda: page.locator('[data-number="frequency"]').fill("0.5"),
                   lambda: page.locator('[data-number="frequency"]').press("Enter")):
        change()
    settle(page)
    assert counted(page) == []
    page.get_by_role("button", name="20 times").press("Enter")
    settle(page)
    wins, count = counted(page)
    assert count == 20
    assert wins > 10
    assert goals(page)[0].startswith("✓ Find a curve")
    assert goals(page)[1].startswith("Goal 2 of 2: Add inner steps, one at a time, until Meta")
    steps = page.locator('[data-trait="steps"]')
    for _ in range(9):
        steps.press("ArrowRight")
    settle(page)
    assert goals(page)[-1] == "All goals reached."
    page.get_by_role("button", name="Reset").click()
    settle(page)
    assert counted(page) == []
    assert len(goals(page)) == 1


def test_the_lists_hold_what_the_reader_has_met(page):
    """Chapter 3 offers no MAML, chapter 4 no FOMAML and no Reptile."""
    for left, right, count in (("random", "joint", 2), ("joint", "MAML", 3),
                               ("MAML", "FOMAML", 5), ("joint", "Meta-SGD", 6),
                               ("Meta-Curvature", "Meta-SGD", 8)):
        page.evaluate("document.body.replaceChildren()")
        mount(page, left=left, right=right)
        options = page.locator('[data-trait="left"] option').all_inner_texts()
        assert options == list(STARTS[:count])
    page.evaluate("document.body.replaceChildren()")
    mount(page, left="joint", methods=["joint", "MAML", "Meta-SGD"])
    options = page.locator('[data-trait="right"] option').all_inner_texts()
    assert options == ["joint", "MAML", "Meta-SGD", "none"]


def test_points_leave_the_curve_where_they_are(page):
    mount(page)
    page.locator('input[data-trait="amplitude"]').fill("1")
    page.locator('input[data-trait="on_curve"]').click()
    settle(page)
    assert get(page, "on_curve") is False
    assert max(abs(y) for _, y in get(page, "points")) <= 1
    assert number(page, "left after") == number(page, "left support")
    check_numbers(page)


def test_divergence_is_said(page):
    mount(page, steps=9)
    page.locator('input[data-trait="steps"]').press("ArrowRight")
    settle(page)
    assert page.locator('[data-readout="right after"]').count() == 0
    said = page.locator("[data-say]").inner_text()
    assert "Meta-SGD, 10 steps: it has diverged" in said
    page.wait_for_function("document.querySelector('.mf-live').textContent.includes('diverged')")
    assert number(page, "verdict").startswith("MAML")


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda weights: weights[:-4], "should be 12327 numbers and are 12326"),
    (lambda weights: weights[:-3], "no row of float32"),
    (lambda weights: weights[:-4] + b"\x00\x00\xc0\x7f", "not a finite number"),
])
def test_wrong_weights_are_one_sentence(page, spoil, said):
    mount(page, weights=spoil(AdaptSine()._weights))
    assert page.locator("main svg").count() == 0
    shown = page.locator("main").inner_text()
    assert shown.startswith("This figure cannot be drawn: ")
    assert said in shown


@pytest.mark.parametrize("how", ["keyboard", "mouse", "touch"])
@pytest.mark.parametrize("on_curve", [True, False])
def test_points_are_dragged(page, on_curve, how):
    """Along the curve, or anywhere; the other points stay, and the numbers follow."""
    figure = mount(page, on_curve=on_curve)
    drawn, before = picture(page), number(page, "right after")
    drag(page, 0, 4, 6, how)
    points = get(page, "points")
    assert points[0][0] > figure.points[0][0] + 0.3
    if not on_curve:
        assert points[0][1] > figure.points[0][1] + 0.5
    assert points[1:] == figure.points[1:]
    assert picture(page) != drawn
    assert number(page, "right after") != before
    check_numbers(page)
    page.get_by_role("button", name="Remove a point").click()  # the one that was moved
    settle(page)
    assert get(page, "points") == figure.points[1:]


def test_points_by_double_click_and_delete(page):
    mount(page, on_curve=False)
    svg = page.locator('svg:has([data-key="point 0"])').bounding_box()
    page.mouse.dblclick(svg["x"] + 0.7 * svg["width"], svg["y"] + 0.2 * svg["height"])
    settle(page)
    points = get(page, "points")
    assert len(points) == 6
    assert 1.5 < points[5][0] < 3.5
    assert 2.5 < points[5][1] < 5
    handle(page, 2).focus()
    page.keyboard.press("Delete")
    settle(page)
    assert get(page, "points") == [p for i, p in enumerate(points) if i != 2]
    check_numbers(page)


def test_reset(page):
    figure = mount(page)
    first = picture(page)
    page.locator('input[data-trait="amplitude"]').fill("1")
    page.locator('select[data-trait="left"]').select_option("joint")
    drag(page, 1, 3, 0, "keyboard")
    page.get_by_role("button", name="Reset").click()
    settle(page)
    assert picture(page) == first
    assert get(page, "points") == figure.points


def test_a_link_brings_the_state_back(page, browser):
    """At full precision; a damaged one is one sentence, and the figure as it begins."""
    mount(page)
    page.locator('input[data-trait="on_curve"]').click()
    drag(page, 1, 3, 5, "mouse")
    page.locator('input[data-trait="steps"]').fill("2")
    page.locator('select[data-trait="right"]').select_option("Reptile")
    settle(page)
    page.get_by_role("button", name="Link to this state").click()
    settle(page)
    names = ("left", "right", "steps", "on_curve", "points", "seed", "amplitude")
    wanted, link = [get(page, name) for name in names], page.evaluate("location.href")
    assert "#figure-sine?sine=" in link
    damaged = link.replace("%22points%22%3A%5B%5B", "%22points%22%3A%5B%5B1%2C", 1)
    half = link.replace("%22steps%22%3A2", "%22steps%22%3A1.5")
    assert link not in (damaged, half)
    with browser.new_context() as context:
        other = context.new_page()
        for where, restored in ((link, True), (damaged, False), (half, False), (link[:-9], False)):
            other.goto("about:blank")
            other.goto(where)
            figure = mount(other)
            expected = wanted if restored else [getattr(figure, name) for name in names]
            assert [get(other, name) for name in names] == expected
            note = other.locator("[data-note]").inner_text()
            assert (note == "") == restored
            check_numbers(other)


def test_dark_mode_is_followed_at_once(page):
    mount(page)
    colour = "() => document.querySelector('[data-key=truth]').getAttribute('stroke')"
    light = page.evaluate(colour)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    settle(page)
    assert page.evaluate(colour) != light


def test_it_fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 800})
    mount(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    drag(page, 0, 2, 0, "touch")
    check_numbers(page)


def test_axe_finds_nothing(page):
    mount(page)
    for theme in ("light", "dark"):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        settle(page)
        found = Axe().run(page, context="main").response["violations"]
        assert not [violation["id"] for violation in found]


@pytest.mark.slow
def test_a_move_is_quick(page):
    mount(page)
    check_quick(page, "amplitude", 1, 5)


@pytest.mark.built
def test_the_chapter_says_what_the_package_computes(browser):
    """From the disk, on a dark phone; test_figures_built.py tries the page's controls and links."""
    screen = {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}}
    with browser.new_context(**screen) as context:
        page = context.new_page()
        page.goto(f"{HTML.as_uri()}/book/06-meta-sgd.html")
        page.locator("#figure-sine[data-ready]").wait_for()
        figure, grid = AdaptSine(), torch.linspace(-5, 5, 61)[:, None]
        off = figure.adapted("Meta-SGD", grid) - figure.curve()(grid[None])[0]
        error = float(off.square().mean())
        assert float(number(page, "right after")) == pytest.approx(error, rel=1e-2)
