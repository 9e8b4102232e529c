"""Attention as a step, the figure of chapter 10: its numbers are torch's, all is dragged."""

import mounting
import pytest
import torch
from mounting import check_quick, get, goals, handle, number, picture, settle

from metasgd_core.widgets import AttentionStep
from metasgd_core.widgets.attentionstep import RATES
from metasgd_core.widgets.figure import module_text
from metasgd_core.widgets.words import WORDS

pytestmark = pytest.mark.browser
GOALS = WORDS["attentionstep"]["goals"]
SOURCE = module_text(AttentionStep.sources).split("function render")[0]
RUN = """async ([source, weights, cases]) => {
    document.body.dataset.given = JSON.stringify(weights);
    const text = [source, "const net = makeNetwork([1, 40, 40, 1], 'relu');",
        "const given = Uint8Array.from(JSON.parse(document.body.dataset.given));",
        "const stored = attentionStored(net, given);",
        "export { net, stored, forward, POINTS_GRID, attentionByHand, attentionStep,",
        " attentionLayer, attentionWeights };"].join("\\n");
    const all = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    const { net, stored, POINTS_GRID: grid } = all;
    return cases.map(({ xs, ys, rates, query }) => {
        const start = stored.steps[rates], layer = all.attentionByHand(net, start);
        const { values } = all.attentionLayer(net, layer, xs, ys, [query]);
        const { first, after } = all.attentionLayer(net, layer, xs, ys, grid);
        const { after: trained } = all.attentionLayer(net, stored.trained, xs, ys, grid);
        return {
            before: [...first], attention: [...after], trained: [...trained],
            step: [...all.forward(net, all.attentionStep(net, start, xs, ys), grid)],
            weights: all.attentionWeights(net, layer, xs, xs.length, query),
            kernel: all.attentionWeights(net, layer, grid, xs.length, query),
            residuals: values.map((value) => value / 2),
        };
    });
}"""


def draw_case(seed):
    generator = torch.Generator().manual_seed(seed)
    xs = 10 * torch.rand(2 + seed % 20, generator=generator, dtype=torch.float64) - 5
    *points, query = xs.tolist()
    figure = AttentionStep(amplitude=0.1 + 0.2 * (seed % 24), phase=0.13 * (seed % 24),
                           points=points, query=query, rates=RATES[seed % 3])
    ys = figure.support().y[0, :, 0].tolist()
    return figure, {"xs": points, "ys": ys, "query": query, "rates": figure.rates}


def test_the_arithmetic_is_torchs(page):
    """The step by its gradient, attention by its tokens, the weights: to 1e-9 of the largest."""
    figures, cases = zip(*(draw_case(seed) for seed in range(60)))
    found = page.evaluate(RUN, [SOURCE, list(figures[0]._weights), cases])
    x = torch.linspace(-5, 5, 61, dtype=torch.float64)
    for figure, case, mine in zip(figures, cases, found, strict=True):
        wanted = figure.predictions(x) | {
            "weights": figure.weights(x.new_tensor(figure.points)), "kernel": figure.weights(x),
            "residuals": figure.residuals(),
        }
        assert wanted.keys() == mine.keys()
        for what, reference in wanted.items():
            gap = (torch.tensor(mine[what], dtype=torch.float64) - reference).abs().max()
            assert gap <= 1e-9 * reference.abs().max().clamp(min=1.0), (what, case)


def said(page, name):
    return float(number(page, name).replace("−", "-"))


def check_numbers(page):
    """What the page says is what the package computes for the page's state."""
    figure = AttentionStep(**{name: get(page, name) for name in AttentionStep()._state})
    x = torch.linspace(-5, 5, 61, dtype=torch.float64)
    truth, curves = figure.truth(x[None, :, None])[0, :, 0], figure.predictions(x)
    for name in ("step", "trained"):
        error = float((curves[name] - truth).square().mean())
        assert said(page, name) == pytest.approx(error, rel=6e-3)
    at = {name: float(y[0]) for name, y in figure.predictions(x.new_tensor([figure.query])).items()}
    weights, residuals = figure.weights(x.new_tensor(figure.points)), figure.residuals()
    k = figure.followed()
    for name, value, digits in (
        ("x", figure.query, 2), ("before", at["before"], 2), ("after", at["attention"], 2),
        ("weight", float(weights[k]), 3),
        ("residual", float(residuals[k]), 2), ("added", float(weights[k] * residuals[k]), 3),
    ):
        assert said(page, name) == pytest.approx(value, abs=0.501 * 10**-digits), name
    assert said(page, "before") + said(page, "total") == pytest.approx(said(page, "after"))
    assert said(page, "gap") < 1e-12


@pytest.mark.parametrize("state", [
    {}, {"rates": "a rate an entry", "points": [0.5], "chosen": 0}, {"rates": "a matrix"},
    {"amplitude": 0.1, "phase": 3.0, "query": -5.0}, {"points": [0.5 * k - 5 for k in range(20)]},
])
def test_numbers_are_the_packages(page, state):
    mounting.mount(page, AttentionStep(**state))
    check_numbers(page)


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
@pytest.mark.parametrize("trait", ["amplitude", "phase"])
def test_sliders(page, trait, hand):
    mounting.mount(page, AttentionStep())
    before, drawn = get(page, trait), picture(page)
    told = [number(page, name) for name in ("total", "step", "trained")]
    mounting.raise_slider(page, trait, hand)
    assert get(page, trait) > before
    assert picture(page) != drawn
    now = [number(page, name) for name in ("total", "step", "trained")]
    assert all(new != old for new, old in zip(now, told, strict=True))
    check_numbers(page)


