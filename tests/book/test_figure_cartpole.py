"""The CartPole that plays in the page: each control moves what it should, and where it should."""

import re

import mounting
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import WCAG
from test_figure_valley import choose

from metasgd_core.widgets import CartPolePlay
from metasgd_core.widgets.cartpole import RANGES

pytestmark = pytest.mark.browser

IDLE = "() => document.querySelector('[aria-busy]')?.getAttribute('aria-busy') === 'false'"


def mount(page, width=1280, **changes):
    """Show the figure with these traits, unchecked by Python."""
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto("about:blank")  # a document of its own: else a second one cannot be dragged in
    page.set_content("<!doctype html><html lang=en><title>CartPole</title></html>")
    mounting.mount(page, CartPolePlay(), **changes)
    mounting.unfold(page)


def settle(page):
    """Wait until the change has been heard and all policies are scored."""
    mounting.settle(page)
    page.wait_for_function(IDLE)


def said(page, name):
    return page.locator(f'[data-readout="{name}"]').inner_text()


def number(page, name):
    return float(re.search(r"[-−+]?[\d.]+", said(page, name))[0].replace("−", "-"))


def mean_return(page):
    return float(re.search(r"[\d.]+", said(page, "return"))[0])


def share_right(page):
    return number(page, "right")


def balance(page):
    return float(re.search(r"[\d.]+", said(page, "balance"))[0])


def set_slider(page, trait, key, times=1):
    control = page.locator(f'[data-trait="{trait}"]')
    control.focus()
    for _ in range(times):
        page.keyboard.press(key)
    settle(page)


