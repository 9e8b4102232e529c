"""The figures in JupyterLab: a real server, a real kernel, and Chromium with the network shut."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from threading import Thread
from typing import Any, NamedTuple

import nbformat
import pytest
import torch
from conftest import ROOT
from jupyter_server.serverapp import list_running_servers
from patience import PATIENCE

from metasgd_core import widgets
from metasgd_core.widgets import sine
from metasgd_core.widgets.figure import Figure

pytestmark = pytest.mark.browser

# What is no figure of the page is a panel that trains: it has a test of its own.
NAMES = [name for name in widgets.__all__ if issubclass(getattr(widgets, name), Figure)]


class Line(NamedTuple):
    """What is done to one figure, and where it must show."""

    told: dict[str, Any]
    """Traits that Python sets."""
    shows: Callable[[Figure], dict[str, tuple[str, Any]]]
    """Read-outs that must follow: a pattern that finds the number, and the number by Python."""
    shape: str
    """The key of a shape that must move with them."""
    handle: str | None
    """What the mouse takes and pulls to the right and upwards, if there is anything."""
    pulled: tuple[str, int]
    """The number in Python that grows with it, and its place in what a screen reader hears."""
    slider: str | None
    """A trait with a slider, if there is one."""
    select: tuple[str, str, str] | None
    """A trait with a list, the letter that picks an entry, and that entry; None without a list."""
    bad: tuple[str, Any, str]
    """A trait, a value that it refuses, and what Python says."""


def numbers(pattern, text):
    """Return the numbers that the pattern's groups find in a text."""
    found = re.search(pattern, text)
    return [float(part.replace("−", "-")) for part in found.groups()] if found else []


def walked(figure):
    end = figure.walk()[-1]
    return {"distance": ("(.+)", pytest.approx([end.norm().item()], rel=5e-3))}


def off(figure, *network):
    """Return the error that a figure's network has on the whole curve after its inner steps."""
    x = torch.linspace(-5, 5, 61)[:, None]
    wrong = figure.predictions(x, figure.steps, *network) - figure.curve()(x[None])[0]
    return "(.+)", pytest.approx([wrong.square().mean().item()], rel=5e-3)


def adapted(figure):
    theta_alpha = {name: sine.starts()[name][:2] for name in (figure.left, figure.right)}
    return {
        "left after": off(figure, *theta_alpha[figure.left]),
        "right after": off(figure, *theta_alpha[figure.right]),
    }


def carried(figure):
    x = torch.linspace(-5, 5, 61, dtype=torch.float64)
    truth = figure.truth(x[None, :, None])[0, :, 0]
    errors = {name: (curve - truth).square().mean().item()
              for name, (curve, _) in figure.predictions(x).items()}
    return {
        name.replace("-", ""): ("(.+)", pytest.approx([e], rel=6e-3))
        for name, e in errors.items()
    }


def attended(figure):
    x = torch.tensor(figure.points[figure.chosen : figure.chosen + 1], dtype=torch.float64)
    weight, residual = float(figure.weights(x)), float(figure.residuals()[figure.chosen])
    return {
        "weight": ("(.+)", pytest.approx([weight], abs=5.1e-4)),
        "added": ("(.+)", pytest.approx([weight * residual], abs=5.1e-4)),
    }


def walked_once(figure):
    told = figure.told()
    return {
        "width": ("(.+)", pytest.approx([float(told.width)], abs=5.1e-4)),
        "mean": ("−(.+)", pytest.approx([-float(told.returns[:-1].mean())], abs=0.051)),
    }


def learned(figure):
    arm = figure.chosen()
    mean = arm.test[:, 1].mean().item()
    return {
        "after": off(figure, *arm.leaves()),
        "test": (r"([\d.]+) ±", pytest.approx([mean], abs=6e-4)),
    }


def missed(figure):
    return {name: ("(.+)", pytest.approx([error], abs=0.0101))
            for name, error in figure.errors().items() if name in ("formula", "after")}  # fmt: skip


