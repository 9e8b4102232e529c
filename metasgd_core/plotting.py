"""Pictures: arrays in, a matplotlib ``Axes`` drawn on. The only module that imports matplotlib.

One palette serves the whole book (Okabe and Ito's, which stays apart for colour-blind readers),
and a method keeps its colour, marker and line style on every page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from metasgd_core.evaluation import Evaluation

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

#: What each method looks like everywhere in the book: colour, marker, line style.
#:
#: :meta hide-value:
METHOD_STYLES: dict[str, dict[str, str]] = {
    "random": {"color": PALETTE["grey"], "marker": "x", "linestyle": ":"},
    "joint": {"color": PALETTE["sky"], "marker": "v", "linestyle": ":"},
    "MAML": {"color": PALETTE["blue"], "marker": "o", "linestyle": "-"},
    "FOMAML": {"color": PALETTE["purple"], "marker": "s", "linestyle": "--"},
    "Reptile": {"color": PALETTE["green"], "marker": "^", "linestyle": "-."},
    "Meta-SGD": {"color": PALETTE["vermilion"], "marker": "D", "linestyle": "-"},
    "learned scalar": {"color": PALETTE["orange"], "marker": "<", "linestyle": "--"},
    "learned per tensor": {"color": PALETTE["black"], "marker": ">", "linestyle": "-."},
}


def use_style() -> None:
    """Set matplotlib's defaults for the book: large type, a quiet grid, sharp on a dense screen."""
    mpl.rcParams.update(
        {
            "figure.figsize": (6.0, 3.6),
            "figure.dpi": 100,
            "savefig.dpi": 160,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 12,
            "axes.titlesize": 12,
            "axes.labelsize": 12,
            "legend.fontsize": 10.5,
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