def drag_slider(page, trait, share):
    """Press the mouse on the slider at this share of its width."""
    control = page.locator(f'input[type=range][data-trait="{trait}"]')
    control.scroll_into_view_if_needed()
    box = control.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    goal = box["x"] - 10 + share * (box["width"] + 20)  # the ends are reached beyond them
    page.mouse.move(goal, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    settle(page)


def trait(page, name):
    return mounting.get(page, name)


def press(page, label):
    page.get_by_role("button", name=label, exact=True).click()
    settle(page)


COLLECT = "Collect 10 episodes, take one step"
PLAIN = {"start": "random", "side": 0}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_policy_learns_to_balance(page, seed):
    """Chapter 14's story: many steps; a heavy cart undoes half of it, several more mend that."""
    mount(page, seed=seed, **PLAIN)
    settle(page)
    assert mean_return(page) < 40  # undecided
    presses = 0
    while mean_return(page) < 450 and presses < 30:
        press(page, COLLECT)
        presses += 1
    assert 4 < presses < 20
    for _ in range(20 - presses):
        press(page, COLLECT)
    assert trait(page, "updates") == 20
    learned = mean_return(page)
    assert learned > 450
    page.evaluate("model.set('gravity', 15)")
    settle(page)
    assert mean_return(page) > 400  # much it forgives
    page.evaluate("model.set('gravity', 9.8)")
    set_slider(page, "masscart", "End")
    heavy = mean_return(page)
    assert heavy < 260
    press(page, COLLECT)
    assert mean_return(page) < learned - 80
    for _ in range(7):
        press(page, COLLECT)
    assert mean_return(page) > heavy + 120
    history = trait(page, "history")
    assert [task[2] for task in history] == [1.0] * 20 + [5.0] * 8


def test_the_plain_figure_knows_no_side(page):
    """What chapter 14 has not spoken of is not there to be asked about."""
    mount(page, **PLAIN)
    settle(page)
    shown = page.locator("[data-trait]").evaluate_all("all => all.map((e) => e.dataset.trait)")
    assert not {"side", "start", "swapped"} & set(shown)
    assert {"updates", "length", "masspole", "masscart", "force", "gravity", "seed"} <= set(shown)
    words = page.locator("body").inner_text()
    assert not re.search(r"side|pays|adapt|inner|initialisation|swap", words), words
    assert page.locator("[data-key=side]").first.get_attribute("width") == "0"
    assert page.locator("[data-key=bound]").count() == 0


def returns_drawn(page):
    """The points of the curve of returns, from the top of the picture."""
    path = page.locator("[data-key=returns]").get_attribute("d")
    return [float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", path)]


def test_the_returns_are_drawn_step_by_step(page):
    """Thirty steps asked for at once are taken, drawn, and kept where the reader goes back."""
    mount(page, updates=12, **PLAIN)
    settle(page)
    points = returns_drawn(page)
    assert len(points) == 13
    assert points[-1] < points[0] - 50  # in pixels from the top: it has climbed
    set_slider(page, "updates", "Home")
    assert said(page, "count") == "0"
    assert len(returns_drawn(page)) == 12  # the last policy has taught nobody
    assert mean_return(page) < 40
    set_slider(page, "updates", "ArrowRight", 12)
    assert returns_drawn(page) == points  # the same dice, the same policies
    drag_slider(page, "updates", 1.0)
    assert trait(page, "updates") == len(trait(page, "history")) == 30
    assert len(returns_drawn(page)) == 31


def test_a_film_asked_for_too_soon_waits_for_its_policy(page):
    """Play at once, with most of thirty steps yet to be taken: the page does not stand still."""
    mount(page, updates=30, greedy=True, speed=4.0, **PLAIN)
    longest, total = page.evaluate("""async () => {
        [...document.querySelectorAll("button")].find((b) => b.textContent === "Play").click();
        const begun = performance.now();
        let last = begun, longest = 0;
        while (model.get("step") === 0) {
            await new Promise(requestAnimationFrame);
            [last, longest] = [performance.now(), Math.max(longest, performance.now() - last)];
        }
        return [longest, last - begun];
    }""")
    assert longest < total / 2, (longest, total)
    settle(page)
    page.wait_for_function("model.get('step') > 100")
    page.get_by_role("button", name="Pause", exact=True).click()
    assert step_of(page) > 100  # the undecided policy falls long before


@pytest.mark.parametrize("side", [1, -1])
def test_one_step_finds_the_side(page, side):
    """The policy is not told: before the step both sides look alike to it, after it does not."""
    mount(page, side=side)
    settle(page)
    before = mean_return(page)
    assert 100 < before < 400
    assert 20 < share_right(page) < 80
    press(page, COLLECT)
    assert trait(page, "updates") == 1
    assert mean_return(page) > 450 > before
    assert (share_right(page) > 90) if side > 0 else (share_right(page) < 10)
    press(page, COLLECT)
    press(page, COLLECT)
    assert trait(page, "updates") == 3
    assert mean_return(page) > 430
    assert len(said(page, "returns").split("·")) == 4


def test_without_a_side_every_step_pays(page):
    mount(page, side=0)
    settle(page)
    assert mean_return(page) == 50 * balance(page) == 500


def test_the_joint_start_has_picked_a_side_and_keeps_it(page):
    mount(page, start="joint")
    settle(page)
    first = share_right(page)
    loser = 1 if first < 50 else -1
    page.evaluate("(side) => model.set('side', side)", loser)
    settle(page)
    assert mean_return(page) < 60
    press(page, COLLECT)
    assert mean_return(page) < 100


def test_the_same_episodes_under_either_side(page):
    """No rewards are seen: before the step the two returns add up to the steps that stood."""
    mount(page, side=1)
    settle(page)
    right = mean_return(page)
    page.evaluate("model.set('side', -1)")
    settle(page)
    assert right + mean_return(page) == pytest.approx(50 * balance(page), abs=0.4)


#: From MAML adapted once to the right: the slider's end, and what becomes of the ten episodes.
ENDS = {
    "length": ("End", "falls"),
    "force": ("Home", "falls"),
    "gravity": ("End", "falls"),
    "masscart": ("End", "falls"),
    "masspole": ("End", "falls"),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("by", ["keyboard", "mouse"])
def test_physics_beyond_the_policy(page, name, by):
    """At one end of each slider the adapted policy drops the pole, and back again it holds it."""
    mount(page, updates=1)
    settle(page)
    assert balance(page) > 9.8
    page.locator('[data-trait="keep"]').press("Space")
    before = trait(page, name)
    pole = page.locator("[data-key=pole]").get_attribute("y2")
    key, _ = ENDS[name]
    if by == "keyboard":
        set_slider(page, name, key)
    else:
        drag_slider(page, name, 1.0 if key == "End" else 0.0)
    after = trait(page, name)
    assert after == RANGES[name][key == "End"]  # the range's very end
    assert (after > before) if key == "End" else (after < before)
    assert balance(page) < 9.8
    assert mean_return(page) < 480
    assert trait(page, "history")[0][:5] == [0.5, 0.1, 1.0, 10.0, 9.8]  # what it adapted to stays
    longer = page.locator("[data-key=pole]").get_attribute("y2") != pole
    assert longer == (name == "length")
    page.evaluate("([name, value]) => model.set(name, value)", [name, before])
    settle(page)
    assert balance(page) > 9.8


def test_swapped_controls_are_not_held(page):
    mount(page, updates=1)
    settle(page)
    page.locator('[data-trait="keep"]').click()
    page.locator('[data-trait="swapped"]').focus()
    page.keyboard.press("Space")
    settle(page)
    assert trait(page, "swapped") is True
    assert balance(page) < 0.6
    page.locator('[data-trait="swapped"]').click()
    settle(page)
    assert balance(page) > 9.8


def test_steps_by_the_slider_are_steps_by_the_button(page):
    mount(page, side=-1)
    settle(page)
    set_slider(page, "updates", "ArrowRight")
    by_slider = said(page, "returns")
    assert len(trait(page, "history")) == 1
    set_slider(page, "updates", "ArrowLeft")
    assert said(page, "count") == "0"
    assert said(page, "returns") == by_slider  # the step is kept
    press(page, COLLECT)
    assert said(page, "returns") == by_slider
    drag_slider(page, "updates", 1.0)
    assert trait(page, "updates") == 3
    assert len(trait(page, "history")) == 3


def note(page):
    return page.locator("[data-note]").inner_text()


def test_another_side_is_another_task(page):
    """The policy begins anew, from 0 steps, and the figure says so; nothing old is scored."""
    mount(page, updates=1)
    settle(page)
    assert share_right(page) > 90
    choose(page, "side", "left", "mouse")
    settle(page)
    assert trait(page, "side") == -1
    assert (trait(page, "updates"), trait(page, "history")) == (0, [])
    assert said(page, "count") == "0"
    assert 100 < mean_return(page) < 400  # as it was before any step
    assert note(page) == "This is another task: the policy begins anew, from 0 steps."
    press(page, COLLECT)
    assert share_right(page) < 10
    assert mean_return(page) > 450
    assert note(page) == ""


@pytest.mark.parametrize("by", ["slider", "number", "arrows"])
def test_other_physics_are_another_task(page, by):
    """Unless the reader asks to keep the policy; what is no task, as the seed, changes nothing."""
    mount(page, updates=1)
    settle(page)
    page.locator('[data-trait="greedy"]').click()
    settle(page)
    assert trait(page, "updates") == 1
    field = page.locator('[data-number="gravity"]')
    if by == "slider":
        set_slider(page, "gravity", "ArrowRight")
    elif by == "number":
        field.fill("12")
        field.press("Enter")
    else:
        field.press("ArrowUp")
    settle(page)
    assert trait(page, "gravity") > 9.8
    assert (trait(page, "updates"), trait(page, "history")) == (0, [])
    assert "begins anew" in note(page)
    press(page, COLLECT)
    page.locator('[data-trait="keep"]').click()
    set_slider(page, "gravity", "ArrowRight")
    assert trait(page, "updates") == 1


def test_the_word_step_means_a_gradient_step(page):
    """Not a moment of the film, whose buttons, axes and numbers are in frames and seconds."""
    mount(page)
    settle(page)
    press(page, "One frame")
    text = page.locator("main").inner_text()
    axes = page.locator(".mf-axes text").evaluate_all("all => all.map((e) => e.textContent)")
    assert "0.02 of 10 s" in text
    assert "time in s" in axes
    for found in re.findall(r"[^.;:\n]*\bsteps?\b[^.;:\n]*", "\n".join([text, *axes])):
        gradient = r"(take|one|inner|any|\d|ten) (inner )?steps?|Inner steps|steps, on ten episodes"
        assert re.search(gradient, found) or "step by step" in found or "a step tell" in found


def test_the_goals_come_one_at_a_time(page):
    mount(page, side=1)
    settle(page)
    assert mounting.goals(page)[0].startswith("Goal 1 of 4: The policy is not told")
    press(page, COLLECT)
    mounting.settle(page)
    assert mounting.goals(page)[1].startswith("Goal 2 of 4: Pick the other side")
    choose(page, "side", "left", "keyboard")
    settle(page)
    press(page, COLLECT)
    mounting.settle(page)
    assert mounting.goals(page)[2].startswith("Goal 3 of 4: Tick")
    page.locator('[data-trait="keep"]').click()
    set_slider(page, "gravity", "End")
    mounting.settle(page)
    assert mounting.goals(page)[3].startswith("Goal 4 of 4: Begin with joint")


@pytest.mark.parametrize("by", ["keyboard", "mouse"])
def test_the_side_is_picked(page, by):
    """The shaded half goes where it is told, and the same episodes are paid for the other side."""
    mount(page, updates=1)
    settle(page)
    page.locator('[data-trait="keep"]').click()
    held, was = mean_return(page), float(page.locator("[data-key=side]").first.get_attribute("x"))
    choose(page, "side", "left", by)
    settle(page)
    assert trait(page, "side") == -1
    assert float(page.locator("[data-key=side]").first.get_attribute("x")) < was
    assert mean_return(page) < 50 < held


@pytest.mark.parametrize("by", ["keyboard", "mouse"])
def test_the_initialisation_is_picked(page, by):
    """Joint training has picked a side: before any step nearly all steps are on one."""
    mount(page)
    settle(page)
    assert 20 < share_right(page) < 80
    choose(page, "start", "joint", by)
    settle(page)
    assert trait(page, "start") == "joint"
    assert not 10 < share_right(page) < 90


@pytest.mark.parametrize("by", ["keyboard", "mouse"])
def test_the_seed_draws_other_episodes_and_the_same_ones_again(page, by):
    mount(page)
    settle(page)
    first, path = mean_return(page), page.locator("[data-key=fresh-0]").get_attribute("d")
    control = page.locator('input[data-trait="seed"]')
    control.click() if by == "mouse" else control.focus()
    page.keyboard.press("ArrowUp")
    control.blur()
    settle(page)
    assert trait(page, "seed") == 1
    assert mean_return(page) != first
    assert page.locator("[data-key=fresh-0]").get_attribute("d") != path
    control.fill("0")
    control.blur()
    settle(page)
    assert mean_return(page) == first
    assert page.locator("[data-key=fresh-0]").get_attribute("d") == path


@pytest.mark.parametrize("by", ["keyboard", "mouse"])
def test_the_likelier_action_wavers_less(page, by):
    """The same gentle force: drawing its actions the adapted policy falls sooner."""
    mount(page, updates=1, force=3.0, history=[[0.5, 0.1, 1.0, 10.0, 9.8, 1, 0]])
    settle(page)
    drawn = balance(page)
    control = page.locator('input[data-trait="greedy"]')
    if by == "keyboard":
        control.focus()
        page.keyboard.press("Space")
    else:
        control.click()
    settle(page)
    assert trait(page, "greedy") is True
    assert balance(page) > drawn


def step_of(page):
    return round(50 * float(re.search(r"([\d.]+) of 10 s", said(page, "cart"))[1]))


def velocity(page):
    return float(
        re.search(r"velocity ([−+][\d.]+)", said(page, "cart"))[1].replace("−", "-")
    )


def click(page, label, then=0):
    """Press a button in a page whose clock stands still, and let so many milliseconds pass."""
    page.get_by_role("button", name=label, exact=True).click()
    page.clock.run_for(then)


def still(page, **traits):
    """Show the figure, and stop the page's clock."""
    page.clock.install(time=0)
    mount(page, **traits)
    settle(page)
    page.clock.pause_at(3600)


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_play_pause_single_step(clocked, motion):
    """Nothing moves before Play is pressed; Pause stops it; one step is one step."""
    clocked.emulate_media(reduced_motion=motion)
    still(clocked)
    clocked.clock.run_for(300)
    assert step_of(clocked) == 0
    click(clocked, "One frame", then=50)
    assert step_of(clocked) == 1
    place = clocked.locator("[data-key=cart]").get_attribute("transform")
    click(clocked, "Play", then=600)
    click(clocked, "Pause")
    reached = step_of(clocked)
    assert 25 < reached < 35  # 50 a second
    assert clocked.locator("[data-key=cart]").get_attribute("transform") != place
    clocked.clock.run_for(200)
    assert step_of(clocked) == reached == trait(clocked, "step")
    click(clocked, "New episode", then=50)
    assert step_of(clocked) == 0
    assert trait(clocked, "episode") == 1


def test_less_motion_is_heeded_at_once(clocked):
    """The reader's wish may change while the film plays: then there are two pictures a second."""
    still(clocked, updates=1)
    clocked.evaluate("""() => {
        window.moves = 0;
        new MutationObserver(() => { moves++; }).observe(
            document.querySelector("[data-key=cart]"), { attributeFilter: ["transform"] });
    }""")
    cart = clocked.locator("[data-key=cart]")
    spoken = cart.get_attribute("aria-valuetext")
    click(clocked, "Play")
    seen = {}
    for motion in ("no-preference", "reduce", "no-preference"):
        clocked.emulate_media(reduced_motion=motion)
        begun = clocked.evaluate("moves = 0, model.get('step')")
        clocked.clock.run_for(1200)
        moves, step = clocked.evaluate("[moves, model.get('step')]")
        assert step > begun + 50  # the film goes on
        seen.setdefault(motion, []).append(moves)
    assert max(seen["reduce"]) <= 4, seen
    assert min(seen["no-preference"]) > 50, seen
    assert cart.get_attribute("aria-valuetext") == spoken  # nobody reads a film aloud
    click(clocked, "Pause")
    x, speed = trait(clocked, "state")[:2]
    assert cart.get_attribute("aria-valuetext") == f"{x:.2f} m, {speed:.2f} m/s"


def test_a_closed_view_hears_nothing(clocked):
    """A notebook closes a view: the film stops, and theme and model no longer reach it."""
    still(clocked)
    click(clocked, "Play")
    for _ in range(10):  # a busy page may still have had to draw
        if step_of(clocked) <= 2:
            clocked.clock.run_for(200)
    seen = """() => [model.get("step"), document.querySelector(".mf-figure").dataset.theme]"""
    step, theme = clocked.evaluate(seen)
    assert step > 2
    other = {"light": "dark", "dark": "light"}[theme]
    clocked.evaluate("""(theme) => {
        unmount();
        document.documentElement.dataset.theme = theme;
        model.set("gravity", 1);
    }""", other)
    clocked.clock.run_for(200)
    assert clocked.evaluate(seen) == [step, theme]
    assert clocked.locator('[data-number="gravity"]').input_value() == "9.8"


@pytest.mark.parametrize("by", ["keyboard", "mouse"])
def test_speed_is_the_films(clocked, by):
    """Its slider's ends: in the same time many steps, or few."""
    clocked.clock.install(time=0)
    played = {}
    for hour, (share, key) in enumerate(((0.0, "Home"), (1.0, "End")), start=1):
        mount(clocked)
        settle(clocked)
        if by == "keyboard":
            set_slider(clocked, "speed", key)
        else:
            drag_slider(clocked, "speed", share)
        clocked.clock.pause_at(3600 * hour)
        click(clocked, "Play", then=1000)
        click(clocked, "Pause")
        played[trait(clocked, "speed")] = step_of(clocked)
        clocked.clock.resume()
    assert set(played) == {0.1, 4.0}
    assert 2 <= played[0.1] < 8
    assert 150 < played[4.0] <= 210


def test_the_episode_ends_by_itself(page):
    """A pole that falls stops the film and says so; Play then begins the next episode."""
    mount(page, swapped=True, speed=4.0)
    settle(page)
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("document.querySelector('[data-readout=cart]').innerText.includes('fell')")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("model.get('episode') === 1")
    page.wait_for_function("model.get('step') > 2")


def test_the_cart_is_pushed_by_buttons_keys_mouse_and_touch(page):
    mount(page)
    settle(page)
    start = velocity(page)
    press(page, "Push right")
    assert velocity(page) == pytest.approx(start + 0.5, abs=0.011)
    press(page, "Push left")
    assert velocity(page) == pytest.approx(start, abs=0.011)
    cart = page.locator("[data-key=cart]")
    cart.focus()
    page.keyboard.press("ArrowLeft")
    assert velocity(page) == pytest.approx(start - 0.2, abs=0.011)
    page.keyboard.press("Shift+ArrowRight")
    assert velocity(page) == pytest.approx(start + 0.8, abs=0.011)
    assert page.locator("[data-key=velocity]").get_attribute("d")  # the arrow on the cart
    cart.scroll_into_view_if_needed()
    box = cart.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] - 20
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y, steps=4)
    page.mouse.up()
    dragged = velocity(page)
    assert dragged < start - 0.2
    page.mouse.move(x - 200, y)
    assert velocity(page) == dragged  # the button is up
    devtools = page.context.new_cdp_session(page)
    moves = [("touchStart", [x]), ("touchMove", [x + 30]), ("touchMove", [x + 60])]
    for kind, places in [*moves, ("touchEnd", [])]:
        points = [{"x": at, "y": y} for at in places]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert velocity(page) > dragged + 0.5
    pushed = trait(page, "state")
    press(page, "One frame")
    assert trait(page, "state")[0] > pushed[0]  # and so it moves


def test_a_slanted_drag_by_touch_stays_with_the_cart(page):
    """A finger seldom moves exactly across: the page must not scroll and end the drag."""
    mount(page, width=390)
    settle(page)
    page.set_viewport_size({"width": 390, "height": 600})
    assert page.evaluate("document.documentElement.scrollHeight > innerHeight + 200")
    cart = page.locator("[data-key=cart]")
    cart.scroll_into_view_if_needed()
    box, top = cart.bounding_box(), page.evaluate("scrollY")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] - 15
    devtools, speeds = page.context.new_cdp_session(page), [velocity(page)]
    for k in range(8):
        devtools.send("Input.dispatchTouchEvent", {
            "type": "touchMove" if k else "touchStart",
            "touchPoints": [{"x": x + 8 * k, "y": y - 12 * k}],
        })
        speeds.append(velocity(page))
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(page)
    assert page.evaluate("scrollY") == top
    start, *moved = speeds[1:]
    assert len(set(moved)) == 7, "each move pushes"
    assert moved == sorted(moved)
    assert moved[0] > start