def stepped(figure):
    return {"phi": ("(.+)", pytest.approx(figure.numbers()["phi"].tolist(), abs=5.1e-3))}


def told(figure):
    chances = figure.chances()["Meta-SGD"]
    return {
        "MetaSGD": ("(.+)", pytest.approx([int(chances.argmax()) + 1])),
        "share": ("(.+)", pytest.approx([100 * chances.max().item()], abs=0.501)),
    }


def guessed(figure):
    game = figure.game()
    return {"hits": ("(.+)", pytest.approx([sum(game.hits(game.guesses))]))}


def balanced(figure):
    place, _, angle, _ = figure.state
    return {
        "cart": (
            r"position \+([\d.]+) m.*angle \+([\d.]+)°",
            pytest.approx([place, math.degrees(angle)], abs=0.051),
        ),
        # After one step on ten episodes of its own it holds the pole on the side that pays.
        "return": ("([0-9.]+)", pytest.approx([475], abs=25)),
    }


LINES = {
    "Valley": Line(
        told={"alpha": 0.02, "steps": 30}, shows=walked, shape="walk",
        handle=".mf-handle", pulled=("start[0]", 0), slider="alpha",
        select=("optimizer", "m", "momentum"),
        bad=("alpha", -1.0, "alpha must be from 0.001 to 10, got -1.0"),
    ),
    "AdaptSine": Line(
        told={"amplitude": 2.0, "steps": 3}, shows=adapted, shape="right",
        handle=".mf-handle >> nth=0", pulled=("points[0][0]", 0), slider="phase",
        select=("left", "j", "joint"),
        bad=("steps", 11, "steps must be from 0 to 10, got 11"),
    ),
    "AlphaLab": Line(
        told={"shape": "tensor", "start": "0.1", "steps": 2}, shows=learned, shape="chosen",
        handle=".mf-handle >> nth=0", pulled=("points[0][0]", 0), slider="phase",
        select=("shape", "o", "tensor"),
        bad=("amplitude", math.nan, "amplitude must be from 0.1 to 6, got nan"),
    ),
    "StepGraph": Line(
        told={"stage": 3, "theta_1": 2.0}, shows=stepped, shape="phi box",
        handle=None, pulled=("stage", 0), slider="theta_1",
        select=("parameters", "t", "two"),
        bad=("stage", 9, "stage must be from 0 to 8, got 9"),
    ),
    "StepKernel": Line(
        told={"amplitude": 2.0, "chosen": 0}, shows=carried, shape="best",
        handle=".mf-handle >> nth=0", pulled=("points[0]", 0), slider="phase", select=None,
        bad=("phase", 4.0, "phase must be from 0 to 3.14, got 4.0"),
    ),
    "PatientCurve": Line(
        told={"level_2": 5.0, "slip": True}, shows=missed, shape="formula",
        handle=".mf-handle >> nth=0", pulled=("hour_1", 0), slider="level_2",
        select=("patient", "3", "3"),
        bad=("level_1", 16.0, "level_1 must be from 0 to 15, got 16.0"),
    ),
    "AttentionStep": Line(
        told={"amplitude": 2.0, "chosen": 0}, shows=attended, shape="step",
        handle='.mf-handle[data-key="query"]', pulled=("query", 0), slider="phase",
        select=("rates", "a", "a rate an entry"),
        bad=("query", 6.0, "query must be from -5 to 5, got 6.0"),
    ),
    "TwentyWalks": Line(
        told={"pull": 0.2, "goal": [0.3, -0.1]}, shows=walked_once, shape="after",
        handle=".mf-handle", pulled=("goal[0]", 0), slider="noise",
        select=("reward", "i", "squared"),
        bad=("pull", 0.0, "pull must be from 0.02 to 0.8, got 0.0"),
    ),
    "DrawCharacter": Line(
        told={"pads": ["#0", "#4", "#8", "#12", "#24", "4040c0c0 c04040c0"]}, shows=told,
        shape="pad 5", handle=None, pulled=("seed", 0), slider=None,
        select=("mode", "p", "game"),
        bad=("seed", -1, "seed must be from 0 to 2147483647, got -1"),
    ),
    "BeatTheGuesser": Line(
        told={"moves": "HTTH"}, shows=guessed, shape="guesser",
        handle=None, pulled=("moves[0]", 0), slider=None, select=("player", "a", "coin"),
        bad=("moves", "X", "moves must be letters H and T, at most 400, got 'X'"),
    ),
    "CartPolePlay": Line(
        told={"state": [1.0, 0.0, 0.05, 0.0], "updates": 1}, shows=balanced, shape="cart",
        handle="[data-key=cart]", pulled=("state[1]", 1), slider="gravity",
        select=("start", "j", "joint"),
        bad=("length", 0.0, "length must be from 0.1 to 4, got 0.0"),
    ),
}  # fmt: skip

