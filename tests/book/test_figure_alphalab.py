"""The alpha lab: each control, by hand, changes the pictures and the number that it should."""

import struct
from dataclasses import replace

import mounting
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from mounting import by_torch, check_quick, drag, get, goals, number, picture, settle, unfold

from metasgd_core import t_interval
from metasgd_core.studies.sweep import stored
from metasgd_core.widgets import AlphaLab

pytestmark = pytest.mark.browser
ARMS = {(arm.shape, arm.start): arm for arm in stored()}
LAYERS = {"all": slice(0, 6), "1": slice(0, 2), "2": slice(2, 4), "3": slice(4, 6)}


def mount(page, **traits):
    figure = mounting.mount(page, AlphaLab(**traits))
    unfold(page)
    return figure


def select(page, trait, steps):
    """Choose with the arrow keys, so many options further down (or up)."""
    page.locator(f'select[data-trait="{trait}"]').focus()
    for _ in range(abs(steps)):
        page.keyboard.press("ArrowDown" if steps > 0 else "ArrowUp")
    settle(page)


def per_cent(text):
    return int(text.removesuffix(" %")) / 100


def check_numbers(page):
    """What the page says of the arm, its rates and the task is what the package computes."""
    arm = ARMS[get(page, "shape"), get(page, "start")]
    mean, half = (float(part) for part in number(page, "test").split(" (")[0].split(" ± "))
    errors = arm.test[:, 1]
    assert mean == pytest.approx(float(errors.mean()), abs=1e-3)
    assert half == pytest.approx(float(t_interval(errors)[1]), abs=1e-3)

    sizes = [40, 40, 1600, 40, 40, 1] if arm.shape == "entry" else [1] * len(arm.alpha)
    tensors = list(zip(arm.alpha.float().split(sizes), arm.moved.split(sizes), strict=True))
    some = tensors if arm.shape == "scalar" else tensors[LAYERS[get(page, "layer")]]
    alpha, moved = (torch.cat(part) for part in zip(*some, strict=True))
    assert number(page, "rates") == str(len(alpha))
    assert per_cent(number(page, "unmoved")) == pytest.approx(
        1 - float(moved.float().mean()), abs=0.0051)
    left = alpha[moved]
    assert per_cent(number(page, "negative")) == pytest.approx(
        float((left < 0).float().mean()), abs=0.0051)
    middle = left.double().quantile(0.5)
    assert float(number(page, "median")) == pytest.approx(float(middle), rel=0.051, abs=1e-6)
    largest = left[left.abs().argmax()]
    assert float(number(page, "largest")) == pytest.approx(float(largest), rel=0.051)

    for when, error in zip(("before", "after"), by_torch(page, *arm.leaves()), strict=True):
        said = page.locator(f'[data-readout="{when}"]')
        if error <= 1e6:
            assert float(said.inner_text()) == pytest.approx(error, rel=6e-3)
        else:
            assert said.count() == 0


def curve(page, key):
    """Return the corners of a drawn curve, in pixels."""
    d = page.locator(f'[data-key="{key}"]').first.get_attribute("d")
    return [tuple(float(v) for v in corner.split()) for corner in d[1:].split("L")]


@pytest.mark.parametrize("state", [
    {}, {"start": "1"}, {"start": "-0.01", "layer": "3"}, {"shape": "tensor", "layer": "2"},
    {"shape": "scalar", "start": "uniform", "steps": 10}, {"start": "log-uniform", "steps": 3},
    {"shape": "tensor", "start": "0", "on_curve": False, "points": [[-3, 2], [0, -1], [4, 4]]},
])
def test_numbers_are_the_packages(page, state):
    mount(page, **state)
    check_numbers(page)