def test_the_traits_are_the_whole_state(page):
    """A second figure with the first one's traits is the same to the last digit, and goes on so."""
    mount(page, side=-1, seed=3)
    settle(page)
    press(page, COLLECT)
    for _ in range(5):
        press(page, "One frame")
    press(page, "Push left")
    kept = {name: trait(page, name) for name in CartPolePlay()._state}
    texts = [said(page, name) for name in ("cart", "return", "returns", "right")]
    press(page, "One frame")
    after = trait(page, "state")
    mount(page, **kept)
    settle(page)
    assert [said(page, name) for name in ("cart", "return", "returns", "right")] == texts
    press(page, "One frame")
    assert trait(page, "state") == after


@pytest.mark.parametrize(
    "bad",
    [
        {"length": -1.0}, {"gravity": "x"}, {"side": 3}, {"updates": 9}, {"state": [1.0]},
        {"updates": 31, **PLAIN}, {"start": "nobody"}, {"history": [[1.0] * 7] * 4},
        {"history": [[1.0]]}, {"_weights": b"\0" * 1800}, {"_weights": b"\0\0\xc0\x7f" * 1800},
    ],
)  # fmt: skip
def test_a_bad_state_is_one_sentence(page, bad):
    mount(page, **bad)
    text = page.locator("body").inner_text()
    assert text.strip().count("\n") < 4
    assert page.locator("[data-key=cart]").count() == 0 or not page.locator(
        "[data-key=cart]"
    ).is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_a_phone(page, scheme):
    page.emulate_media(color_scheme=scheme)
    mount(page, width=390)
    settle(page)
    press(page, COLLECT)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    options = {"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []
    assert re.search(r"return [\d.]+ of 500", page.locator("[data-say]").inner_text())


def test_moves_are_quick(page):
    """The moves themselves, without the episodes played afterwards."""
    for traits in ({"updates": 1}, {"updates": 30, **PLAIN}):
        mount(page, **traits)
        settle(page)
        mounting.check_quick(page, "gravity", 5, 20)


def test_in_the_built_page_from_the_disk_dark_on_a_phone(browser, html):
    """Load, one control, and a link that brings back every digit; nothing asked for elsewhere."""
    viewport = {"width": 390, "height": 800}
    with browser.new_context(color_scheme="dark", viewport=viewport) as context:
        page = context.new_page()
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: m.type == "error" and faults.append(m.text))
        page.on("request", lambda r: r.url.startswith("http") and faults.append(r.url))
        address = f"{html.as_uri()}/book/cartpole.html"
        page.goto(address)
        page.wait_for_function(IDLE)
        assert page.locator(".mf-figure").get_attribute("data-theme") == "dark"
        before = mean_return(page)
        press(page, COLLECT)
        assert mean_return(page) > 450 > before
        mounting.unfold(page)
        page.locator('[data-trait="keep"]').click()
        for _ in range(3):
            page.get_by_role("button", name="One frame", exact=True).click()
        page.get_by_role("button", name="Push left", exact=True).click()
        set_slider(page, "gravity", "ArrowRight", 3)
        names = ("cart", "return", "returns", "right", "balance")
        texts = [said(page, name) for name in names]
        page.get_by_role("button", name="Link to this state").click()
        linked = page.evaluate("location.href")
        assert linked.startswith(address + "#")
        again = context.new_page()
        again.goto(linked)
        again.wait_for_function(IDLE)
        assert [said(again, name) for name in names] == texts
        again.get_by_role("button", name="Reset").click()
        settle(again)
        assert step_of(again) == 0
        assert mean_return(again) == before
        damaged = context.new_page()
        damaged.goto(linked.replace("history", "hixtory"))
        damaged.wait_for_function(IDLE)
        assert mean_return(damaged) == before
        assert "damaged" in damaged.locator("[data-note]").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert faults == []


@pytest.mark.parametrize("missing", ["DOMPoint", "MutationObserver", "ResizeObserver",
                                     "structuredClone"])  # fmt: skip
def test_a_browser_that_lacks_something_is_told_so(browser, html, missing):
    """One sentence where the figure would be; the page around it works."""
    with browser.new_context() as context:
        page = context.new_page()
        faults = []
        page.on("pageerror", lambda error: faults.append(error.stack or ""))
        page.add_init_script(f"delete window.{missing}")
        page.goto(f"{html.as_uri()}/book/cartpole.html#below")
        sentence = page.locator(".mf-place")
        assert sentence.get_by_role("alert").inner_text() == (
            f"This figure cannot be drawn here: this browser has no {missing}."
        )
        assert sentence.inner_text().count("\n") == 0
        assert page.locator(".mf-figure").count() == 0
        assert page.get_by_text("A word.").is_visible()
        switch = page.locator("button.theme-switch-button").first
        before = page.evaluate("document.documentElement.dataset.mode")
        switch.click()
        assert page.evaluate("document.documentElement.dataset.mode") != before
        assert [fault for fault in faults if "/figures" in fault] == []