RUN_ALL = """async () => {
    await jupyterapp.restored;
    await jupyterapp.shell.currentWidget.sessionContext.ready;
    await jupyterapp.commands.execute("notebook:run-all-cells");
}"""
PYTHON = """async (code) => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const asked = kernel.requestExecute({ code, store_history: false });
    let said = "";
    asked.onIOPub = ({ header, content }) => {
        if (header.msg_type === "stream") said += content.text;
        if (header.msg_type === "error") said += `${content.ename}: ${content.evalue}`;
    };
    const late = "the kernel does not answer";
    const limit = new Promise((_, no) => setTimeout(no, PATIENCE, new Error(late)));
    await Promise.race([asked.done, limit]);
    return said;
}""".replace("PATIENCE", str(PATIENCE * 1000))
# All the numbers of a view and all its shapes, when they have come to rest. JupyterLab lays out no
# cell that is scrolled away.
SEEN = """(view) => new Promise((done) => {
    view.scrollIntoView({ block: "nearest" });
    const limit = performance.now() + PATIENCE;
    const seen = () => JSON.stringify([
        [...view.querySelectorAll("[data-readout], [data-number]")]
            .map((e) => [e.dataset.readout ?? e.dataset.number, e.value ?? e.textContent]),
        [...view.querySelectorAll("[data-key]")].map((e) => [e.dataset.key, e.outerHTML]),
    ]).replace(/mf-\\d+-/g, "");
    const wait = (last) => requestAnimationFrame(() => requestAnimationFrame(() => {
        const now = seen(), busy = view.querySelector(".mf-figure").ariaBusy === "true";
        const rests = now === last && !busy;
        if (rests || performance.now() > limit) done(JSON.parse(now)); else wait(now);
    }));
    wait("");
})""".replace("PATIENCE", str(PATIENCE * 1000))
OWN = "(labels) => labels.map((label) => label.parentNode.contains(label.control))"
# The labels of read-outs whose words reach into the value.
OVER = """(labels) => labels.filter((label) => {
    const words = document.createRange();
    words.selectNodeContents(label);
    const { right } = words.getBoundingClientRect();
    return right > label.nextSibling.getBoundingClientRect().left + 1;
}).map((label) => label.textContent)"""