def test_half_precision_is_read_exactly(page):
    """All 65536 patterns, those of no number included, and a half byte too many is refused."""
    figure = mount(page)
    words = bytes(range(256))
    data = b"".join(struct.pack("<H", k) for k in range(2**16))
    expected = torch.frombuffer(bytearray(data), dtype=torch.float16).double()
    source = figure._esm.replace("export default { render };", "export { numbersFromBytes };")
    read = """async ([source, bytes]) => {
        const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
        const { numbersFromBytes } = await import(address);
        try {
            const { buffer } = Uint8Array.from(bytes);
            return [...numbersFromBytes(new DataView(buffer), 16)].map(String);
        } catch (error) { return error.message; }
    }"""
    found = page.evaluate(read, [source, list(data)])
    numbers = [float(text.replace("Infinity", "inf")) for text in found]
    torch.testing.assert_close(
        torch.tensor(numbers, dtype=torch.float64), expected, rtol=0, atol=0, equal_nan=True)
    assert "no row of float16" in page.evaluate(read, [source, list(words[:3])])


def test_the_start_is_chosen(page):
    """From 0.01 to 1 by the keys: the error on test tasks rises, and its curve stands higher."""
    mount(page)
    before, drawn = number(page, "test"), curve(page, "chosen")
    picture_before = picture(page)
    select(page, "start", 1)
    assert get(page, "start") == "0.1"
    check_numbers(page)
    select(page, "start", 1)
    assert get(page, "start") == "1"
    check_numbers(page)
    assert float(number(page, "test").split()[0]) > 4 * float(before.split()[0])
    assert curve(page, "chosen")[-1][1] < drawn[-1][1] - 50  # up is less
    assert picture(page) != picture_before
    others = page.locator('[data-key^="other "]').count()
    assert others == 9


def test_the_curve_is_the_stored_one(page):
    """On a logarithmic axis from 0.3 to 10, each corner where its error belongs."""
    mount(page, start="1")
    arm = ARMS["entry", "1"]
    corners = curve(page, "chosen")
    assert len(corners) == len(arm.iterations)
    errors = arm.curves.mean(0).log10()
    heights = torch.tensor([y for _, y in corners])
    slope = (heights[0] - heights[-1]) / (errors[0] - errors[-1])
    torch.testing.assert_close(
        heights, heights[0] + slope * (errors - errors[0]), rtol=0, atol=0.2)
    across = torch.tensor([x for x, _ in corners]).diff()
    torch.testing.assert_close(across, across.mean().expand_as(across), rtol=0, atol=0.02)


def test_the_shape_is_chosen(page):
    """1761, 6 and 1 rates; the fewer, the more error is left, and a block of the map one colour."""
    mount(page)
    errors, counts, colours = [], [], []
    for _ in range(3):
        check_numbers(page)
        errors.append(float(number(page, "test").split()[0]))
        counts.append(number(page, "rates"))
        colours.append(len(matrix_pixels(page).flatten(0, 1).unique(dim=0)))
        select(page, "shape", 1)
    assert counts == ["1761", "6", "1"]
    assert errors == sorted(errors)
    assert errors[2] > errors[0] + 0.2
    assert colours[0] > 100 > colours[1] == colours[2] == 1


def matrix_pixels(page):
    """Return the colours that the map has for W2, ``(to, from, 4)``."""
    data = page.evaluate("""async () => {
        const image = new Image();
        image.src = document.querySelector('[data-key="rates"]').getAttribute("href");
        await image.decode();
        const canvas = Object.assign(document.createElement("canvas"),
            { width: image.width, height: image.height });
        const ink = canvas.getContext("2d");
        ink.drawImage(image, 0, 0);
        return [...ink.getImageData(12, 0, 40, 40).data];
    }""")
    return torch.tensor(data).view(40, 40, 4)


def test_the_map_shows_the_sign(page):
    """Each rate of the hidden matrix where torch has it: rows are where it leads to."""
    mount(page)
    arm = ARMS["entry", "0.01"]
    matrix, moved = arm.alpha.float()[80:1680].view(40, 40), arm.moved[80:1680].view(40, 40)
    red, _, blue, opacity = matrix_pixels(page).unbind(-1)
    clear = moved & (matrix.abs() > 0.01)
    assert clear.sum() > 500
    assert torch.equal((red > blue)[clear], (matrix < 0)[clear])
    strong = matrix.abs()[moved].argsort()
    assert opacity[moved][strong[-50:]].min() > opacity[moved][strong[:50]].max()


