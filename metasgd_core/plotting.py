"""Pictures: arrays in, a matplotlib ``Axes`` drawn on. Only this and the widgets import matplotlib.

One palette serves the whole book (Okabe and Ito's, which stays apart for colour-blind readers),
and a method keeps its colour, marker and line style on every page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from IPython.core.getipython import get_ipython
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib_inline.config import InlineBackend
from PIL import Image
from torch import Tensor

from metasgd_core.evaluation import Evaluation
from metasgd_core.methods import METHODS, Style
from metasgd_core.types import Trajectories

#: Okabe and Ito's palette, by the name of the colour.
#:
#: :meta hide-value:
PALETTE = {
    "black": "#222222",
    "grey": "#767676",
    "blue": "#0072B2",
    "sky": "#56B4E9",
    "green": "#009E73",
    "orange": "#E69F00",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}

#: The colours of live figures and of built pages by theme. On white a line needs a contrast of 3 to
#: 1: the three pale colours are darker there. On the dark card all have 4.5 to 1.
#:
#: :meta hide-value:
THEMES = {
    "light": {**PALETTE, "sky": "#2A93D1", "orange": "#C27C00", "purple": "#C46E9F",
              "text": PALETTE["black"], "grid": "#dddddd", "background": "#ffffff"},
    "dark": {**PALETTE, "blue": "#2A8AD0", "black": "#e8e8e8", "grey": "#9a9a9a", "text": "#e8e8e8",
             "grid": "#3a3f47", "background": "#14181e"},
}


def look(style: Style) -> dict[str, str]:
    """Return a style as matplotlib's `plot` takes it: colour, marker and line style."""
    return {"color": PALETTE[style.colour], "marker": style.marker, "linestyle": style.line}


#: What each method looks like everywhere in the book: colour, marker, line style.
#:
#: :meta hide-value:
METHOD_STYLES: dict[str, dict[str, str]] = {
    name: look(style)
    for name, style in (
        ("random", Style("grey", "x", ":")),
        *((method.name, method.style) for method in METHODS.values()),
        ("learned scalar", Style("orange", "<", "--")),
        ("learned per tensor", Style("black", ">", "-.")),
        # The palette has no more colours: these share one with a method that is seldom near.
        ("Meta-SGD, lr 0.01", Style("orange", "d", "--")),
        ("Meta-Curvature", Style("green", "P", "-")),
    )
    if style is not None
}


# A CartPole's seconds a step, the end of its track (m) and how far its pole may lean (rad). A test
# holds them to metasgd_core.tasks, which pictures do not import.
_CARTPOLE = {"step": 0.02, "edge": 2.4, "lean": 12 * 2 * math.pi / 360}


def use_style() -> None:
    """Set matplotlib's defaults for the book: large type, a quiet grid, sharp at any size.

    In a notebook pictures are stored as SVG, for pages and projectors, and as PNG, for GitHub.
    """
    mpl.rcParams.update(
        {
            "figure.figsize": (6.0, 3.6),
            "figure.dpi": 100,
            "savefig.dpi": 160,
            "svg.hashsalt": "metasgd",  # the same names in each run
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 12,
            "axes.titlesize": 12,
            "axes.labelsize": 12,
            "legend.fontsize": 12,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "lines.linewidth": 2.0,
            "lines.markersize": 5.5,
            "axes.prop_cycle": cycler(
                color=[PALETTE[name] for name in ("blue", "vermilion", "green", "orange", "purple",
                                                  "sky", "black")]
            ),
        }
    )
    if hasattr(shell := get_ipython(), "kernel"):
        InlineBackend.instance(parent=shell).figure_formats = {"png", "svg"}


def method_style(name: str) -> dict[str, Any]:
    """Return the colour, marker and line style of a method, or an empty dict for another name."""
    return dict(METHOD_STYLES.get(name, {}))


def _array(values: Tensor | Sequence[float] | np.ndarray) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=float)


def _mark_diverged(ax: Axes, x: np.ndarray, color: Any) -> None:
    """Mark values that are not finite at the top of the picture: an arrow each, and a word."""
    ax.plot(x, np.ones(len(x)), marker="^", linestyle="none", color=color,
            transform=ax.get_xaxis_transform(), clip_on=False)
    ax.annotate("diverged", (x[0], 1.0), xycoords=ax.get_xaxis_transform(), ha="center",
                textcoords="offset points", xytext=(0, 8), color=color)


