"""The figure of chapter 2: its walks are torch.optim's, and each control does what it says."""

import math
import re

import mounting
import pytest
import torch
from mounting import check_quick, get, goals, settle

from metasgd_core.widgets import CartPolePlay, Valley
from metasgd_core.widgets.figure import module_text
from metasgd_core.widgets.valley import OPTIMIZERS
from metasgd_core.widgets.words import WORDS

pytestmark = pytest.mark.browser

CASES, STEPS = 240, 50
RUN = """async ([source, cases]) => {
    const text = source + "\\nexport { valleyLoss, valleyMatrix, valleyWalk };";
    const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const { valleyLoss, valleyMatrix, valleyWalk } = await import(address);
    return cases.map(({ curvature, degrees, optimizer, alpha, start, steps }) => {
        const H = valleyMatrix(curvature, degrees);
        const path = valleyWalk(H, optimizer, alpha, start, steps);
        return { path, losses: path.map((point) => valleyLoss(H, point)) };
    });
}"""


def draw_case(seed):
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()

    optimizer = list(OPTIMIZERS)[seed % 3]
    alpha = [10 ** uniform(-3, 0), 10 ** uniform(-3, 0)]
    return {
        "optimizer": optimizer, "curvature": 10 ** uniform(0, 2),
        "degrees": [0.0, 90.0, 45.0, uniform(-90, 90)][seed // 3 % 4],
        "alpha": alpha if seed // 12 % 2 else [alpha[0]] * 2,
        "start": [uniform(-3, 3), uniform(-1.8, 1.8)], "steps": STEPS,
    }


def by_torch(case):
    """Return the walk that torch.optim takes, and its losses."""
    figure = Valley(
        rates="each", alpha_1=case["alpha"][0], alpha_2=case["alpha"][1], angle=case["degrees"],
        **{name: case[name] for name in ("optimizer", "curvature", "start", "steps")},
    )
    path = figure.walk()
    return path, 0.5 * (path @ figure.matrix() * path).sum(-1)


def test_walks_are_those_of_torch(page):
    cases = [draw_case(seed) for seed in range(CASES)]
    source = module_text(("shared/words.js", "valley.js")).split("export default")[0]
    walks = page.evaluate(RUN, [source, cases])
    for case, walk in zip(cases, walks, strict=True):
        for mine, reference in zip((walk["path"], walk["losses"]), by_torch(case), strict=True):
            mine = torch.tensor(mine, dtype=torch.float64)
            assert mine.shape == reference.shape, case
            scale = max(1.0, reference.abs().max().item())
            assert (mine - reference).abs().max().item() <= 1e-9 * scale, case


BLANK = "<!doctype html><html lang=en><title>Valley</title></html>"


@pytest.fixture
def show(page):
    """Return a function that draws the figure with some traits set."""

    def draw(**traits):
        page.goto("about:blank")
        page.set_content(BLANK)
        mounting.mount(page, Valley(), **traits)

    return draw


def control(page, name):
    return page.locator(f'[data-trait="{name}"]').first


def readout(page, name):
    return page.locator(f'[data-readout="{name}"]').inner_text()


def number(page, name):
    """Return the first number of a read-out; where there is none the walk took forever."""
    if not page.locator(f'[data-readout="{name}"]').count():
        return math.inf
    found = re.search(r"-?\d[\d.]*(e[+-]\d+)?", readout(page, name))
    return float(found[0]) if found and not readout(page, name).startswith("not") else math.inf


def choose(page, name, text, by):
    """Pick from a list as a reader does: open it, type and confirm; or walk through by arrows."""
    box = page.locator(f'select[data-trait="{name}"]')
    if by == "mouse":
        box.click()
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        return
    options = box.locator("option").all_inner_texts()
    box.focus()
    page.keyboard.press("Home")
    for _ in options[: next(i for i, option in enumerate(options) if option.startswith(text))]:
        page.keyboard.press("ArrowDown")


def walk_end(page):
    """Return how far from the bottom of the valley the drawn walk ends, in pixels."""
    return page.evaluate("""() => {
        const drawn = (key) => document.querySelector(`[data-key="${key}"]`);
        const [x, y] = drawn("walk").getAttribute("d").split(/[ML]/).at(-1).split(" ").map(Number);
        const { x: left, y: top, width, height } = drawn("bottom").getBBox();
        return Math.hypot(x - left - width / 2, y - top - height / 2);
    }""")


# What the figure starts from; the slider; the key and the place on the track that move it; the
# read-out that must follow, and which way; which way the end of the walk must move on the map.
SLIDERS = {
    "alpha": ({"alpha": 0.05}, "ArrowRight", 0.55, "distance", -1, -1),
    "alpha, too large": ({"alpha": 0.2}, "ArrowRight", 0.65, "loss", 1, 1),
    "alpha_1": ({"rates": "each", "alpha_2": 0.1}, "ArrowRight", 0.5, "distance", -1, -1),
    "alpha_2": ({"rates": "each", "steps": 2}, "ArrowRight", 0.45, "loss", -1, -1),
    "steps": ({"alpha": 0.05}, "ArrowRight", 0.9, "loss", -1, -1),
    "curvature": ({"alpha": 0.05, "steps": 3}, "ArrowLeft", 0.2, "loss", 1, 1),
    "angle": ({"rates": "each", "alpha_1": 1.0, "alpha_2": 0.1, "steps": 1}, "ArrowRight", 0.75,
              "distance", 1, 1),
}


@pytest.mark.parametrize("by", ["keyboard", "mouse"])
@pytest.mark.parametrize("name", SLIDERS)
def test_sliders_move_the_number_and_the_walk(page, show, name, by):
    traits, key, place, followed, direction, outwards = SLIDERS[name]
    name = name.split(",")[0]
    show(**traits)
    before = get(page, name), number(page, followed), walk_end(page)
    slider = control(page, name)
    if by == "keyboard":
        slider.focus()
        for _ in range(4):
            page.keyboard.press(key)
    else:
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        page.mouse.click(box["x"] + place * box["width"], box["y"] + box["height"] / 2)
    settle(page)
    after = get(page, name), number(page, followed), walk_end(page)
    assert (after[0] < before[0]) == (key == "ArrowLeft")
    assert after[0] != before[0]
    assert direction * (after[1] - before[1]) > 0, (before, after)
    assert outwards * (after[2] - before[2]) > 0, (before, after)


@pytest.mark.parametrize("by", ["keyboard", "mouse"])
def test_choices_change_the_walk(page, show, by):
    show(rates="one", alpha=0.1, alpha_1=1.0, alpha_2=0.1, steps=1)

    def pick(name, text, value):
        choose(page, name, text, by)
        settle(page)
        assert get(page, name) == value

    one = number(page, "distance")
    rates = ("alpha", "alpha_1", "alpha_2")
    assert [control(page, name).is_visible() for name in rates] == [True, False, False]
    pick("rates", "one for each", "each")
    assert number(page, "distance") == 0 < one
    assert "bottom after 1 step" in readout(page, "verdict")
    assert [control(page, name).is_visible() for name in rates] == [False, True, True]
    seen = {"gradient descent": (0, walk_end(page))}
    for optimizer in ("momentum", "Adam"):
        pick("optimizer", optimizer, optimizer)
        seen[optimizer] = number(page, "distance"), walk_end(page)
    assert seen["momentum"] == pytest.approx(seen["gradient descent"], abs=0.5)  # the first step
    # Adam's first step has the size of the rate in each coordinate: to (-1.5, 0.9).
    assert seen["Adam"][0] == pytest.approx(math.hypot(1.5, 0.9), rel=0.01)
    assert seen["Adam"][1] > 20


def test_the_goals_can_be_reached(page, show):
    """The scalar's limit lies between two neighbouring places; a vector ends in one step.

    Each goal is ticked when it is reached, and the next one is shown then.
    """
    show()
    assert goals(page) == ["Goal 1 of 4: " + WORDS["valley"]["goals"][0]]
    assert readout(page, "verdict") == "converges"
    slider = control(page, "alpha")
    slider.focus()
    while readout(page, "verdict") != "diverges":
        low, verdict = get(page, "alpha"), readout(page, "verdict")
        page.keyboard.press("ArrowRight")
        settle(page)
    assert low == 2 / 10 < get(page, "alpha") < 1.03 * low
    assert verdict == "swings on and comes no closer"  # at the limit itself
    assert goals(page)[0].startswith("✓ ")
    assert goals(page)[1].startswith("Goal 2 of 4: ")
    choose(page, "rates", "one for each", "keyboard")
    control(page, "steps").press("Home")
    for name, value in (("alpha_1", 1.0), ("alpha_2", 0.1)):
        control(page, name).focus()
        while get(page, name) < 0.99 * value:
            page.keyboard.press("ArrowRight")
        assert get(page, name) == pytest.approx(value, rel=1e-12)
    settle(page)
    assert readout(page, "verdict") == "at the bottom after 1 step"
    assert len(goals(page)) == 3
    page.evaluate("model.set('start', [2.75, -1.5])")
    settle(page)
    assert readout(page, "verdict") == "at the bottom after 1 step"
    assert goals(page)[3].startswith("Goal 4 of 4: ")
    angle = page.locator('[data-number="angle"]')
    angle.fill("45")
    angle.press("Enter")
    settle(page)
    assert number(page, "distance") > 1
    assert goals(page)[-1] == "All goals reached."


@pytest.mark.parametrize("by", ["mouse", "touch", "keyboard"])
def test_the_start_is_dragged(page, show, by):
    page.set_viewport_size({"width": 390, "height": 800})
    show()
    handle = page.locator('[data-key="start"]')
    handle.scroll_into_view_if_needed()
    before, distance, drawn = get(page, "start"), number(page, "distance"), walk_end(page)
    box = handle.bounding_box()
    assert min(box["width"], box["height"]) >= 24
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    if by == "keyboard":
        handle.focus()
        for _ in range(10):
            page.keyboard.press("ArrowRight")
            settle(page)
        assert get(page, "start") == [pytest.approx(before[0] + 10 * 6 / 50), before[1]]
        assert handle.get_attribute("aria-valuetext") == "x -1.3, y 1"
    elif by == "mouse":
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y + 20, steps=5)
        page.mouse.up()
    else:
        touch = page.context.new_cdp_session(page)
        for kind, dx in (("Start", 0), ("Move", 30), ("Move", 60), ("End", None)):
            points = [] if dx is None else [{"x": x + dx, "y": y + dx / 3}]
            send = {"type": f"touch{kind}", "touchPoints": points}
            touch.send("Input.dispatchTouchEvent", send)
            settle(page)
    settle(page)
    after = get(page, "start")
    assert after[0] > before[0] + 0.5
    assert by == "keyboard" or after[1] < before[1] - 0.1
    assert number(page, "distance") < distance
    assert walk_end(page) < drawn
    moved = handle.bounding_box()
    assert moved["x"] > box["x"] + 20
    if by != "keyboard":  # it lies under the pointer
        assert moved["x"] + moved["width"] / 2 == pytest.approx(x + 60, abs=2)


