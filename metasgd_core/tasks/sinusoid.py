"""Sinusoids: the task family on which both papers begin.

A task is one curve y = A sin(omega x + b); its data are points of the curve, without noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metasgd_core.models import MLP
from metasgd_core.tasks.base import Regression
from metasgd_core.tasks.ranges import check_range, draw
from metasgd_core.types import Data, Params, check_count


class SineTasks(NamedTuple):
    """Curves, by their three numbers; each tensor has the shape of the batch.

    Attributes
    ----------
    amplitude : Tensor
        A.
    frequency : Tensor
        omega, in radians per unit of x.
    phase : Tensor
        b, in radians.
    """

    amplitude: Tensor
    frequency: Tensor
    phase: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Return y = A sin(omega x + b) for x of shape ``(*batch, shots, 1)``."""
        amplitude, frequency, phase = (part[..., None, None] for part in self)
        return amplitude * torch.sin(frequency * x + phase)


@dataclass(frozen=True)
class Sinusoid(Regression):
    """Sine curves with amplitude, frequency and phase uniform in their ranges.

    ``Sinusoid()`` is MAML's family, with the frequency fixed at 1;
    ``Sinusoid.varying_frequency()`` is that of the Meta-SGD paper.

    Parameters
    ----------
    model : nn.Module
        The network that learns the curves, 1 input and 1 output.
    amplitude, frequency, phase, x : pair of float
        Lowest and highest value; equal ends fix the value.

    Raises
    ------
    ValueError
        If a range is not two finite numbers in order.

    References
    ----------
    Finn et al. 2017 (arXiv:1703.03400), section 5.1; Li et al. 2017 (arXiv:1707.09835),
    section 4.
    """

    model: nn.Module = field(default_factory=MLP)
    amplitude: tuple[float, float] = (0.1, 5.0)
    frequency: tuple[float, float] = (1.0, 1.0)
    phase: tuple[float, float] = (0.0, pi)
    x: tuple[float, float] = (-5.0, 5.0)

    def __post_init__(self) -> None:
        for name in ("amplitude", "frequency", "phase", "x"):
            check_range(name, getattr(self, name))

    @classmethod
    def varying_frequency(cls, model: nn.Module | None = None) -> Sinusoid:
        """Return the family of the Meta-SGD paper, omega uniform in [0.8, 1.2]."""
        return cls(model=model or MLP(), frequency=(0.8, 1.2))

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> SineTasks:
        """Draw curves, independent along every axis of `batch`.

        Raises
        ------
        ValueError
            If an axis of `batch` is not a positive whole number.
        """
        for size in batch:
            check_count("the number of tasks", size)
        dtype = next(self.model.parameters()).dtype
        return SineTasks(
            *(draw(getattr(self, name), batch, generator, dtype) for name in SineTasks._fields)
        )

    def sample_data(
        self, tasks: SineTasks, phi: Params | None, shots: int, *, generator: torch.Generator
    ) -> Data:
        """Draw `shots` points of every curve, x uniform in its range; `phi` plays no part.

        Returns
        -------
        Data
            ``x`` and ``y`` of shape ``(*batch, shots, 1)``.

        Raises
        ------
        ValueError
            If `shots` is not a positive whole number.
        """
        check_count("shots", shots)
        amplitude = tasks.amplitude
        x = draw(self.x, (*amplitude.shape, shots, 1), generator, amplitude.dtype)
        return Data(x, tasks(x))