class Lab:
    """A notebook in JupyterLab, with two views of one figure of each kind."""

    def __init__(self, page, path):
        self.page, self.path, self.faults, self.first = page, path, [], {}

    def python(self, code):
        return self.page.evaluate(PYTHON, code)

    def command(self, name, **arguments):
        self.page.evaluate("([name, args]) => jupyterapp.commands.execute(name, args)",
                           [name, arguments])  # fmt: skip

    def theme(self, name):
        """Switch the theme as the menu does; for a moment JupyterLab covers the page."""
        self.command("apputils:change-theme", theme=f"JupyterLab {name}")
        body = self.page.locator(f'body[data-jp-theme-name="JupyterLab {name}"]')
        body.wait_for(state="attached")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def cell(self):
        """The number of the active cell, and whether it is being edited."""
        return self.page.evaluate("""() => {
            const { activeCellIndex, mode } = jupyterapp.shell.currentWidget.content;
            return [activeCellIndex, mode, jupyterapp.shell.currentWidget.model.cells.length];
        }""")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A JupyterLab with no settings of the reader's, and the folder that it shows."""
    own = tmp_path_factory.mktemp("jupyter")
    settings = own / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    (own / "shown").mkdir()
    (own / "kernel").mkdir()
    places = {f"JUPYTER_{name.upper()}_DIR": own / name for name in ("config", "data", "runtime")}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={own / 'shown'}",
        "--expose-app-in-browser",
    ]  # fmt: skip
    environment = {**os.environ, **places, "IPYTHONDIR": own / "kernel", "PYTHONPATH": ROOT}
    with (own / "log").open("wb") as log, subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            said = []
            while b"is running at" not in (line := process.stdout.readline()):
                said.append(line.decode())
                assert line, "".join(said)
            # Nobody else reads on, and a full pipe would stop it.
            Thread(target=shutil.copyfileobj, args=(process.stdout, log), daemon=True).start()
            # It says so a moment before it writes where it is.
            while not (running := next(list_running_servers(str(own / "runtime")), None)):
                assert process.poll() is None
            yield running, own / "shown"
        finally:
            process.terminate()  # it ends its kernels first
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()  # a kernel that has lost its parent ends by itself


@pytest.fixture(scope="module")
def lab(browser, server):
    """The notebook, open and run."""
    running, folder = server
    begin = "from math import nan\n\nimport torch\nfrom metasgd_core import widgets\n\n"
    sources = [f"{begin}torch.set_num_threads(1)\nfigures = {{}}"]
    for name in NAMES:
        one = f'figures["{name}"]'
        sources += [f"{one} = widgets.{name}()\n{one}", one]
    sources.append("live = widgets.LiveLab()\nlive")
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, sources)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "figures.ipynb")
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        lab = Lab(page, folder / "figures.ipynb")
        allowed = (running["url"], "data:", "blob:")
        page.on("request", lambda r: r.url.startswith(allowed) or lab.faults.append(r.url))
        page.on("console", lambda m: m.type == "error" and lab.faults.append(m.text))
        page.on("pageerror", lambda error: lab.faults.append(error.stack))
        page.goto(f"{running['url']}lab/tree/figures.ipynb?token={running['token']}")
        page.locator(".jp-Notebook").wait_for()
        page.evaluate(RUN_ALL)
        yield lab


class Shown:
    """One figure in its two views."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.fresh, self.line = getattr(widgets, name)(), LINES[name]
        cells = lab.page.locator(".jp-Notebook-cell")
        first = 1 + 2 * NAMES.index(name)
        self.views = [cells.nth(first + k).locator(".jp-OutputArea-output") for k in range(2)]

    def trait(self, name):
        """Return a trait, or a part of one, as Python has it."""
        return json.loads(self.lab.python(
            f'import json; print(json.dumps(figures["{self.name}"].{name}))'
        ))  # fmt: skip

    def tell(self, **traits):
        """Set traits in Python, and return what it says."""
        lines = "".join(f"    figure.{name} = {value!r}\n" for name, value in traits.items())
        return self.lab.python(
            f'figure = figures["{self.name}"]\nwith figure.hold_sync():\n{lines}'
        )

    def seen(self, view=0):
        """Return the numbers and the shapes of a view."""
        numbers, shapes = self.views[view].evaluate(SEEN)
        return dict(numbers), dict(shapes)

    def until(self, ask, wanted):
        """Ask until the answer is as wanted: a message takes its way."""
        limit = time.monotonic() + PATIENCE
        while (answer := ask()) != wanted and time.monotonic() < limit:
            pass
        assert answer == wanted
        return answer

    def control(self, trait, view=0):
        return self.views[view].locator(f'.mf-row [data-trait="{trait}"]')

    def button(self, label, view=0):
        return self.views[view].get_by_role("button", name=label)

    def spoken(self):
        """Return the number of the handle's place that a drag changes, as it is spoken."""
        text = self.views[0].locator(self.line.handle).get_attribute("aria-valuetext")
        found = re.findall(r"[-−]?[\d.]+(?:e[-+]?\d+)?", text)
        return float(found[self.line.pulled[1]].replace("−", "-"))


