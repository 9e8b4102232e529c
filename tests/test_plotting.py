"""Pictures: what is drawn is what was given, and what cannot be drawn is said."""

import math
import re
import warnings
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from metasgd_core import Evaluation, Trajectories, plotting
from metasgd_core.tasks import cartpole


@pytest.fixture
def ax():
    return Figure().subplots()


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()
            if not line.get_label().startswith("_")}


def evaluation(*means):
    """Return an evaluation over 20 tasks whose scores are 0.9 or 1.1 times the mean."""
    mean = torch.tensor(means, dtype=torch.float64)
    return Evaluation(torch.stack([0.9 * mean, 1.1 * mean] * 10, dim=-1))


def test_the_mean_and_its_interval_are_drawn_at_every_step(ax):
    ev = evaluation(4.0, 2.0, 1.0)
    plotting.plot_steps(ax, {"MAML": ev})
    line = lines(ax)["MAML"]
    assert line.get_xdata().tolist() == [0, 1, 2]
    assert line.get_ydata().tolist() == [4.0, 2.0, 1.0]
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    for step, mean, half in zip(range(3), ev.mean.tolist(), ev.ci95.tolist()):
        heights = corners[corners[:, 0] == step, 1]
        assert heights.max() == pytest.approx(mean + half)
        assert heights.min() == pytest.approx(mean - half)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("inner steps", "mean squared error")
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["MAML"]


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_means_that_diverged_are_marked_at_the_top_and_not_dropped(ax, bad):
    """Left out, a method that exploded at step 2 would look as if it had stopped at step 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plotting.plot_steps(ax, {"MAML": evaluation(4.0, 3.0, 2.5, 2.0),
                                 "Meta-SGD": evaluation(4.0, 0.7, bad, bad)})
    line = lines(ax)["Meta-SGD"]
    assert line.get_ydata().tolist() == [4.0, 0.7]
    (marks,) = (each for each in ax.get_lines() if each.get_marker() == "^")
    assert marks.get_xdata().tolist() == [2, 3]
    assert set(marks.get_ydata()) == {1.0}  # the top of the axes, in axes' own coordinates
    assert marks.get_transform() == ax.get_xaxis_transform()
    assert marks.get_color() == line.get_color()
    assert [text.get_text() for text in ax.texts] == ["diverged"]
    assert len(lines(ax)["MAML"].get_xdata()) == 4
    ax.figure.canvas.draw()  # and it can be rendered


def test_a_method_that_diverged_from_the_start_is_still_in_the_legend(ax):
    plotting.plot_steps(ax, {"Meta-SGD": evaluation(float("nan"), float("nan"))})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["Meta-SGD"]
    assert [text.get_text() for text in ax.texts] == ["diverged"]


def test_a_graph_joins_the_boxes_that_were_named(ax):
    """An arrow that ends in another box tells the reader that something else depends on alpha."""
    ax.set(xlim=(-1, 5), ylim=(0, 2))
    boxes = {"theta": (0, 1, "start"), "phi": (4, 1, "end")}
    plotting.draw_graph(ax, boxes, [("theta", "phi", "v", {"linestyle": "--"})])
    start, end, arrow, label = ax.texts
    assert [text.get_text() for text in (start, end, label)] == ["start", "end", "v"]
    assert label.get_position() == (2, 1)
    line = arrow.arrow_patch
    ax.figure.canvas.draw()
    assert (line.patchA, line.patchB) == (start.get_bbox_patch(), end.get_bbox_patch())
    assert line.get_linestyle() == "--"


def test_plot_steps_refuses_run_axes(ax):
    """A mean over runs and tasks at once would have an interval that means nothing."""
    with pytest.raises(ValueError, match=r"'MAML' has scores of shape \(2, 3, 5\); pass "
                                         r"evaluation\.run\(i\) or pool the runs"):
        plotting.plot_steps(ax, {"MAML": Evaluation(torch.zeros(2, 3, 5))})


def test_training_shows_the_mean_over_runs_and_the_span_of_all(ax):
    losses = torch.tensor([[4.0, 8.0], [2.0, 4.0]])
    plotting.plot_training(ax, [100, 200], {"Reptile": losses})
    line = lines(ax)["Reptile"]
    assert line.get_xdata().tolist() == [100, 200]
    assert line.get_ydata().tolist() == [6.0, 3.0]
    corners = ax.collections[0].get_paths()[0].vertices
    assert sorted(set(corners[corners[:, 0] == 100, 1])) == [4.0, 8.0]
    plotting.plot_training(ax, [100, 200], {"one run": losses[:, 0]})
    assert lines(ax)["one run"].get_ydata().tolist() == [4.0, 2.0]


def test_a_run_that_diverged_in_training_is_marked_where_it_was_lost(ax):
    """Its mean would be NaN, and matplotlib draws NaN as nothing at all."""
    losses = torch.tensor([[4.0, 8.0], [2.0, 4.0], [1.0, torch.nan], [1.0, torch.nan]])
    plotting.plot_training(ax, [1, 2, 3, 4], {"MAML": losses})
    assert lines(ax)["MAML"].get_xdata().tolist() == [1, 2]
    (marks,) = (each for each in ax.get_lines() if each.get_marker() == "^")
    assert marks.get_xdata().tolist() == [3]
    assert [text.get_text() for text in ax.texts] == ["diverged"]


def test_one_adaptation_shows_truth_support_and_each_method_in_its_colour(ax):
    x = torch.linspace(-5, 5, 9)[:, None]
    curves = {"MAML": x.sin(), "Meta-SGD": x.cos().requires_grad_()}
    plotting.plot_adaptation(ax, x, curves, truth=x**2, support=(x[:3], x[:3] + 1))
    drawn = lines(ax)
    assert set(drawn) == {"truth", "MAML", "Meta-SGD", "support"}
    for label, values in {**curves, "truth": x**2}.items():
        np.testing.assert_allclose(drawn[label].get_ydata(), values.detach().flatten(), rtol=1e-6)
    assert drawn["support"].get_ydata().tolist() == (x[:3] + 1).flatten().tolist()
    assert drawn["support"].get_linestyle() == "None"
    for label in curves:
        assert drawn[label].get_color() == plotting.METHOD_STYLES[label]["color"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")


def test_methods_differ_in_more_than_colour():
    """A colour-blind reader, or one with a grey printout, tells them apart by marker."""
    styles = plotting.METHOD_STYLES
    assert {"random", "joint", "MAML", "FOMAML", "Reptile", "Meta-SGD", "learned scalar",
            "learned per tensor", "Meta-SGD, lr 0.01", "Meta-Curvature"} == set(styles)
    assert len({style["marker"] for style in styles.values()}) == len(styles)
    assert len({style["color"] for style in styles.values()}) == len(plotting.PALETTE)
    assert {style["color"] for style in styles.values()} <= set(plotting.PALETTE.values())
    assert plotting.method_style("no method") == {}
    plotting.method_style("MAML")["color"] = "red"
    assert styles["MAML"]["color"] == plotting.PALETTE["blue"]


def test_the_books_style_has_large_type_and_the_books_colours():
    with mpl.rc_context():
        plotting.use_style()
        assert mpl.rcParams["font.size"] >= 12
        cycle = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
        assert set(cycle) <= set(plotting.PALETTE.values())
        assert len(set(cycle)) == len(cycle)


def test_pictures_know_the_same_cartpole_as_the_tasks():
    edge, lean = cartpole.LIMITS
    assert {"step": cartpole.STEP, "edge": edge, "lean": lean} == plotting._CARTPOLE


def test_a_cart_and_its_pole_are_drawn_to_scale(ax):
    lean = math.radians(10)
    for _ in range(2):  # the second drawing takes the place of the first
        plotting.draw_cartpole(ax, torch.tensor([-1.0, 9.0, lean, 9.0]), length=0.75)
    (cart,) = ax.patches
    assert cart.get_x() + cart.get_width() / 2 == pytest.approx(-1)
    pole = ax.get_lines()[-1].get_xydata()
    assert pole[0].tolist() == [-1, 0]
    np.testing.assert_allclose(pole[1] - pole[0], 1.5 * np.array([np.sin(lean), np.cos(lean)]))
    dashed = [line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert dashed == [-2.4, 2.4]  # where the track ends
    dotted = [line.get_xydata() for line in ax.get_lines() if line.get_linestyle() == ":"]
    for (x0, y0), (x1, y1) in dotted:  # where the pole has fallen
        assert abs(math.atan2(x1 - x0, y1 - y0)) == pytest.approx(math.radians(12))
    assert len(dotted) == 2
    assert ax.get_aspect() == 1
    assert "in m" in ax.get_xlabel()


def test_an_animation_stops_within_five_seconds_and_does_not_begin_again():
    """What goes on moving beside a text distracts, and nobody could stop it (WCAG 2.2.2)."""
    fall = torch.zeros(12, 4)
    fall[:, 2] = torch.linspace(0, 0.2, 12)
    data = plotting.animate_cartpole({"before": fall, "after": torch.zeros(500, 4)})
    assert len(data) < 250_000
    picture = Image.open(BytesIO(data))
    durations = []
    for number in range(picture.n_frames):
        picture.seek(number)
        durations.append(picture.info["duration"])
    assert picture.format == "PNG"
    assert picture.info["loop"] == 1  # 0 would be for ever
    assert sum(durations) <= 5000
    assert set(durations) == {100}  # five steps of 0.02 s: real time


def test_an_animation_shows_its_episodes_from_the_first_steps_to_the_last_one():
    lean = torch.zeros(12, 4)
    lean[:, 2] = torch.linspace(-0.2, 0.2, 12)
    picture = Image.open(BytesIO(plotting.animate_cartpole({"one": lean})))
    assert picture.n_frames == 3  # after 5, 10 and 12 steps
    seen = []
    red = np.array([int(plotting.PALETTE["vermilion"][i : i + 2], 16) for i in (1, 3, 5)])
    for number in range(3):
        picture.seek(number)
        colours = np.asarray(picture.convert("RGB")).astype(int)
        rows, columns = np.nonzero(np.abs(colours - red).sum(-1) < 40)
        top = columns[rows == rows.min()].mean()
        seen.append(top - columns[rows == rows.max()].mean())
    assert seen[0] < 0 < seen[1] < seen[2]  # left, right, farther right


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ax: plotting.draw_cartpole(ax, torch.zeros(3)), r"four numbers, got .*\(3,\)"),
        (lambda ax: plotting.animate_cartpole({}), r"\(steps, 4\); got none"),
        (lambda ax: plotting.animate_cartpole({"a": torch.zeros(4)}), r"got \{'a': \(4,\)\}"),
        (lambda ax: plotting.animate_cartpole({"a": torch.zeros(0, 4)}), r"'a': \(0, 4\)"),
    ],
)
def test_what_is_no_state_of_a_cartpole_is_not_drawn(ax, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(ax)


def test_a_path_ends_where_its_episode_does_and_the_goal_is_marked(ax):
    first, second = [[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]], [[0.0, 0.0], [0.0, 0.1], [9.0, 9.0]]
    position = torch.tensor([first, second])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    plotting.plot_paths(ax, Trajectories(position, position, mask.float(), mask), (0.3, -0.1))
    drawn = [np.stack(line.get_data(), -1).tolist() for line in ax.get_lines()]
    assert [len(path) for path in drawn] == [3, 1, 2, 1, 1]
    assert drawn[1] == pytest.approx(np.array([[0.2, 0.0]]))
    assert drawn[3] == pytest.approx(np.array([[0.0, 0.1]]))
    assert drawn[4] == [[0.3, -0.1]]


ROOT = Path(__file__).resolve().parents[1]
#: The colours of a style sheet that no picture has, by theme.
OWN = {
    "metasgd_core/widgets/shared/figure.css": {"light": {}, "dark": {}},
    "teach/decks/slides.css": {
        "light": {
            "#14304a": "a title", "#1259c3": "a link, as on the pages", "#b94f00": "a question",
            "#f1f5f9": "behind it", "#d5dbe2": "between the rows of a table",
        },
        "dark": {
            "#e8f1f8": "a title", "#8ab8f5": "a link", "#f39a5b": "a question",
            "#1d242d": "behind it", "#3a434e": "between the rows of a table",
            "#121212": "the slide itself, as the theme of the pages has it",
        },
    },
}


@pytest.mark.parametrize("name", OWN)
def test_a_style_sheet_has_the_colours_of_the_pictures(name):
    """They stand there once more: a changed palette must not leave them behind."""
    rules = re.findall(r"([^{}]*)\{([^{}]*)\}", (ROOT / name).read_text(encoding="utf-8"))
    for theme, own in OWN[name].items():
        found = {
            colour if len(colour) == 7 else "#" + "".join(digit * 2 for digit in colour[1:])
            for selector, body in rules if ('data-theme="dark"' in selector) is (theme == "dark")
            for colour in re.findall(r"#[0-9a-f]{3,6}\b", body.lower())
        }
        assert found - {colour.lower() for colour in plotting.THEMES[theme].values()} == set(own)
