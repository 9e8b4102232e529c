"""What the tests of the figures on sines share: one figure in an empty page, and a hand on it."""

import base64
import json

import torch
from axe_playwright_python.sync_playwright import Axe
from browsing import WCAG
from pace import in_page

from metasgd_core import Data, SineTasks, Sinusoid, adapt, per_task
from metasgd_core.rules import DESCENT

# A model as anywidget has it, in a page of its own.
MOUNT = """async ([source, state, bytes]) => {
    const values = { ...state }, heard = {};
    for (const [name, text] of Object.entries(bytes)) {
        values[name] = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    }
    const tell = (name) => (heard[name] ?? []).forEach((hear) => hear());
    window.model = {
        get: (name) => values[name], save_changes() {}, send() {}, off() {},
        linked: true,
        set(name, value) { values[name] = value; tell(`change:${name}`); tell("change"); },
        on(names, hear) { names.split(" ").forEach((n) => (heard[n] ??= []).push(hear)); },
    };
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const el = document.createElement("main");
    document.body.append(el);
    window.unmount = await (await import(address)).default.render({ model: window.model, el });
}"""


def mount(page, figure, **spoiled):
    """Draw a figure as it stands; `spoiled` traits reach the page instead of its own."""
    own = {name: getattr(figure, name) for name in figure.trait_names(sync=True)
           if name not in ("_esm", "_css", "layout")} | spoiled
    state = {name: value for name, value in own.items()
             if isinstance(value, (str, int, float, list, dict))}
    state = json.loads(json.dumps(state, sort_keys=True))  # as a stored notebook has it
    data = {name: base64.b64encode(value).decode()
            for name, value in own.items() if isinstance(value, bytes)}
    page.add_style_tag(content=figure._css)
    page.evaluate(MOUNT, [figure._esm, state, data])
    settle(page)
    return figure


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))")


def number(page, name):
    """Return what the figure says, folded away or not."""
    return page.locator(f'[data-readout="{name}"]').text_content()


def unfold(page):
    """Open all groups of controls, and of pictures."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    settle(page)


def goals(page):
    """Return the goals that are shown: those reached, with a tick, and the next."""
    return page.locator(".mf-goals li").all_inner_texts()


def get(page, trait):
    return page.evaluate("(name) => model.get(name)", trait)


def picture(page):
    """Return the drawing of all plots."""
    return page.evaluate("""() => [...document.querySelectorAll("main svg")]
        .map((svg) => svg.innerHTML).join("")""")


def by_torch(page, theta, alpha, rule=DESCENT):
    """Return the errors of a start before and after the steps, from the package, in float64."""
    theta, alpha = ({n: p.double() for n, p in part.items()} for part in (theta, alpha))
    points = torch.tensor(get(page, "points"), dtype=torch.float64)[None]
    x, y = points[..., :1], points[..., 1:]
    grid = torch.linspace(-5, 5, 61, dtype=torch.float64)[None, :, None]
    query = Data(x, y)
    if get(page, "on_curve"):
        task = SineTasks(*(torch.tensor([get(page, trait)], dtype=torch.float64)
                           for trait in ("amplitude", "frequency", "phase")))
        y, query = task(x), Data(grid, task(grid))
    family, start = Sinusoid(), per_task(theta, (1,))
    phi = adapt(family.loss, start, per_task(alpha, (1,)), Data(x, y), steps=get(page, "steps"),
                first_order=True, rule=rule)
    return [float(family.loss(p, query).detach()) for p in (start, phi)]


def handle(page, number):
    return page.locator(f'[data-key="point {number}"]')


def drag(page, number, across, up, how):
    """Move a support point by that many steps of the keyboard, or about as far by hand."""
    if how == "keyboard":
        handle(page, number).focus()
        for key, count in (("ArrowRight", across), ("ArrowUp", up)):
            for _ in range(count):
                page.keyboard.press(key)
        settle(page)
        return
    box = handle(page, number).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    path = [(x + 9 * across * i / 4, y - 6 * up * i / 4) for i in range(5)]
    if how == "mouse":
        page.mouse.move(*path[0])
        page.mouse.down()
        for place in path[1:]:
            page.mouse.move(*place)
        page.mouse.up()
    else:
        session = page.context.new_cdp_session(page)
        for kind, place in zip(["touchStart", *["touchMove"] * 4], path):
            points = [{"x": place[0], "y": place[1]}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(page)


# A slider goes to the k-th of a hundred places: handler, redraw and layout. No frame passes and no
# timer runs meanwhile, so nothing else of the page is counted.
MOVE = """([trait, low, high, k]) => {
    const { requestAnimationFrame, setTimeout } = window;
    const slider = document.querySelector(`input[type=range][data-trait="${trait}"]`);
    let redraw = () => {};
    window.requestAnimationFrame = (draw) => { redraw = draw; return 1; };
    window.setTimeout = () => 1;
    slider.value = low + (high - low) * ((37 * k) % 100) / 100;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    redraw();
    document.querySelector(".mf-plot > svg > g").getBBox();
    Object.assign(window, { requestAnimationFrame, setTimeout });
}"""


def check_quick(page, trait, low, high):
    """A move costs 10 ms in the median, and one of twenty more than 16: a frame.

    Of the processor time of a usual machine, whatever else this one does.
    """
    took = in_page(page, MOVE, [trait, low, high], times=100)
    print(f"{trait}: median {took[50]:.1f} ms, 95th percentile {took[95]:.1f} ms")
    assert took[50] <= 10, took
    assert took[95] <= 16, took


def raise_slider(page, trait, hand):
    """Move a slider up, with ten presses of a key or a click near its end."""
    slider = page.locator(f'input[type=range][data-trait="{trait}"]')
    if hand == "keyboard":
        slider.focus()
        for _ in range(10):
            page.keyboard.press("ArrowRight")
    else:
        box = slider.bounding_box()
        page.mouse.click(box["x"] + 0.95 * box["width"], box["y"] + box["height"] / 2)
    settle(page)


def check_accessible(page):
    """Axe finds nothing in the figure."""
    options = {"runOnly": {"type": "tag", "values": WCAG}, "preload": False}
    assert Axe().run(page, context=".mf-figure", options=options).response["violations"] == []