def test_a_move_is_drawn_within_a_frame(page, show):
    """With as many steps as there can be."""
    show(steps=100, optimizer="Adam", angle=30)
    check_quick(page, "alpha", -2, 0)


# No frame passes until `released`: what a quick reader does between two of them.
HELD = """() => {
    const queue = [], later = window.requestAnimationFrame;
    window.requestAnimationFrame = (draw) => queue.push(draw);
    window.released = () => {
        window.requestAnimationFrame = later;
        queue.forEach((draw) => draw());
        return queue.length;
    };
}"""


def test_two_keys_in_one_frame_are_two(page, show):
    """On a point and on a slider: the second goes on from where the first has led."""
    show()
    for name, node, step in (("start", page.locator('[data-key="start"]'), 6 / 50),
                             ("steps", control(page, "steps"), 1)):
        before = get(page, name)
        node.focus()
        page.evaluate(HELD)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("released()") > 0
        settle(page)
        first = [v[0] if isinstance(v, list) else v for v in (before, get(page, name))]
        assert first[1] == pytest.approx(first[0] + 2 * step)
        assert node.evaluate("e => e === document.activeElement")  # a redraw takes no focus
    x, _ = get(page, "start")
    assert f"x {x:.3g}, " in page.locator('[data-key="start"]').get_attribute("aria-valuetext")


