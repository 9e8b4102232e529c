"""The figure of chapter 2: a valley of two parameters, and three optimisers that walk in it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure as Picture
from torch import Tensor
from traitlets import Enum, Float, Int, List, TraitError, validate

from metasgd_core.plotting import PALETTE
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, png, within
from metasgd_core.widgets.words import WORDS, fill

_WORDS = WORDS["pictures"]["valley"]
_SHARED = WORDS["valley"]
_GIVEN = CONSTANTS["valley"]
RANGES, REACH = _GIVEN["ranges"], _GIVEN["reach"]
#: The optimisers of the chapter, with their settings.
OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    name: (torch.optim.Adam if "betas" in settings else torch.optim.SGD, settings)
    for name, settings in _GIVEN["optimizers"].items()
}


class Valley(Figure):
    """A loss ``theta' H theta / 2`` of two parameters, and a walk down from a point you drag.

    Every attribute can be set when the figure is made and read or changed afterwards.

    Attributes
    ----------
    optimizer : {"gradient descent", "momentum", "Adam"}
        Momentum has ``beta = 0.9``, Adam the settings of ``torch.optim.Adam``.
    rates : {"one", "each"}
        One learning rate for both coordinates, or one for each.
    alpha : float
        The one rate, from 0.001 to 10.
    alpha_1, alpha_2 : float
        The rates of the two coordinates, from 0.001 to 10.
    steps : int
        How many steps are drawn, from 1 to 100.
    curvature : float
        The curvature of the steep axis, from 1 to 100; that of the flat one is 1.
    angle : float
        By how many degrees the valley is turned, from -90 to 90.
    start : list of float
        Where the walk begins, within 3 of the bottom along the first coordinate and within 1.8
        along the second.
    """

    _figure_id = "valley"
    sources = ("shared/words.js", "shared/frame.js", "shared/draw.js", "valley.js")

    optimizer = Enum(tuple(OPTIMIZERS), "gradient descent").tag(sync=True)
    rates = Enum(("one", "each"), "one").tag(sync=True)
    alpha = Float(0.1).tag(sync=True)
    alpha_1 = Float(0.01).tag(sync=True)
    alpha_2 = Float(0.01).tag(sync=True)
    steps = Int(15).tag(sync=True)
    curvature = Float(10.0).tag(sync=True)
    angle = Float(0.0).tag(sync=True)
    start = List(Float(), [-2.5, 1.0], minlen=2, maxlen=2).tag(sync=True)

    _in_range = within(RANGES)

    @validate("start")
    def _on_the_map(self, proposal: dict[str, Any]) -> list[float]:
        value = proposal["value"]
        if not all(abs(v) <= reach for v, reach in zip(value, REACH)):
            raise TraitError(f"start must lie within {REACH} of the bottom, got {value}")
        return value

    def matrix(self) -> Tensor:
        """Return H, ``(2, 2)``."""
        turn = math.radians(self.angle)
        axes = torch.tensor(
            [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]],
            dtype=torch.float64,
        )
        return axes @ torch.diag(torch.tensor([1.0, self.curvature], dtype=torch.float64)) @ axes.T

    def walk(self) -> Tensor:
        """Return the walk as torch.optim takes it, ``(steps + 1, 2)`` in float64."""
        alpha = [self.alpha] * 2 if self.rates == "one" else [self.alpha_1, self.alpha_2]
        theta = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in self.start]
        kind, settings = OPTIMIZERS[self.optimizer]
        groups = [{"params": [p], "lr": rate} for p, rate in zip(theta, alpha)]
        optimizer = kind(groups, **settings)
        path = [torch.stack(theta).detach()]
        for _ in range(self.steps):
            optimizer.zero_grad()
            here = torch.stack(theta)
            (0.5 * here @ self.matrix() @ here).backward()
            optimizer.step()
            path.append(torch.stack(theta).detach())
        return torch.stack(path)

    def picture(self) -> bytes:
        """Return a PNG of the present state."""
        H, walk = self.matrix(), self.walk()
        losses = 0.5 * (walk @ H * walk).sum(-1)
        picture = Picture(figsize=(6.0, 6.4), dpi=100, facecolor="white", layout="constrained")
        valley, curve = picture.subplots(2, 1, height_ratios=(1.4, 1))
        across, up = (np.linspace(-reach, reach, 161) for reach in REACH)
        x, y = np.meshgrid(across, up)
        (h11, h12), (_, h22) = H.tolist()
        valley.contour(
            x, y, np.sqrt(h11 * x * x + 2 * h12 * x * y + h22 * y * y),
            levels=np.arange(1, 12) * 0.6, colors=PALETTE["grey"], linewidths=0.7,
        )
        valley.plot(*walk.T.numpy(), "o-", color=PALETTE["blue"], markersize=4)
        valley.plot(0, 0, "+", color=PALETTE["black"], markersize=11)
        valley.set(
            aspect="equal", xlim=(-REACH[0], REACH[0]), ylim=(-REACH[1], REACH[1]),
            xlabel=_WORDS["x"], ylabel=_WORDS["y"],
            title=fill(_WORDS["title"][self.optimizer], count=self.steps),
        )
        curve.semilogy((losses / losses[0]).numpy(), "o-", color=PALETTE["blue"], markersize=4)
        curve.set(xlabel=_SHARED["step"], ylabel=_SHARED["share"])
        return png(picture)
