"""The graph of a step: what one meta-step computes from what, and what flows back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from torch import Tensor

from metasgd_core.adaptation import adapt
from metasgd_core.methods import METHODS
from metasgd_core.plotting import METHOD_STYLES, PALETTE
from metasgd_core.types import Params
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, met, png, within
from metasgd_core.widgets.words import WORDS, fill

_WORDS = WORDS["stepgraph"]
_GIVEN = CONSTANTS["stepgraph"]
RANGES, STAGES, TASKS = _GIVEN["ranges"], _GIVEN["stages"], _GIVEN["tasks"]
NAMES = ("MAML", "FOMAML", "Reptile", "Meta-SGD")


def points(kind: str, part: str) -> tuple[Tensor, Tensor]:
    """Return the points of a task: what theta is multiplied with, ``(shots, entries)``, and y."""
    rows = torch.tensor(TASKS[kind][part], dtype=torch.float64)
    return rows[:, :-1], rows[:, -1]


def loss(phi: Params, data: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean squared error of one task, a scalar."""
    x, y = data
    return (x @ phi["theta"] - y).square().mean()


class StepGraph(Figure):
    """The computation graph of one meta-step, with real numbers on it, forward and backward.

    ``from metasgd_core.widgets import StepGraph``; then ``StepGraph()`` where MAML is introduced
    (chapter 4), ``StepGraph(method="FOMAML")`` for chapter 5 and ``StepGraph(method="Meta-SGD")``
    for chapter 6: the list of methods and the goals follow, up to what the reader has met.

    The model is linear, the loss the mean squared error: with one parameter the prediction is
    ``theta x``, with two ``theta_1 x + theta_2``. All numbers are those of one inner step.

    Parameters
    ----------
    method : {"MAML", "FOMAML", "Reptile", "Meta-SGD"}
        Whose meta-step: which edges are cut. Reptile takes one inner step here, on the support
        points.
    methods : sequence of str, optional
        What there is to choose from; by default the methods met up to the chapter of `method`.
    parameters : {"one", "two"}
        The task.
    stage : int
        How far the reader has gone: 0 to 4 forward, 5 to 8 backward.
    theta_1, theta_2 : float
        Theta, from -2 to 3; `theta_2` only with two parameters.
    alpha_1, alpha_2 : float
        The rates, from 0 to 1. Only Meta-SGD with two parameters uses both.
    """

    sources = ("shared/words.js", "shared/frame.js", "shared/draw.js", "stepgraph.js")
    _figure_id = "step-graph"

    method = traitlets.Enum(NAMES, "MAML").tag(sync=True)
    parameters = traitlets.Enum(tuple(TASKS), "one").tag(sync=True)
    stage = traitlets.Int(0).tag(sync=True)
    theta_1 = traitlets.Float(1.0).tag(sync=True)
    theta_2 = traitlets.Float(0.0).tag(sync=True)
    alpha_1 = traitlets.Float(0.1).tag(sync=True)
    alpha_2 = traitlets.Float(0.1).tag(sync=True)
    _methods: traitlets.List[str] = traitlets.List(traitlets.Enum(NAMES)).tag(sync=True)

    def __init__(self, *, methods: Sequence[str] | None = None, **traits: Any) -> None:
        self._given = methods
        method = traits.get("method", "MAML")
        known = methods or (met(method) if method in NAMES else NAMES)
        super().__init__(_methods=[name for name in NAMES if name in known], **traits)

    _in_range = within({"stage": (0, STAGES), **RANGES})

    @traitlets.validate("method")
    def _check_method(self, proposal: Any) -> str:
        if proposal["value"] not in self._methods:
            raise traitlets.TraitError(
                f"method must be one of {', '.join(self._methods)}, got {proposal['value']!r}"
            )
        return str(proposal["value"])

    def arguments(self) -> dict[str, Any]:
        """Return the keywords that make this figure again."""
        given = {} if self._given is None else {"methods": list(self._given)}
        return {**given, **super().arguments()}

    def numbers(self) -> dict[str, Tensor]:
        """Return what the figure shows, by torch, in double precision.

        ``theta``, ``alpha``, ``support``, ``gradient``, ``phi``, ``query`` and ``distance`` on the
        way forward; on the way back ``arrive`` (at phi), ``straight`` and ``through`` (the two
        parts for theta), ``rates`` (for alpha) and ``total`` (for theta).
        """
        count = 1 if self.parameters == "one" else 2
        each = self.method == "Meta-SGD"
        theta = torch.tensor([self.theta_1, self.theta_2][:count], dtype=torch.float64)
        alpha = torch.tensor([self.alpha_1, self.alpha_2][: count if each else 1],
                             dtype=torch.float64)
        theta.requires_grad_(), alpha.requires_grad_()
        support, query = (points(self.parameters, part) for part in ("support", "query"))

        def back(of: Tensor, *by: Tensor) -> tuple[Tensor, ...]:
            return torch.autograd.grad(of, by, retain_graph=True)

        def step(first_order: bool) -> Tensor:
            rates = {"theta": alpha if each else alpha.expand(count)}
            return adapt(loss, {"theta": theta}, rates, support, first_order=first_order)["theta"]

        phi = step(first_order=False)
        first, last = loss({"theta": theta}, support), loss({"theta": phi}, query)
        distance = (theta - phi.detach()).square().sum() / 2
        arrive, (exact, rates) = back(last, phi)[0], back(last, theta, alpha)
        straight = arrive
        if self.method == "Reptile":
            (straight,) = (total,) = back(distance, theta)
        else:
            first_order = METHODS[self.method].first_order
            (total,) = back(loss({"theta": step(first_order)}, query), theta)
        found = {
            "theta": theta, "alpha": alpha, "support": first[None],
            "gradient": back(first, theta)[0], "phi": phi, "query": last[None],
            "distance": distance[None], "arrive": arrive, "straight": straight,
            "through": exact - arrive, "rates": rates, "total": total,
        }
        return {name: value.detach() for name, value in found.items()}

    def picture(self) -> bytes:
        """Return the whole graph as a PNG, all numbers on it and the edges that are cut."""
        picture = Picture(figsize=(6.0, 5.0), dpi=100, facecolor="white", layout="constrained")
        ax = picture.subplots()
        ax.set(xlim=(0, 100), ylim=(0, 100),
               title=fill(WORDS["pictures"]["stepgraph"]["title"][self.parameters],
                          method=self.method))
        ax.axis("off")
        self._draw(ax)
        return png(picture)

    def _draw(self, ax: Axes) -> None:
        numbers, reptile = self.numbers(), self.method == "Reptile"
        learned, exact = self.method == "Meta-SGD", self.method in ("MAML", "Meta-SGD")
        colour = METHOD_STYLES[self.method]["color"]

        def said(name: str) -> str:
            text = [f"{value:.2f}".replace("-", "−") for value in numbers[name].tolist()]
            return text[0] if len(text) == 1 else f"({', '.join(text)})"

        def way(corners: list[tuple[float, float]], flow: str | None = None, *,
                back: bool = False, at: tuple[float, float] = (0, 0),
                closed: str = _WORDS["cut"]) -> None:
            cut = back and flow is None
            look: dict[str, Any] = {
                "color": PALETTE["grey"] if cut else colour if back else PALETTE["black"],
                "linestyle": ":" if cut else "-", "linewidth": 2.2 if back else 1.0,
            }
            ax.plot(*zip(*corners), **look)
            ax.annotate("", corners[-1], corners[-2],
                        arrowprops={"arrowstyle": "->", "color": look["color"]})
            if cut:
                (a, b), (c, d) = corners[:2]
                ax.plot((a + c) / 2, (b + d) / 2, "x", color=PALETTE["black"], markersize=10)
            if at != (0, 0):
                ax.text(*at, closed if cut else said(flow or ""), va="center",
                        color=PALETTE["black"] if cut else colour)

        way([(42, 88), (42, 78)])
        way([(42, 66), (42, 56)])
        way([(42, 44), (42, 34)])
        way([(27, 92), (23, 92), (23, 30), (27, 30)])
        way([(80, 44), (80, 30), (65, 30)])
        way([(42, 22), (42, 12)])
        if reptile:
            way([(23, 30), (23, 8), (27, 8)])
        way([(50, 12), (50, 22)], None if reptile else "arrive", back=True, at=(52, 17))
        foot = 4 if reptile else 26
        way([(27, foot), (19, foot), (19, 96), (27, 96)], "straight", back=True, at=(0, 60))
        way([(50, 34), (50, 44)], "through" if exact else None, back=True)
        if exact:
            way([(50, 56), (50, 66)], "through", back=True)
            way([(50, 78), (50, 88)], "through", back=True, at=(52, 83))
        way([(65, 25), (88, 25), (88, 44)], "rates" if learned else None, back=True, at=(71, 19),
            closed=_WORDS["cut" if reptile else "unlearned"])
        for place, (x, y, half) in _GIVEN["nodes"].items():
            name = ("distance" if reptile else "query") if place == "last" else place
            ax.fill([x - half, x + half, x + half, x - half], [y - 6, y - 6, y + 6, y + 6],
                    facecolor="white", edgecolor=PALETTE["black"], zorder=3)
            ax.text(x, y, f"{_WORDS['nodes'][name]}\n{said(name)}", ha="center", va="center",
                    zorder=4)
