"""The whole table of controls, once: on the built pages, over http, on a wide light screen.

Each one is moved by the keyboard and by the mouse, and moves the picture and the number that it
should, to the side it should.
"""

import re

import pytest
from browsing import watched
from figures import UNFOLD, settle

pytestmark = [pytest.mark.built, pytest.mark.browser]

UP, DOWN, OTHER = "up", "down", "other"
FAR = 0.85  # of a slider's length, where the mouse goes; the keys go ten steps to the right
# Page and control: the number that follows, to which side by the keys, to which by the mouse.
SINE = {
    "left": ("left after", UP, UP), "right": ("right after", UP, UP),  # a worse start each
    "steps": ("left after", DOWN, DOWN), "amplitude": ("left before", UP, UP),
    "phase": ("left before", UP, UP), "frequency": ("left before", UP, UP),
    "on_curve": ("left after", OTHER, OTHER), "seed": ("amplitude", OTHER, OTHER),
    "Add a point": ("left support", OTHER, OTHER), "Remove a point": ("left support", OTHER, OTHER),
    "New curve": ("amplitude", OTHER, OTHER), "20 times": ("left after", OTHER, OTHER),
    "New points, same curve": ("left after", OTHER, OTHER),
}
CART = {
    "updates": ("return", UP, UP), "speed": ("speed", UP, UP), "greedy": ("return", UP, UP),
    "seed": ("return", OTHER, OTHER), "One frame": ("cart", UP, UP), "Play": ("cart", UP, UP),
    "New episode": ("velocity", OTHER, OTHER), "Push left": ("velocity", DOWN, DOWN),
    "Push right": ("velocity", UP, UP), "Collect 10 episodes, take one step": ("updates", UP, UP),
}
# The physics. An undecided policy falls later with a long pole or a heavy cart; a trained one knew
# neither. A few keys change little, to a side that is the episodes' luck.
UNDECIDED = {
    "length": ("return", UP, UP), "masspole": ("return", OTHER, OTHER),
    "masscart": ("return", UP, UP), "force": ("return", DOWN, DOWN),
    "gravity": ("return", DOWN, DOWN),
}
TRAINED = {
    "length": ("return", OTHER, DOWN), "masspole": ("return", OTHER, OTHER),
    "masscart": ("return", OTHER, DOWN), "force": ("return", OTHER, OTHER),
    "gravity": ("return", OTHER, DOWN),
}
TABLE = {
    "02-gradient-descent": {
        "optimizer": ("loss", UP, UP), "rates": ("loss", UP, UP), "alpha": ("loss", DOWN, UP),
        "alpha_1": ("loss", DOWN, UP), "alpha_2": ("loss", DOWN, UP),
        "steps": ("loss", DOWN, DOWN), "curvature": ("percent", DOWN, UP),
        "angle": ("loss", DOWN, DOWN),
    },
    "06-meta-sgd": SINE,
    "07-one-step": {
        "amplitude": ("best", UP, UP), "phase": ("best", OTHER, OTHER),
        "Add a point": ("floor", DOWN, DOWN), "Remove the orange point": ("floor", UP, UP),
    },
    "08-alpha-lab": {
        "shape": ("test", UP, UP), "start": ("test", UP, UP), "layer": ("rates", DOWN, DOWN),
        "steps": ("after", UP, UP), "amplitude": ("before", UP, UP), "phase": ("before", UP, UP),
        "frequency": ("before", UP, UP), "on_curve": ("after", OTHER, OTHER),
        "seed": ("before", OTHER, OTHER), "Add a point": ("after", OTHER, OTHER),
        "Remove a point": ("after", OTHER, OTHER), "New curve": ("amplitude", OTHER, OTHER),
    },
    "14-policy-gradients": CART | UNDECIDED,
    "15-families-of-cartpoles": CART | TRAINED | {
        "side": ("return", DOWN, DOWN), "start": ("return", DOWN, DOWN),
        "swapped": ("return", DOWN, DOWN),
    },
}
# Which way the keys go in a list.
LISTS = {"left": "ArrowUp", "right": "ArrowUp"}
# The pole's own mass matters little.
MANY = {"masspole": 60}
# What a control needs beforehand.
FIRST = {"alpha_1": ("rates", "ArrowDown"), "alpha_2": ("rates", "ArrowDown")}
ALWAYS = {"Reset", "Link to this state", "keep"}  # they have tests of their own


