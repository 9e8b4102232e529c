"""What the figures share whose support points the reader drags along a sine, one of them chosen."""

from __future__ import annotations

from typing import Any

import torch
import traitlets
from torch import Tensor

from metasgd_core.tasks.sinusoid import SineTasks
from metasgd_core.types import Data
from metasgd_core.widgets.constants import CONSTANTS
from metasgd_core.widgets.figure import Figure, within

RANGES, COUNT = CONSTANTS["points"]["ranges"], CONSTANTS["points"]["count"]
LOW, HIGH, _ = CONSTANTS["points"]["grid"]


class PointsFigure(Figure):
    """A figure with support points on a sine.

    Parameters
    ----------
    amplitude, phase : float
        The curve y = A sin(x + b), A from 0.1 to 5, b from 0 to 3.14.
    points : list of float
        x of the support points, 1 to 20 of them, from -5 to 5.
    chosen : int
        The point that is followed, from 0 on.
    """

    amplitude = traitlets.Float(3.48).tag(sync=True)
    phase = traitlets.Float(2.43).tag(sync=True)
    points = traitlets.List(traitlets.Float(), [-3.6, -2.2, -0.5, 1.4, 4.0]).tag(sync=True)
    chosen = traitlets.Int(2).tag(sync=True)

    _in_range = within(RANGES)

    @traitlets.validate("points")
    def _check_points(self, proposal: Any) -> list[float]:
        least, most = COUNT
        points = proposal["value"]
        if not least <= len(points) <= most or not all(LOW <= x <= HIGH for x in points):
            raise traitlets.TraitError(
                f"points must be {least} to {most} numbers from {LOW} to {HIGH}, got {points}"
            )
        return points

    def followed(self) -> int:
        """Return the number of the chosen point: the last one, where there are not so many."""
        return min(self.chosen, len(self.points) - 1)

    def support(self) -> Data:
        """Return the points on the curve, ``(1, points, 1)`` each, in float64."""
        x = torch.tensor(self.points, dtype=torch.float64)[None, :, None]
        return Data(x, self.truth(x))

    def truth(self, x: Tensor) -> Tensor:
        """Return the curve at `x`, ``(1, points, 1)``."""
        amplitude, phase = (x.new_tensor([value]) for value in (self.amplitude, self.phase))
        return SineTasks(amplitude, torch.ones_like(phase), phase)(x)