def test_the_layer_is_chosen(page):
    mount(page)
    seen, bars = [], set()
    for steps in (0, 1, 1, 1):
        select(page, "layer", steps)
        check_numbers(page)
        seen.append(number(page, "rates"))
        bars.add(page.locator('[data-key="moved"]').get_attribute("d"))
    assert seen == ["1761", "80", "1640", "41"]
    assert len(bars) == 4


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
@pytest.mark.parametrize("trait", ["steps", "amplitude", "phase", "frequency"])
def test_sliders(page, trait, hand):
    """Further right is more; the task's errors follow, the training stays."""
    mount(page, shape="tensor")
    slider = page.locator(f'input[data-trait="{trait}"]')
    before, drawn, test = get(page, trait), picture(page), number(page, "test")
    if hand == "keyboard":
        slider.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
    else:
        box = slider.bounding_box()
        page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    settle(page)
    assert get(page, trait) > before
    assert picture(page) != drawn
    assert number(page, "test") == test
    check_numbers(page)


@pytest.mark.parametrize("how", ["keyboard", "mouse", "touch"])
def test_points_are_dragged(page, how):
    figure = mount(page, on_curve=False)
    before = number(page, "after")
    drag(page, 0, 4, 6, how)
    points = get(page, "points")
    assert points[0][0] > figure.points[0][0] + 0.3
    assert points[0][1] > figure.points[0][1] + 0.5
    assert points[1:] == figure.points[1:]
    assert number(page, "after") != before
    check_numbers(page)


def test_seed_points_and_buttons(page):
    figure = mount(page)
    page.get_by_role("button", name="New curve").click()
    settle(page)
    assert (get(page, "seed"), len(get(page, "points"))) == (6, 5)
    check_numbers(page)
    seed = page.locator('input[data-trait="seed"]')
    seed.fill("9")
    seed.press("Enter")
    settle(page)
    assert get(page, "amplitude") != figure.amplitude
    check_numbers(page)
    page.get_by_role("button", name="Add a point").click()
    page.locator('input[data-trait="on_curve"]').click()
    settle(page)
    assert len(get(page, "points")) == 6
    check_numbers(page)
    select(page, "shape", 1)
    page.get_by_role("button", name="Reset").click()
    settle(page)
    for trait in ("shape", "start", "seed", "amplitude", "points", "on_curve"):
        assert get(page, trait) == getattr(figure, trait)
    check_numbers(page)


def test_a_link_brings_the_state_back(page, browser):
    mount(page)
    select(page, "shape", 1)
    select(page, "start", -1)
    drag(page, 1, 3, 0, "mouse")
    page.get_by_role("button", name="Link to this state").click()
    settle(page)
    names = ("shape", "start", "layer", "steps", "points", "amplitude")
    wanted, link = [get(page, name) for name in names], page.evaluate("location.href")
    unknown = link.replace("%220.001%22", "%220.5%22", 1)
    assert "#figure-alpha-lab?alpha-lab=" in link
    assert unknown != link
    half = link.replace("%22steps%22%3A1", "%22steps%22%3A0.5")
    assert half != link
    with browser.new_context() as context:
        other = context.new_page()
        for where, restored in ((link, True), (unknown, False), (half, False), (link[:-9], False)):
            other.goto("about:blank")
            other.goto(where)
            figure = mount(other)
            expected = wanted if restored else [getattr(figure, name) for name in names]
            assert [get(other, name) for name in names] == expected
            note = other.locator("[data-note]").inner_text()
            assert (note == "") == restored


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda f: {"_weights": f._weights[:-2]}, "and are 70509"),
    (lambda f: {"_weights": f._weights[:-1]}, "no row of float16"),
    (lambda f: {"_weights": f._weights[:-2] + b"\x00\x7e"}, "not a finite number"),
    (lambda f: {"_moved": f._moved[:-1]}, "never-moved marks"),
])
def test_wrong_weights_are_one_sentence(page, spoil, said):
    figure = AlphaLab()
    mounting.mount(page, figure, **spoil(figure))
    assert page.locator("main svg").count() == 0
    shown = page.locator("main").inner_text()
    assert shown.startswith("This figure cannot be drawn: ")
    assert said in shown


