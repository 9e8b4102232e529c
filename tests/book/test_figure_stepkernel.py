"""One step's kernel, the figure of chapter 7: its numbers are torch's, its points are dragged."""

import mounting
import pytest
import torch
from mounting import check_quick, get, handle, number, picture, settle

from metasgd_core.floor import carried, floor, mean_curve
from metasgd_core.widgets import StepKernel
from metasgd_core.widgets.figure import module_text
from metasgd_core.widgets.sine import starts
from metasgd_core.widgets.stepkernel import kernel

pytestmark = pytest.mark.browser

NAMES = ("MAML", "MetaSGD", "best")
SOURCE = module_text(StepKernel.sources).split("function render")[0]
RUN = """async ([source, weights, rates, cases]) => {
    const given = "const [weights, rates] = JSON.parse(document.body.dataset.given);";
    document.body.dataset.given = JSON.stringify([weights, rates]);
    const net = "const net = makeNetwork([1, 40, 40, 1], 'relu');" +
        "const starts = storedStarts(net, Uint8Array.from(weights), STEPKERNEL.networks, rates);" +
        "const grid = POINTS_GRID;";
    const text = [source, given, net, "export { net, starts, grid, adaptSteps, forward,",
        " stepBest, stepCarried, stepKernel, stepSlopes };"].join("\\n");
    const all = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    const { net: network, grid } = all;
    return cases.map(({ xs, ys, at, shots }) => Object.fromEntries([
        ["best", Array.from(all.stepBest(xs, ys, grid), (curve) => [...curve])],
        ["carried", all.stepCarried(at, shots)],
        ...Object.entries(all.starts).flatMap(([name, start]) => [
            [`${name} kernel`, [...all.stepKernel(
                network, start, all.stepSlopes(network, start.theta, grid), at)]],
            [`${name} after`, [...all.forward(
                network, all.adaptSteps(network, start.theta, start.alpha, xs, ys, 1)[1], grid)]],
        ]),
    ]));
}"""


def draw_case(seed):
    generator = torch.Generator().manual_seed(seed)
    shots = 1 + seed % 20
    xs = 10 * torch.rand(shots, generator=generator, dtype=torch.float64) - 5
    figure = StepKernel(amplitude=0.1 + 0.2 * (seed % 24), phase=0.13 * (seed % 24),
                        points=xs.tolist(), chosen=seed % shots)
    ys = figure.support().y[0, :, 0].tolist()
    return figure, {"xs": xs.tolist(), "ys": ys, "at": figure.points[figure.chosen], "shots": shots}


def test_the_arithmetic_is_torchs(page):
    """Curves after the step, both networks' kernels and the best one: to 1e-9 of the largest."""
    figures, cases = zip(*(draw_case(seed) for seed in range(60)))
    found = page.evaluate(RUN, [SOURCE, list(figures[0]._weights), figures[0]._rates, cases])
    x = torch.linspace(-5, 5, 61, dtype=torch.float64)
    for figure, case, mine in zip(figures, cases, found, strict=True):
        own = figure.predictions(x)
        best = torch.tensor(mine["best"], dtype=torch.float64)
        at = torch.tensor(case["at"], dtype=torch.float64)
        wanted = {
            "carried": carried(at, case["shots"]),
            "alone": own["best"][1],
            "all": own["best"][0] - mean_curve(x),
        }
        mine |= {"alone": best[figure.chosen].tolist(), "all": best.sum(0).tolist()}
        for name in ("MAML", "Meta-SGD"):
            theta, alpha = (
                {n: p.double() for n, p in part.items()} for part in starts()[name][:2]
            )
            wanted |= {f"{name} kernel": kernel(theta, alpha, x, float(at)),
                       f"{name} after": own[name][0]}
        for what, reference in wanted.items():
            gap = (torch.tensor(mine[what], dtype=torch.float64) - reference).abs().max()
            assert gap <= 1e-9 * reference.abs().max().clamp(min=1.0), (what, case)


def check_numbers(page):
    """What the page says is what the package computes for the page's points."""
    figure = StepKernel(**{name: get(page, name) for name in StepKernel()._state})
    x = torch.linspace(-5, 5, 61, dtype=torch.float64)
    truth = figure.truth(x[None, :, None])[0, :, 0]
    for name, (curve, _) in figure.predictions(x).items():
        error = float((curve - truth).square().mean())
        said = number(page, name.replace("-", ""))
        assert float(said) == pytest.approx(error, rel=6e-3)
    assert float(number(page, "floor")) == pytest.approx(floor(len(figure.points)), abs=0.0051)


