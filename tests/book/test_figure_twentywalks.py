"""Twenty walks, the figure of chapter 16: its numbers are torch's, the goal is dragged."""

import mounting
import pytest
import torch
from mounting import check_quick, get, goals, number, picture, settle

from metasgd_core.widgets import TwentyWalks
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import module_text
from metasgd_core.widgets.words import WORDS, fill

pytestmark = pytest.mark.browser
GIVEN = CONSTANTS["twentywalks"]
GOALS = {name: fill(text, **{name: str(GIVEN["goal"][name]).replace("-", "−")})
         for name, text in WORDS["twentywalks"]["goals"].items()}  # fmt: skip
SOURCE = module_text(TwentyWalks.sources).split("/** Draw the figure and keep")[0]
RUN = """async ([source, states]) => {
    const text = source + "\\nexport { walksTold, walkChances, walksOf, walkChange, walkReturn };";
    const all = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    return states.map((state) => {
        const told = all.walksTold(state), chances = all.walkChances(state.seed);
        const own = chances.before[25], before = all.walksOf(state, own);
        const change = all.walkChange(state, state.goal, before, own);
        const v = change.map((part) => told.alpha * part);
        const after = all.walksOf(state, chances.after, v);
        return {
            alpha: [told.alpha], place: [told.place], width: [told.width], before: [...before],
            rests: [...told.rests.flat(), ...v.map((part) => part / state.pull)],
            returns: [...told.returns, all.walkReturn(state.goal, after)], after: [...after],
        };
    });
}"""