def test_it_follows_a_live_training(page):
    """Newer weights while it stands there, as the live panel sends them; Reset keeps them."""
    late = ARMS["tensor", "0.01"]
    early = replace(
        late, theta=late.theta.flip(0), alpha=-late.alpha, test=late.test[:, :0],
    )
    figure = mounting.mount(page, AlphaLab(arms=[early], shape="tensor"))
    before, drawn = number(page, "median"), picture(page)
    figure.show(replace(late, test=late.test[:, :0]))
    page.evaluate("""([arms, weights]) => {
        model.set("_arms", arms);
        model.set("_weights", new DataView(Uint8Array.from(weights).buffer));
    }""", [figure._arms, list(figure._weights)])
    settle(page)
    assert number(page, "median") != before
    assert "in training" in page.locator("[data-say]").inner_text()
    figure.show(late)  # the last time the same weights, and what they are worth
    page.evaluate("(arms) => model.set('_arms', arms)", figure._arms)
    settle(page)
    assert picture(page) != drawn
    check_numbers(page)
    for trait, shown in (("shape", "one per tensor"), ("start", "0.01")):
        chosen = page.locator(f'select[data-trait="{trait}"] option:checked')
        assert chosen.inner_text() == shown
    page.get_by_role("button", name="Reset").click()
    settle(page)
    check_numbers(page)


def test_a_lost_training_leaves_the_picture_upwards(page):
    """Where the error is no number, the line is not at the bottom, as if it were 0."""
    arm = ARMS["entry", "0.01"]
    lost = arm.curves.clone()
    lost[:, 20:] = float("nan")
    mounting.mount(page, AlphaLab(arms=[replace(arm, curves=lost)]))
    heights = [y for _, y in curve(page, "chosen")]
    assert len(heights) == 40
    assert max(heights[20:]) < 0 < min(heights[:20])


def test_an_error_beyond_the_axis_is_drawn(page):
    arm = ARMS["entry", "0.01"]
    mounting.mount(page, AlphaLab(arms=[replace(arm, curves=100 * arm.curves)]))
    assert min(y for _, y in curve(page, "chosen")) > 0


def test_one_goal_at_a_time(page):
    """Ticked when it is reached; the next one opens the pictures and controls that it needs."""
    mounting.mount(page, AlphaLab())

    def opened():
        return [one.get_attribute("open") is not None for one in page.locator("details").all()]

    assert goals(page) == ["Goal 1 of 4: Find the start that spoils the training."]
    assert opened() == [True, False, False]
    assert page.locator("[data-trait]:visible").count() == 2
    assert page.locator(".mf-plot:visible").count() == 1
    select(page, "start", 1)
    assert len(goals(page)) == 1
    select(page, "start", 1)
    assert get(page, "start") == "1"
    assert goals(page)[0] == "✓ Find the start that spoils the training."
    assert goals(page)[1].startswith("Goal 2 of 4: Find two opposite starts")
    options = page.locator('[data-trait="start"] option').all_inner_texts()
    for start in ("0.01", "-0.01"):
        assert len(goals(page)) == 2
        page.locator('[data-trait="start"]').select_option(start)
        settle(page)
        assert start in options
    assert goals(page)[2].startswith("Goal 3 of 4: With one rate per tensor")
    assert opened() == [False, True, False]
    select(page, "shape", 1)
    select(page, "layer", 1)
    assert len(goals(page)) == 3
    select(page, "layer", 2)
    assert goals(page)[3].startswith("Goal 4 of 4: Take three inner steps")
    assert opened() == [False, False, True]
    assert page.locator(".mf-plot:visible").count() == 1
    steps = page.locator('input[type=range][data-trait="steps"]')
    for shape in ("entry", "tensor", "scalar"):
        page.locator('[data-trait="shape"]').select_option(shape)
        steps.fill("3")
        settle(page)
    assert goals(page)[-1] == "All goals reached."
    page.get_by_role("button", name="Reset").click()
    settle(page)
    assert len(goals(page)) == 1
    assert opened() == [True, False, False]


def test_dark_and_narrow(page):
    page.set_viewport_size({"width": 390, "height": 800})
    mount(page)
    colour = "() => document.querySelector('[data-key=truth]').getAttribute('stroke')"
    light = page.evaluate(colour)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    settle(page)
    assert page.evaluate(colour) != light
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