def plot_adaptation(
    ax: Axes,
    x: Tensor,
    curves: Mapping[str, Tensor],
    *,
    truth: Tensor | None = None,
    support: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Draw one task: the true curve, the support points, and one prediction a method.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    x : Tensor
        ``(points,)`` or ``(points, 1)``, the inputs of every curve.
    curves : mapping of str to Tensor
        Label to predictions, ``(points,)`` or ``(points, 1)``. A label that is a method's name
        gets that method's colour and line style.
    truth : Tensor, optional
        The task's own curve at `x`.
    support : pair of Tensor, optional
        ``x`` and ``y`` of the support points.
    """
    inputs = _array(x).ravel()
    if truth is not None:
        ax.plot(inputs, _array(truth).ravel(), color=PALETTE["black"], linewidth=1.2, label="truth")
    for label, values in curves.items():
        style = {k: v for k, v in method_style(label).items() if k != "marker"}
        ax.plot(inputs, _array(values).ravel(), label=label, **style)
    if support is not None:
        points = [_array(part).ravel() for part in support]
        ax.plot(*points, "o", color=PALETTE["black"], zorder=5, label="support")
    ax.set(xlabel="x", ylabel="y")
    ax.legend()


def draw_graph(
    ax: Axes,
    boxes: Mapping[str, tuple[float, float, str]],
    arrows: Sequence[tuple[str, str, str, Mapping[str, Any]]],
) -> None:
    """Draw what is computed from what: a box for each quantity, an arrow for each dependence.

    Parameters
    ----------
    ax : Axes
        Where to draw; it loses its axes. Set its limits first.
    boxes : mapping of str to (float, float, str)
        By name: where its middle is, and what stands in it.
    arrows : sequence of (str, str, str, mapping)
        From which box to which, the label on the arrow (or ``""``), and what its line looks like,
        in the words of a ``FancyArrowPatch``.
    """
    ax.set_axis_off()
    frame = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": PALETTE["grey"]}
    drawn = {
        name: ax.text(x, y, text, ha="center", va="center", bbox=frame, zorder=3)
        for name, (x, y, text) in boxes.items()
    }
    for start, end, label, line in arrows:
        look = {"arrowstyle": "-|>", "color": PALETTE["black"], "mutation_scale": 15} | dict(line)
        ends = {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        places = boxes[start][:2], boxes[end][:2]
        ax.annotate("", places[1], places[0], arrowprops=look | ends | {"shrinkB": 1}, zorder=4)
        if label:
            x, y = np.mean(places, axis=0)
            ax.text(x, y, label, ha="center", va="center", color=look["color"], zorder=5,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0})


def plot_steps(ax: Axes, evaluations: Mapping[str, Evaluation]) -> None:
    """Draw the held-out score against the number of inner steps, with its 95 % interval.

    A mean that is not finite cannot be drawn on an axis. It is marked with an upward arrow at the
    top of the picture and the word "diverged", never left out in silence.

    Parameters
    ----------
    ax : Axes
        Where to draw. The vertical axis becomes logarithmic.
    evaluations : mapping of str to Evaluation
        Label to an evaluation of a single run, ``scores`` of shape ``(steps + 1, n_tasks)``.

    Raises
    ------
    ValueError
        If an evaluation still has run axes.
    """
    ax.set(xlabel="inner steps", ylabel="mean squared error", yscale="log")
    for label, evaluation in evaluations.items():
        if evaluation.scores.ndim != 2:
            raise ValueError(
                f"plot_steps draws one run a line, but {label!r} has scores of shape "
                f"{tuple(evaluation.scores.shape)}; pass evaluation.run(i) or pool the runs first"
            )
        mean, half = _array(evaluation.mean), _array(evaluation.ci95)
        steps, good = np.arange(len(mean)), np.isfinite(mean)
        style = method_style(label)
        (line,) = ax.plot(steps[good], mean[good], label=label, **({"marker": "o"} | style))
        low = np.maximum(mean - half, mean * 1e-2)
        ax.fill_between(steps[good], low[good], (mean + half)[good], color=line.get_color(),
                        alpha=0.18, linewidth=0)
        if not good.all():
            _mark_diverged(ax, steps[~good], line.get_color())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()


def plot_training(ax: Axes, iterations: Sequence[int], losses: Mapping[str, Tensor]) -> None:
    """Draw meta-losses against meta-iterations: a line for the mean over runs, a band for them all.

    Parameters
    ----------
    ax : Axes
        Where to draw. The vertical axis becomes logarithmic.
    iterations : sequence of int
        The iteration of each record.
    losses : mapping of str to Tensor
        Label to losses of shape ``(records,)`` or ``(records, runs)``. The band spans the lowest
        and the highest run. Where a run is not finite, the line ends in a mark that says so.
    """
    for label, values in losses.items():
        runs = _array(values).reshape(len(iterations), -1)
        good = np.isfinite(runs).all(axis=1)
        style = {k: v for k, v in method_style(label).items() if k != "marker"}
        drawn, alive = np.asarray(iterations)[good], runs[good]
        (line,) = ax.plot(drawn, alive.mean(axis=1), label=label, **style)
        ax.fill_between(drawn, alive.min(axis=1), alive.max(axis=1), color=line.get_color(),
                        alpha=0.18, linewidth=0)
        if not good.all():
            _mark_diverged(ax, np.asarray(iterations)[~good][:1], line.get_color())
    ax.set(xlabel="meta-iterations", ylabel="meta-loss", yscale="log")
    ax.legend()


def draw_cartpole(ax: Axes, state: Tensor | Sequence[float], *, length: float = 0.5) -> None:
    """Draw a cart with its pole, to scale: what was on the axes before goes.

    Dashed lines mark where the track ends, dotted ones how far the pole may lean.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    state : Tensor or sequence of float
        ``(4,)``: position (m), velocity (m/s), angle (rad, 0 is upright), angular velocity (rad/s).
    length : float
        Half the pole's length, in m, as the environments have it. The whole pole is drawn.

    Raises
    ------
    ValueError
        If the state is not four numbers.
    """
    given = _array(state)
    if given.shape != (4,):
        raise ValueError(f"a state is four numbers, got an array of shape {given.shape}")
    position, _, angle, _ = given
    edge, lean = _CARTPOLE["edge"], _CARTPOLE["lean"]
    width, height, pole = 0.5, 0.3, 2 * length
    ax.clear()
    ax.set(xlim=(-edge - 0.3, edge + 0.3), ylim=(-height, pole + 0.1), yticks=[], aspect="equal",
           xlabel="position of the cart in m")
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.axhline(-height / 2, color=PALETTE["grey"], linewidth=1, zorder=0)
    for side in (-1, 1):
        ax.axvline(side * edge, color=PALETTE["black"], linewidth=1.5, linestyle="--")
        ax.plot([position, position + side * pole * np.sin(lean)], [0, pole * np.cos(lean)],
                color=PALETTE["grey"], linewidth=1, linestyle=":")
    corner = (position - width / 2, -height)
    ax.add_patch(Rectangle(corner, width, height, color=PALETTE["blue"], linewidth=0))
    ax.plot([position, position + pole * np.sin(angle)], [0, pole * np.cos(angle)],
            color=PALETTE["vermilion"], linewidth=5, solid_capstyle="round")


def animate_cartpole(episodes: Mapping[str, Tensor], *, length: float = 0.5) -> bytes:
    """Return an animated PNG: the first five seconds of episodes, in real time, played once.

    ``IPython.display.Image(data)`` shows it. It neither goes on nor begins again after five
    seconds: what moves longer beside a text must have a button to stop it (WCAG 2.2, 2.2.2). An
    episode that ends before the others stands still at its last state, and says so.

    Parameters
    ----------
    episodes : mapping of str to Tensor
        Label to the states of an episode, ``(steps, 4)``; one panel each, from top to bottom.
    length : float
        Half the pole's length, in m.

    Returns
    -------
    bytes
        The PNG file. A viewer that knows no animations shows its first picture.

    Raises
    ------
    ValueError
        If there is no episode, or one is not ``(steps, 4)``.
    """
    states = {label: _array(episode) for label, episode in episodes.items()}
    if not states or any(s.ndim != 2 or s.shape[1] != 4 or not len(s) for s in states.values()):
        shapes = {label: s.shape for label, s in states.items()}
        raise ValueError(f"every episode must hold states, (steps, 4); got {shapes or 'none'}")
    each = 5  # steps from one picture to the next
    pause = round(1000 * each * _CARTPOLE["step"])  # in ms
    count = min(math.ceil(max(map(len, states.values())) / each), 5000 // pause)
    figure = Figure(figsize=(5.4, 1.9 * len(states)), dpi=80)
    canvas = FigureCanvasAgg(figure)  # no window, whatever backend is in use
    axes = figure.subplots(len(states), 1, squeeze=False)[:, 0]
    pictures: list[Image.Image] = []
    for number in range(count):
        for ax, (label, episode) in zip(axes, states.items(), strict=True):
            steps = min((number + 1) * each, len(episode))
            draw_cartpole(ax, episode[steps - 1], length=length)
            over = " and last" if steps == len(episode) else ""
            ax.set_title(f"{label}: step {steps}{over}")
        canvas.draw()
        figure.set_layout_engine("none")  # once is enough, and it takes most of the time
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        # All in the colours of the first: a picture then holds only what has changed.
        first = pictures[0] if pictures else picture.quantize(32, Image.Quantize.FASTOCTREE)
        pictures.append(picture.quantize(palette=first, dither=Image.Dither.NONE))
    file = BytesIO()
    pictures[0].save(file, "PNG", save_all=True, append_images=pictures[1:], optimize=True,
                     duration=pause, loop=1)  # once; 0 would be for ever
    return file.getvalue()


def plot_paths(ax: Axes, data: Trajectories, goal: Tensor | Sequence[float]) -> None:
    """Draw the episodes of one navigation task: their paths, where they end, and the goal.

    Parameters
    ----------
    ax : Axes
        Drawn on in place.
    data : Trajectories
        Of one task: leaves ``(episodes, steps, ...)``, in units of the plane.
    goal : Tensor or sequence
        Its two coordinates.
    """
    for positions, mask in zip(data.observation, data.mask):
        path = _array(positions[mask])
        ax.plot(path[:, 0], path[:, 1], color=PALETTE["blue"], linewidth=0.9, alpha=0.7)
        ax.plot(*path[-1], ".", color=PALETTE["blue"], markersize=5)
    ax.plot(*_array(goal), "*", color=PALETTE["vermilion"], markersize=11, zorder=3)
    ax.set(xlim=(-0.7, 0.7), ylim=(-0.7, 0.7), xticks=(-0.5, 0.5), yticks=(-0.5, 0.5))
    ax.set_aspect("equal")
