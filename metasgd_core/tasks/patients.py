"""Patients who swallowed a drug: a few blood samples are known, and the rest of the curve is asked.

A task is one patient. The curve is the pharmacologists' simplest: one compartment, which the drug
enters and leaves at rates in proportion to what is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metasgd_core.models import MLP
from metasgd_core.tasks.base import Regression
from metasgd_core.tasks.ranges import check_range, draw
from metasgd_core.types import Data, Params, check_count

#: Hours after the dose at which blood is taken, give or take 5 %.
HOURS = (0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 7.0, 9.0, 12.0, 24.0)
#: The network sees concentrations in units of so many mg/L.
UNIT = 5.0
#: What is absorbed late is absorbed so many hours later.
LAG = 3.0


class PatientTasks(NamedTuple):
    """Patients, by their numbers; each tensor has the shape of the batch.

    Attributes
    ----------
    absorption, elimination : Tensor
        ka and ke, 1/h.
    volume : Tensor
        V, litres per kg of body weight.
    dose : Tensor
        D, mg per kg.
    late : Tensor
        What part of the dose is absorbed `LAG` hours later than the rest.
    """

    absorption: Tensor
    elimination: Tensor
    volume: Tensor
    dose: Tensor
    late: Tensor

    def __call__(self, hours: Tensor) -> Tensor:
        r"""Return the concentration in the blood, mg/L, for hours of shape ``(*batch, shots)``.

        .. math:: C(t) = \frac{D}{V}\, \frac{k_a}{k_a - k_e} \big(e^{-k_e t} - e^{-k_a t}\big)

        A part of the dose that is absorbed late adds the same curve, `LAG` hours later.
        """
        ka, ke, volume, dose, late = (part[..., None] for part in self)

        def alone(t: Tensor) -> Tensor:
            t = t.clamp(min=0)
            u = (ka - ke) * t
            # (1 - e^-u) / u, which is 1 where both rates are the same
            grown = torch.where(u.abs() < 1e-6, 1 - u / 2, -torch.expm1(-u) / u)
            return dose / volume * ka * t * torch.exp(-ke * t) * grown

        return (1 - late) * alone(hours) + late * alone(hours - LAG)


def features(hours: Tensor, dose: Tensor) -> Tensor:
    """Return what the network sees of a sample besides the blood, ``(*batch, shots, 3)``.

    Parameters
    ----------
    hours : Tensor
        ``(*batch, shots)``.
    dose : Tensor
        mg per kg, ``(*batch)``.
    """
    amount = (dose[..., None] - 4.5).expand_as(hours)
    return torch.stack([torch.log1p(hours), hours / 12, amount], dim=-1)


@dataclass(frozen=True)
class Patients(Regression):
    """A simulated population; its defaults describe theophylline, a drug against asthma.

    Absorption, elimination and volume are log-normal, the dose is normal. This is a teaching
    example and no medical advice.

    Parameters
    ----------
    model : nn.Module
        3 inputs (log of one plus the hours, hours / 12, dose - 4.5), 1 output: the concentration
        in units of 5 mg/L.
    absorption, elimination, volume : pair of float
        The median, in 1/h, 1/h and L/kg, and the standard deviation of the logarithm.
    dose : pair of float
        Mean and standard deviation, mg/kg.
    noise : pair of float
        Standard deviation of a measurement: mg/L, and a part of the concentration.
    late : pair of float
        Least and greatest part of the dose that is absorbed `LAG` hours later.

    Raises
    ------
    ValueError
        If a pair is not of the kind that its quantity needs.

    References
    ----------
    Boeckmann, Sheiner, Beal 1994, NONMEM Users Guide, part V: the drug, and the twelve patients of
    :func:`metasgd_core.theophylline.patients`.
    """

    model: nn.Module = field(default_factory=lambda: MLP((3, 40, 40, 1)))
    absorption: tuple[float, float] = (1.5, 0.6)
    elimination: tuple[float, float] = (0.08, 0.2)
    volume: tuple[float, float] = (0.48, 0.15)
    dose: tuple[float, float] = (4.6, 0.6)
    noise: tuple[float, float] = (0.3, 0.08)
    late: tuple[float, float] = (0.0, 0.0)

    one_draw = True
    score_name = "mean squared error, (mg/L)²"

    def __post_init__(self) -> None:
        check_range("late", self.late)
        if not 0 <= self.late[0] <= self.late[1] <= 1:
            raise ValueError(f"late must be two parts of the dose, from 0 to 1, got {self.late}")
        for name in ("absorption", "elimination", "volume", "dose", "noise"):
            middle, spread = getattr(self, name)
            least = -1e-9 if name == "noise" else 0
            if not least < middle < inf or not 0 <= spread < inf:
                raise ValueError(
                    f"{name} must be a pair of a positive number and its spread, got "
                    f"{(middle, spread)}"
                )

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> PatientTasks:
        """Draw patients, independent along every axis of `batch`.

        Raises
        ------
        ValueError
            If an axis of `batch` is not a positive whole number.
        """
        for size in batch:
            check_count("the number of tasks", size)
        dtype = next(self.model.parameters()).dtype

        def normal() -> Tensor:
            return torch.randn(batch, generator=generator, device=generator.device, dtype=dtype)

        ka, ke, volume = (median * torch.exp(spread * normal()) for median, spread in
                          (self.absorption, self.elimination, self.volume))  # fmt: skip
        mean, spread = self.dose
        dose = (mean + spread * normal()).clamp(min=0.1)
        return PatientTasks(ka, ke, volume, dose, draw(self.late, batch, generator, dtype))

    def sample_data(
        self, tasks: PatientTasks, phi: Params | None, shots: int, *, generator: torch.Generator
    ) -> Data:
        """Take blood at `shots` of the ten `HOURS`, in any order; `phi` plays no part.

        Returns
        -------
        Data
            ``x`` ``(*batch, shots, 3)``, ``y`` ``(*batch, shots, 1)``.

        Raises
        ------
        ValueError
            If `shots` is not a positive whole number, or greater than ten.
        """
        check_count("shots", shots)
        if shots > len(HOURS):
            raise ValueError(
                f"blood is taken {len(HOURS)} times, and {shots} are asked for: take fewer shots "
                "and query_shots"
            )
        like = tasks.dose
        size = (*like.shape, len(HOURS))
        order = torch.rand(size, generator=generator, device=like.device).argsort(-1)[..., :shots]
        hours = torch.tensor(HOURS, device=like.device, dtype=like.dtype)[order]

        def normal() -> Tensor:
            return torch.randn(hours.shape, generator=generator, device=like.device,
                               dtype=like.dtype)  # fmt: skip

        hours = hours * (1 + 0.05 * normal()).clamp(min=0.5)
        level = tasks(hours)
        own, part = self.noise
        level = level + (own + part * level) * normal()
        return Data(features(hours, tasks.dose), (level / UNIT).unsqueeze(-1))

    def score(self, phi: Params, data: Data) -> Tensor:
        """Return each patient's mean squared error, in (mg/L)²."""
        return UNIT**2 * self.loss(phi, data)