@pytest.mark.parametrize("hand", ["keyboard", "mouse", "touch"])
def test_a_point_is_dragged_and_stays_on_the_sine(page, hand):
    """It becomes the one whose numbers are said; how far up it is pulled does not matter."""
    figure = mounting.mount(page, AttentionStep())
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


@pytest.mark.parametrize("hand", ["keyboard", "mouse", "touch"])
def test_the_query_is_dragged_along_the_axis(page, hand, monkeypatch):
    """And nothing else moves; a screen reader hears what is predicted there."""
    figure = mounting.mount(page, AttentionStep())
    query = page.locator('[data-key="query"]')
    monkeypatch.setattr(mounting, "handle", lambda *_: query)
    curve = page.locator('[data-key="step"]').get_attribute("d")
    mounting.drag(page, 0, 4, 3, hand)
    assert get(page, "query") > figure.query + 0.3
    assert get(page, "points") == figure.points
    assert page.locator('[data-key="step"]').get_attribute("d") == curve
    heard = query.get_attribute("aria-valuetext")
    assert heard == f"x {number(page, 'x')}, predicted {number(page, 'after')}"
    check_numbers(page)


def test_points_come_and_go(page):
    mounting.mount(page, AttentionStep())
    for label, count, chosen in (("Add a point", 11, 10), ("Remove the orange point", 10, 9)):
        page.get_by_role("button", name=label).click()
        settle(page)
        assert len(get(page, "points")) == page.locator(".mf-handle").count() - 1 == count
        assert get(page, "chosen") == chosen
        check_numbers(page)
    for label, count in (("Add a point", 20), ("Remove the orange point", 1)):
        for _ in range(20):
            page.get_by_role("button", name=label).press("Enter")
        settle(page)
        assert len(get(page, "points")) == count
        check_numbers(page)
    assert page.locator("[data-note]").inner_text() == "One point must stay."


def test_the_goals_can_be_reached(page):
    """Other rates make weights negative; a point on the network's own curve adds nothing."""
    figure = mounting.mount(page, AttentionStep())
    for _ in range(4):
        page.locator('[data-key="query"]').press("ArrowLeft")
    settle(page)
    assert goals(page) == [f"Goal 1 of 2: {GOALS['negative']}"], "with one rate there is none"
    page.locator('[data-trait="rates"]').select_option(label="a matrix")
    settle(page)
    assert goals(page)[0] == f"✓ {GOALS['negative']}"
    assert len(goals(page)) == 2
    figure.rates, figure.query = get(page, "rates"), get(page, "query")
    x = torch.linspace(-4.9, 4.9, 981, dtype=torch.float64)
    residuals = figure.truth(x[None, :, None])[0, :, 0] - figure.predictions(x)["before"]
    weights = figure.weights(x)
    place = float(x[((weights * residuals).abs() < 0.01) & (weights.abs() > 0.12)][0])
    boxes = [handle(page, k).bounding_box() for k in (figure.chosen, 0)]
    (left, up), (other, _) = ((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
                              for box in boxes)  # fmt: skip
    a, b = figure.points[figure.chosen], figure.points[0]
    page.mouse.move(left, up)
    page.mouse.down()
    page.mouse.move(left + (place - a) * (other - left) / (b - a), up)
    page.mouse.up()
    settle(page)
    assert goals(page)[-1] == "All goals reached."
    assert abs(said(page, "added")) < 0.05 < 0.1 < abs(said(page, "weight"))
    check_numbers(page)


def test_a_damaged_link_changes_nothing(page):
    for state in ('{"points":[]}', '{"points":[6]}', '{"chosen":0.5}', '{"query":6}',
                  '{"rates":"two"}'):
        link = f"figure-attention-step?attention-step={state}"
        page.evaluate("(hash) => { location.hash = hash; }", link)
        page.evaluate("document.body.replaceChildren()")
        figure = mounting.mount(page, AttentionStep())
        assert "damaged" in page.locator("[data-note]").inner_text()
        assert get(page, "points") == figure.points
        assert get(page, "rates") == figure.rates


def test_damaged_weights_are_said(page):
    figure = AttentionStep()
    mounting.mount(page, figure, _weights=figure._weights[:-2])
    assert "cannot be drawn: the weights should be" in page.locator(".mf-fail").inner_text()


def test_a_move_is_drawn_within_a_frame(page):
    """With as many points as there can be."""
    mounting.mount(page, AttentionStep(points=[0.5 * k - 5 for k in range(20)]))
    check_quick(page, "amplitude", 0.1, 5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, scheme):
    page.emulate_media(color_scheme=scheme)
    mounting.mount(page, AttentionStep())
    mounting.check_accessible(page)


def test_it_says_what_it_shows(page):
    mounting.mount(page, AttentionStep())
    told = page.locator("[data-say]").inner_text()
    assert told.startswith("At the query, x = 1.20, the network says ")
    names = ("before", "total", "after", "weight", "residual", "added", "gap", "step", "trained")
    assert all(number(page, name) in told for name in names)