def draw_state(seed):
    generator = torch.Generator().manual_seed(seed)
    a, b, x, y = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    return {
        "pull": 0.02 * 40**a, "noise": 0.01 * 10**b, "goal": [x - 0.5, y - 0.5],
        "seed": 1000 * seed, "reward": GIVEN["rewards"][seed % 2],
        "advantages": GIVEN["advantages"][seed // 2 % 2],
    }  # fmt: skip


def places(walks):
    """Where the walks are after each step, in the page's rows, while they go on."""
    return walks.observation[-1, :, 1:].transpose(0, 1), walks.mask[-1, :, 1:].T


def test_the_arithmetic_is_torchs(page):
    """Walks, the policy gradient with each kind of advantage, and what comes of it: to 1e-9."""
    states = [draw_state(seed) for seed in range(24)]
    for state, mine in zip(states, page.evaluate(RUN, [SOURCE, states]), strict=True):
        told = TwentyWalks(**state).told()
        for name in ("alpha", "place", "width", "rests", "returns"):
            wanted = getattr(told, name).flatten()
            gap = (torch.tensor(mine[name], dtype=torch.float64) - wanted).abs().max()
            assert gap <= 1e-9 * wanted.abs().max().clamp(min=1.0), (name, state)
        for name in ("before", "after"):
            wanted, going = places(getattr(told, name))
            found = torch.tensor(mine[name], dtype=torch.float64).view(100, 20, 2)[:-1]
            assert (found - wanted)[going].abs().max() <= 1e-9, (name, state)


def said(page, name):
    return float(number(page, name).replace("−", "-"))


def check_numbers(page):
    """What the page says is what the package computes for the page's state."""
    figure = TwentyWalks(**{name: get(page, name) for name in TwentyWalks()._state})
    told, goal = figure.told(), torch.tensor(figure.goal, dtype=torch.float64)
    rest = (told.rests[-1] * goal).sum() / goal.norm() if goal.any() else 0.0
    for name, value, digits in (
        ("width", told.width, 3), ("away", goal.norm(), 2), ("rest", rest, 2),
        ("own", told.returns[-1], 1), ("place", told.place, 1),
        ("mean", told.returns[:-1].mean(), 1),
    ):  # fmt: skip
        assert said(page, name) == pytest.approx(float(value), abs=0.501 * 10**-digits), name


@pytest.mark.parametrize("state", [
    {}, {"reward": "squared"}, {"reward": "squared", "advantages": "as they are", "seed": 3},
    {"pull": 0.02, "noise": 0.1, "goal": [-0.5, 0.5]}, {"goal": [0.0, 0.0]},
])
def test_numbers_are_the_packages(page, state):
    mounting.mount(page, TwentyWalks(**state))
    check_numbers(page)


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
@pytest.mark.parametrize("trait", ["pull", "noise"])
def test_sliders(page, trait, hand):
    mounting.mount(page, TwentyWalks())
    before, drawn, mean = get(page, trait), picture(page), number(page, "mean")
    mounting.raise_slider(page, trait, hand)
    assert get(page, trait) > before
    assert picture(page) != drawn
    assert number(page, "mean") != mean
    check_numbers(page)


@pytest.mark.parametrize("hand", ["keyboard", "mouse", "touch"])
def test_the_goal_is_dragged(page, hand, monkeypatch):
    """The walks before the update stay, those after it follow; nothing else is told."""
    figure = mounting.mount(page, TwentyWalks())
    goal = page.locator('[data-key="goal"]')
    monkeypatch.setattr(mounting, "handle", lambda *_: goal)
    told = [number(page, name) for name in ("width", "place", "mean")]
    before, after = (page.locator(f'[data-key="{key}"]').get_attribute("d")
                     for key in ("before", "after"))  # fmt: skip
    mounting.drag(page, 0, 4, 3, hand)
    x, y = get(page, "goal")
    assert x > figure.goal[0] + 0.05
    assert y > figure.goal[1] + 0.02
    assert [number(page, name) for name in ("width", "place", "mean")] == told
    assert page.locator('[data-key="before"]').get_attribute("d") == before
    assert page.locator('[data-key="after"]').get_attribute("d") != after
    check_numbers(page)


def test_the_goal_stays_in_the_square(page):
    mounting.mount(page, TwentyWalks(goal=[0.45, -0.45]))
    goal = page.locator('[data-key="goal"]')
    for key in ("Shift+ArrowRight", "Shift+ArrowDown"):
        goal.press(key)
        goal.press(key)
    settle(page)
    assert get(page, "goal") == [0.5, -0.5]
    check_numbers(page)


def test_new_walks(page):
    mounting.mount(page, TwentyWalks(seed=2**31 - 1))
    drawn = page.locator('[data-key="before"]').get_attribute("d")
    page.get_by_role("button", name="New walks").click()
    settle(page)
    assert get(page, "seed") == 0
    assert page.locator('[data-key="before"]').get_attribute("d") != drawn
    check_numbers(page)


def test_the_goals_can_be_reached(page):
    """A soft spring that shakes; a stiff one; the square, as it is."""
    mounting.mount(page, TwentyWalks())
    for key, pull, noise in (("place", 0.02, 0.1), ("direction", 0.4, 0.022)):
        assert goals(page)[-1].endswith(GOALS[key])
        for trait, value in (("pull", pull), ("noise", noise)):
            field = page.locator(f'[data-number="{trait}"]')
            field.fill(str(value))
            field.press("Enter")
        settle(page)
        assert f"✓ {GOALS[key]}" in goals(page)
        check_numbers(page)
    for trait, choice in (("reward", "its square"), ("advantages", "as they are")):
        assert goals(page)[-1].endswith(GOALS["both"])
        page.locator(f'select[data-trait="{trait}"]').select_option(label=choice)
        settle(page)
    assert goals(page)[-1] == "All goals reached."
    assert said(page, "place") > 9
    check_numbers(page)


def test_a_damaged_link_changes_nothing(page):
    for state in ('{"goal":[0.6,0]}', '{"goal":[0]}', '{"pull":1}', '{"noise":"a"}',
                  '{"reward":"speed"}', '{"seed":0.5}'):
        link = f"figure-twenty-walks?twenty-walks={state}"
        page.evaluate("(hash) => { location.hash = hash; }", link)
        page.evaluate("document.body.replaceChildren()")
        figure = mounting.mount(page, TwentyWalks())
        assert "damaged" in page.locator("[data-note]").inner_text()
        for name in TwentyWalks()._state:
            assert get(page, name) == getattr(figure, name)


def test_a_move_is_drawn_within_a_frame(page):
    """A thousand walks are played anew: twenty for each of 25 goals, before and after."""
    mounting.mount(page, TwentyWalks())
    check_quick(page, "pull", -1.7, -0.1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, scheme):
    page.emulate_media(color_scheme=scheme)
    mounting.mount(page, TwentyWalks())
    mounting.check_accessible(page)


def test_it_says_what_it_shows(page):
    mounting.mount(page, TwentyWalks())
    told = page.locator("[data-say]").inner_text()
    assert told.startswith("The walks spread by ")
    names = ("width", "away", "rest", "own", "place", "mean")
    assert all(number(page, name) in told for name in names)