#: Opens all groups of controls, and of pictures.
UNFOLD = "view => view.querySelectorAll('details').forEach((one) => { one.open = true; })"


@pytest.fixture(params=NAMES)
def figure(request, lab):
    """A figure as it begins, in both views; and nothing may have gone wrong at the end."""
    if request.param not in LINES:
        pytest.fail(f"{request.param} is not tried in JupyterLab: give it a line in LINES")
    shown = Shown(lab, request.param)
    for view in shown.views:
        view.locator("[data-ready]").wait_for(state="attached")
    said = shown.tell(**{name: getattr(shown.fresh, name) for name in shown.fresh._state})
    assert said == ""
    if shown.name not in lab.first:
        lab.first[shown.name] = shown.seen()
    for view in range(2):
        shown.until(lambda view=view: shown.seen(view), lab.first[shown.name])
        shown.views[view].evaluate(UNFOLD)
    yield shown
    faults, lab.faults = lab.faults, []
    assert faults == []


def test_it_is_there_in_both_views(figure):
    """A notebook's address holds no state, so the button that would put it there is missing."""
    for view in range(2):
        assert figure.views[view].locator(".mf-title").is_visible()
        assert figure.button("Reset", view).count() == 1
        assert figure.button("Link to this state", view).count() == 0
        labels = figure.views[view].locator("label").evaluate_all(OWN)
        assert labels, "there is something to set"
        assert all(labels), "a label belongs to the control of another figure"
        over = figure.views[view].locator(".mf-readouts dt").evaluate_all(OVER)
        assert over == [], "JupyterLab's own style for lists lays values over their labels"
    assert figure.trait("_state") == figure.fresh._state


def test_python_moves_the_picture_and_its_numbers(figure):
    first, shapes = figure.seen()
    after = figure.line.shows(type(figure.fresh)(**figure.line.told))
    for name, (pattern, value) in after.items():
        assert numbers(pattern, first.get(name, "")) != value, "the test would see nothing"
    assert figure.tell(**figure.line.told) == ""
    for name, (pattern, value) in after.items():
        for view in range(2):
            figure.until(lambda: numbers(pattern, figure.seen(view)[0].get(name, "")), value)  # noqa: B023
    assert figure.seen()[1][figure.line.shape] != shapes[figure.line.shape]


def test_a_drag_reaches_python(figure):
    if figure.line.handle is None:
        pytest.skip("nothing in it is dragged")
    expression, _ = figure.line.pulled
    before = figure.spoken()
    handle, mouse = figure.views[0].locator(figure.line.handle), figure.lab.page.mouse
    handle.hover()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + 40, y - 20, steps=5)
    mouse.up()
    shown = figure.seen()
    assert figure.spoken() > before
    if ".mf-handle" in figure.line.handle:  # the cart takes a push instead, and rolls later
        assert handle.bounding_box()["x"] == pytest.approx(box["x"] + 40, abs=1.5)
    figure.until(lambda: figure.trait(expression), pytest.approx(figure.spoken(), abs=6e-3))
    figure.until(lambda: figure.seen(1), shown)


def test_a_slider_moves_by_arrow_keys(figure):
    """JupyterLab has shortcuts on the arrow keys: it must leave them to the slider."""
    if figure.line.slider is None:
        pytest.skip("it has no slider")
    trait, press = figure.line.slider, figure.lab.page.keyboard.press
    before = figure.trait(trait)
    figure.control(trait, view=1).focus()
    cell = figure.lab.cell()
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowUp"):
        press(key)
    shown = figure.seen(1)
    [value] = numbers(r"([-\d.]+)", shown[0][trait])
    assert value > before
    figure.until(lambda: figure.trait(trait), pytest.approx(value, rel=5e-3))
    figure.until(figure.seen, shown)
    assert figure.lab.cell() == cell


