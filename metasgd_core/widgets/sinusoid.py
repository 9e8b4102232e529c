"""What the figures on sines share: a curve and its support points, in the reader's hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import traitlets
from matplotlib.axes import Axes
from torch import Tensor

from metasgd_core import plotting
from metasgd_core.adaptation import adapt, per_task
from metasgd_core.models import predict
from metasgd_core.rules import DESCENT, Rule
from metasgd_core.tasks.sinusoid import SineTasks, Sinusoid
from metasgd_core.types import Data, Params
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, within
from metasgd_core.widgets.words import WORDS, fill

#: theta, alpha and, where it is not plain descent, the rule.
Network = tuple[Params, Params] | tuple[Params, Params, Rule]
RANGES, POINTS = CONSTANTS["sinusoid"]["ranges"], CONSTANTS["sinusoid"]["points"]
#: The curve and the points that the page draws with this seed.
SEED = 5
FIRST = {"amplitude": 3.48, "phase": 2.43, "frequency": 1.0}
FIRST_X = (-2.8, 1.23, -4.15, 0.92, 2.2)


class SineFigure(Figure):
    """A figure in which networks adapt to the points of a curve that the reader sets.

    Parameters
    ----------
    steps : int
        Inner steps, 0 to 10.
    amplitude, phase, frequency : float
        The curve y = A sin(omega x + b), A from 0.1 to 6, b from 0 to 6.28, omega from 0.2 to 3.
    on_curve : bool
        Whether the points lie on the curve. Their y is the curve's then, whatever `points` says.
    points : list of pair of float
        x and y of the support points, 1 to 20 of them.
    seed : int
        Of the curve and its points, when the page draws new ones.
    """

    steps = traitlets.Int(1).tag(sync=True)
    amplitude = traitlets.Float(FIRST["amplitude"]).tag(sync=True)
    phase = traitlets.Float(FIRST["phase"]).tag(sync=True)
    frequency = traitlets.Float(FIRST["frequency"]).tag(sync=True)
    on_curve = traitlets.Bool(True).tag(sync=True)
    points: traitlets.List[list[float]] = traitlets.List().tag(sync=True)
    seed = traitlets.Int(SEED).tag(sync=True)

    @traitlets.default("points")
    def _first_points(self) -> list[list[float]]:
        return [[x, FIRST["amplitude"] * math.sin(x + FIRST["phase"])] for x in FIRST_X]

    _in_range = within(RANGES)

    @traitlets.validate("points")
    def _check_points(self, proposal: Any) -> list[list[float]]:
        points = [list(point) for point in proposal["value"]]
        least, most = POINTS
        if not least <= len(points) <= most or any(
            len(point) != 2 or not all(math.isfinite(number) for number in point)
            for point in points
        ):
            raise traitlets.TraitError(
                f"points must be {least} to {most} pairs of finite numbers, got {points}"
            )
        return [[float(x), float(y)] for x, y in points]

    def curve(self) -> SineTasks:
        """Return the curve, as a batch of one task."""
        return SineTasks(*(
            torch.tensor([value]) for value in (self.amplitude, self.frequency, self.phase)
        ))

    def support(self) -> Data:
        """Return the points, as a batch of one task."""
        points = torch.tensor(self.points)[None]
        x, y = points[..., :1], points[..., 1:]
        return Data(x, self.curve()(x) if self.on_curve else y)

    def predictions(
        self, x: Tensor, steps: int, theta: Params, alpha: Params, rule: Rule = DESCENT
    ) -> Tensor:
        """Return what one network predicts at `x`, ``(points, 1)``, after its inner steps."""
        family = Sinusoid()
        phi = adapt(family.loss, per_task(theta, (1,)), per_task(alpha, (1,)), self.support(),
                    steps=steps, first_order=True, rule=rule)
        return predict(family.model, phi, x[None])[0].detach()

    def draw(self, ax: Axes, networks: Mapping[str, Network]) -> None:
        """Draw the curve, its points and what each network makes of them."""
        x = torch.linspace(-5, 5, 201)[:, None]
        at, y = (part[0] for part in self.support())
        plotting.plot_adaptation(
            ax, x,
            {name: self.predictions(x, self.steps, *network) for name, network in networks.items()},
            truth=self.curve()(x[None])[0] if self.on_curve else None, support=(at, y),
        )
        title = fill(WORDS["pictures"]["sinusoid"]["title"], count=self.steps)
        ax.set(xlim=(-5, 5), ylim=(-6.5, 6.5), title=title)