def test_the_axis_name_is_clear_of_its_numbers(page, show):
    """Also at 390 pixels, where a power of ten takes much of the margin."""
    page.set_viewport_size({"width": 390, "height": 800})
    show()
    gaps = page.evaluate("""() => [...document.querySelectorAll(".mf-axes")].map((axes) => {
        const box = (text) => text.getBoundingClientRect();
        const all = [...axes.querySelectorAll("text")];
        const name = box(all.find((text) => text.hasAttribute("transform")));
        const numbers = all.filter((text) => text.getAttribute("text-anchor") === "end").map(box);
        return Math.min(...numbers.map((number) => number.left - name.right));
    })""")
    assert len(gaps) == 2
    assert min(gaps) >= 5, gaps


# What may be drawn, against the background: 3 to 1 (WCAG 1.4.11), through the opacity it has.
CONTRASTS = """() => {
    const numbers = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const light = (rgb) => rgb.map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const back = numbers(getComputedStyle(document.querySelector(".mf-figure")).backgroundColor);
    return [...document.querySelectorAll(".mf-plot > svg > g:not(.mf-axes) > path")].map((path) => {
        const style = getComputedStyle(path), share = Number(style.opacity);
        const ink = numbers(style.fill === "none" ? style.stroke : style.fill)
            .map((v, i) => share * v + (1 - share) * back[i]);
        const [low, high] = [light(ink), light(back)].sort((a, b) => a - b);
        return [path.dataset.key, (high + 0.05) / (low + 0.05)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_can_be_told_from_the_background(page, show, scheme):
    page.emulate_media(color_scheme=scheme)
    for traits in ({}, {"rates": "each"}, {"optimizer": "momentum"}, {"optimizer": "Adam"}):
        show(**traits)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 12
        assert [name for name, ratio in found if ratio < 3] == [], found


def test_two_kinds_of_figure_on_a_page_keep_apart(page, show):
    """Each brings its own copy of the code: a label must still find the control of its figure."""
    show()
    mounting.mount(page, CartPolePlay())
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids)) > 20
    for label, trait in (("Steep curvature", "curvature"), ("Gravity", "gravity")):
        assert page.get_by_label(label, exact=True).get_attribute("data-trait") == trait
    page.get_by_text("Gravity", exact=True).click()
    assert page.evaluate("document.activeElement.dataset.trait") == "gravity"


def test_it_speaks_when_the_reader_has_moved_something(clocked):
    """Not as the page opens, where several figures would talk at once; and once it rests."""
    clocked.clock.install(time=0)
    clocked.set_content(BLANK)
    mounting.mount(clocked, Valley())
    live = clocked.locator(".mf-live")
    clocked.clock.pause_at(3600)
    assert live.inner_text() == ""
    control(clocked, "steps").focus()
    clocked.keyboard.press("ArrowRight")
    clocked.keyboard.press("ArrowRight")
    clocked.clock.run_for(100)
    assert live.inner_text() == ""
    clocked.clock.run_for(600)
    assert "17 steps" in live.inner_text()
    assert live.inner_text() == clocked.locator(".mf-say").inner_text()


def test_a_bad_state_is_one_sentence(page, show):
    for bad in ({"alpha": math.nan}, {"start": [1.0]}, {"steps": 2.5}, {"optimizer": "magic"}):
        show(**bad)
        name = next(iter(bad))
        assert page.locator("main").inner_text().startswith(f"{name} cannot be ")
        assert page.locator("[data-trait]").count() == 0