@pytest.mark.parametrize("state", [
    {}, {"points": [0.5], "chosen": 0}, {"amplitude": 0.1, "phase": 3.0},
    {"points": [-5.0, 5.0, 0.0], "chosen": 1}, {"points": [0.5 * k - 5 for k in range(20)]},
])
def test_numbers_are_the_packages(page, state):
    mounting.mount(page, StepKernel(**state))
    check_numbers(page)


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
@pytest.mark.parametrize("trait", ["amplitude", "phase"])
def test_sliders(page, trait, hand):
    mounting.mount(page, StepKernel())
    before, drawn, said = get(page, trait), picture(page), [number(page, n) for n in NAMES]
    mounting.raise_slider(page, trait, hand)
    assert get(page, trait) > before
    assert picture(page) != drawn
    assert all(number(page, name) != old for name, old in zip(NAMES, said, strict=True))
    check_numbers(page)


@pytest.mark.parametrize("hand", ["keyboard", "mouse", "touch"])
def test_a_point_is_dragged_and_stays_on_the_sine(page, hand):
    """It becomes the one that is followed; how far up it is pulled does not matter."""
    figure = mounting.mount(page, StepKernel())
    drawn = picture(page)
    mounting.drag(page, 0, 4, 3, hand)
    points = get(page, "points")
    assert points[0] > figure.points[0] + 0.3
    assert points[1:] == figure.points[1:]
    assert get(page, "chosen") == 0
    assert picture(page) != drawn
    place = handle(page, 0).get_attribute("aria-valuetext")
    y = float(figure.truth(torch.tensor(points[:1], dtype=torch.float64)[None, :, None]))
    assert place == f"x {float(f'{points[0]:.3g}'):g}, y {float(f'{y:.3g}'):g}"
    check_numbers(page)


def test_points_come_and_go(page):
    mounting.mount(page, StepKernel())
    for label, count, chosen in (("Add a point", 6, 5), ("Remove the orange point", 5, 4)):
        page.get_by_role("button", name=label).click()
        settle(page)
        assert len(get(page, "points")) == page.locator(".mf-handle").count() == count
        assert get(page, "chosen") == chosen
        check_numbers(page)
    for label, count in (("Add a point", 20), ("Remove the orange point", 1)):
        for _ in range(20):
            page.get_by_role("button", name=label).press("Enter")
        settle(page)
        assert len(get(page, "points")) == count
        check_numbers(page)
    assert page.locator("[data-note]").inner_text() == "One point must stay."


def test_the_goal_can_be_reached(page):
    """At four of the places to which the first point can be dragged Meta-SGD is ahead."""
    mounting.mount(page, StepKernel())
    assert float(number(page, "best")) < float(number(page, "MetaSGD"))
    handle(page, 1).focus()
    ahead = 0
    for _ in range(40):
        page.keyboard.press("ArrowRight")
        settle(page)
        ahead += float(number(page, "MetaSGD")) < float(number(page, "best"))
    assert ahead > 3


def test_a_damaged_link_changes_nothing(page):
    for state in ('{"points":[]}', '{"points":[6]}', '{"chosen":0.5}', '{"amplitude":9}'):
        link = f"figure-step-kernel?step-kernel={state}"
        page.evaluate("(hash) => { location.hash = hash; }", link)
        page.evaluate("document.body.replaceChildren()")
        figure = mounting.mount(page, StepKernel())
        assert "damaged" in page.locator("[data-note]").inner_text()
        assert get(page, "points") == figure.points


def test_a_move_is_drawn_within_a_frame(page):
    """With as many points as there can be."""
    mounting.mount(page, StepKernel(points=[0.5 * k - 5 for k in range(20)]))
    check_quick(page, "amplitude", 0.1, 5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, scheme):
    page.emulate_media(color_scheme=scheme)
    mounting.mount(page, StepKernel())
    mounting.check_accessible(page)


def test_it_says_what_it_shows(page):
    mounting.mount(page, StepKernel())
    said = page.locator("[data-say]").inner_text()
    assert said.startswith("Error on this curve after one step on 5 points: MAML ")
    assert all(number(page, name) in said for name in (*NAMES, "floor"))
