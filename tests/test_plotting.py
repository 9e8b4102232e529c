"""Pictures: what is drawn is what was given, and what cannot be drawn is said."""

import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from metasgd_core import Evaluation, plotting


@pytest.fixture
def ax():
    return Figure().subplots()


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()
            if not line.get_label().startswith("_")}


def evaluation(*means):
    """Return an evaluation over two tasks whose scores are 0.9 and 1.1 times the mean."""
    mean = torch.tensor(means, dtype=torch.float64)
    return Evaluation(torch.stack([0.9 * mean, 1.1 * mean], dim=-1))


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
            "learned per tensor"} == set(styles)
    for part in ("color", "marker"):
        assert len({style[part] for style in styles.values()}) == len(styles)
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