def test_lists_and_buttons_keep_their_keys(figure):
    """A letter in a list picks an entry, Enter presses a button: neither is for the notebook."""
    if figure.line.select is None:
        pytest.skip("it has no list")
    trait, letter, entry = figure.line.select
    first, press = figure.seen(), figure.lab.page.keyboard.press
    figure.control(trait).focus()
    cell = figure.lab.cell()
    press(letter)
    figure.until(lambda: figure.trait(trait), entry)
    figure.button("Reset").focus()
    press("Enter")
    figure.until(lambda: figure.trait(trait), getattr(figure.fresh, trait))
    figure.until(figure.seen, first)
    assert figure.lab.cell() == cell


def test_reset_brings_everything_back(figure):
    first, state = figure.seen(), {name: figure.trait(name) for name in figure.fresh._state}
    assert figure.tell(**figure.line.told) == ""
    figure.until(lambda: figure.seen() == first, False)
    figure.button("Reset").click()
    for view in range(2):
        figure.until(lambda: figure.seen(view), first)  # noqa: B023
    figure.until(lambda: {name: figure.trait(name) for name in state}, state)


def test_a_bad_value_is_one_sentence_in_python(figure):
    trait, value, sentence = figure.line.bad
    first = figure.seen()
    assert figure.tell(**{trait: value}) == f"TraitError: {sentence}"
    assert figure.trait(trait) == getattr(figure.fresh, trait)
    assert figure.seen() == first
    assert figure.tell(**figure.line.told) == ""
    figure.until(lambda: figure.seen() == first, False)


def test_the_theme_is_followed(lab):
    """JupyterLab's own switch, while the notebook is open: all frames and lines change."""
    shown = [Shown(lab, name) for name in NAMES]

    def frame(figure):
        background = "(e) => getComputedStyle(e).backgroundColor"
        return figure.views[0].locator(".mf-figure").evaluate(background)

    light = [(frame(figure), figure.seen()[1]) for figure in shown]
    try:
        lab.theme("Dark")
        for figure, (background, shapes) in zip(shown, light, strict=True):
            root = figure.views[0].locator(".mf-figure")
            figure.until(lambda root=root: root.get_attribute("data-theme"), "dark")
            assert frame(figure) != background
            assert figure.seen()[1] != shapes
    finally:
        lab.theme("Light")
    for figure, (background, shapes) in zip(shown, light, strict=True):
        figure.until(lambda figure=figure: figure.seen()[1], shapes)
        assert frame(figure) == background
    faults, lab.faults = lab.faults, []
    assert faults == []


def test_the_saved_notebook_has_a_picture(figure):
    """GitHub shows the PNG, and no address of a Python object stands beside it."""
    figure.lab.command("docmanager:save")
    cell = nbformat.read(figure.lab.path, as_version=4).cells[1 + 2 * NAMES.index(figure.name)]
    [output] = cell.outputs
    assert output.data["text/plain"] == f"{figure.name}()"
    assert b64decode(output.data["image/png"]).startswith(b"\x89PNG")


def test_the_live_lab_trains_and_stops(lab):
    """A stopped training leaves its network, and a figure that goes on adapting it."""
    panel = lab.page.locator(".jp-Notebook-cell").last
    panel.get_by_text("Nothing trained yet.").wait_for()
    panel.get_by_role("button", name="Train").click()
    panel.locator("[data-ready]").wait_for()
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_text(re.compile(r"^Stopped after \d+ meta-iterations: error")).wait_for()
    done = int(lab.python("print(live.record.iteration)"))
    assert 0 < done < 2000
    assert panel.get_by_text(f"Stopped after {done} ").count() == 1
    assert panel.get_by_role("button", name="Train").is_enabled()
    panel.locator('[data-readout="test"]', has_text="(5 seeds)").wait_for()
    assert lab.python("live.figure.steps = 3") == ""
    panel.evaluate(UNFOLD)
    panel.get_by_text(re.compile(r"3 steps: error")).first.wait_for()
    assert lab.faults == []