@pytest.fixture(scope="module", params=TABLE)
def figure(request, browser, server):
    """The first figure of a page."""
    with watched(browser, server, viewport={"width": 1280, "height": 900},
                 color_scheme="light") as page:
        page.goto(f"{server}book/{request.param}.html")
        figure = page.locator(".mf-figure").first
        page.locator(".mf-figure[data-ready]").first.wait_for()
        figure.table = TABLE[request.param]
        yield figure
        assert page.faults == []


def number(figure, name):
    """The first number of what the figure says; a diverged error is infinite."""
    if name == "velocity":
        said = figure.locator('[data-readout="cart"]').inner_text().partition("velocity")[2]
    elif (field := figure.locator(f'[data-number="{name}"]')).count():
        said = field.input_value()
    elif (readout := figure.locator(f'[data-readout="{name}"]')).count():
        said = readout.text_content()
    else:  # it has diverged
        return float("inf")
    return float(re.search(r"[-+]?\d[\d.]*(?:e[-+]?\d+)?", said.replace("−", "-"))[0])


def picture(figure):
    return figure.evaluate("(f) => [...f.querySelectorAll('svg')].map((s) => s.innerHTML).join()")


def reset(figure):
    figure.get_by_role("button", name="Reset").click()
    settle(figure.page)


def use(figure, name, hand):
    """Move a control: a slider far to the right, a list by one, a button or a box by one press."""
    figure.evaluate(UNFOLD)
    control = figure.locator(f'[data-trait="{name}"]')
    if not control.count():
        control = figure.get_by_role("button", name=name, exact=True)
    press, kind = figure.page.keyboard.press, control.evaluate("c => c.type")
    if kind == "select-one":  # headless Chromium draws no open list for the mouse
        control.focus() if hand == "keys" else control.click()
        if hand == "mouse":
            press("Escape")
        press(LISTS.get(name, "ArrowDown"))
    elif kind == "number":
        control.focus() if hand == "keys" else control.click(click_count=3)
        if hand == "mouse":
            figure.page.keyboard.type("7")
        else:
            press("ArrowUp")
        press("Enter")
    elif kind == "range" and hand == "keys":
        control.focus()
        for _ in range(MANY.get(name, 10)):
            press("ArrowRight")
    elif kind == "range":
        box = control.bounding_box()
        control.click(position={"x": FAR * box["width"], "y": box["height"] / 2})
    elif hand == "mouse":
        control.click()
    else:
        control.focus()
        press("Space")


def changed(old, new, side):
    return {UP: new > old, DOWN: new < old, OTHER: new != old}[side]


def test_the_table_is_whole(figure):
    """No control without a line here."""
    there = set(figure.evaluate("""(f) => [...f.querySelectorAll("[data-trait], button")]
        .map((c) => c.dataset.trait ?? c.textContent)"""))
    assert there - ALWAYS == set(figure.table)


@pytest.mark.parametrize("hand", ["keys", "mouse"])
def test_every_control(figure, hand):
    """All of the figure's controls in turn, each from the state that it begins with."""
    wrong = []
    for name, (readout, by_keys, by_mouse) in figure.table.items():
        reset(figure)
        if name in FIRST:
            first, key = FIRST[name]
            figure.locator(f'[data-trait="{first}"]').press(key)
            settle(figure.page)
        side = by_keys if hand == "keys" else by_mouse
        before, drawn = number(figure, readout), picture(figure)
        use(figure, name, hand)
        for _ in range(200):  # pairs of frames: a policy's episodes take a while
            settle(figure.page)
            after = number(figure, readout)
            if changed(before, after, side):
                break
        else:
            wrong.append(f"{name}: {readout} from {before} to {after}, should go {side}")
        if name != "speed" and picture(figure) == drawn:
            wrong.append(f"{name}: the picture stays as it was")
    reset(figure)
    assert wrong == []
