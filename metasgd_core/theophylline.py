"""Twelve real patients, and the method that their clinic would use.

The data of the theophylline study by Dr. Robert Upton, as printed in Boeckmann, Sheiner and Beal
1994 (NONMEM Users Guide, part V) and distributed with R as ``datasets::Theoph``: 132 samples, in
``data/theophylline.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import least_squares

from metasgd_core.tasks.patients import UNIT, Patients, PatientTasks, features
from metasgd_core.types import Data

FILE = Path(__file__).with_name("data") / "theophylline.csv"
#: What is measured before the drug can have come is left out.
FIRST_HOUR = 0.1


class Patient(NamedTuple):
    """One patient's samples.

    Attributes
    ----------
    subject : str
        The number in the study.
    dose : float
        mg per kg.
    hours, level : list of float
        When blood was taken, and the concentration, mg/L.
    """

    subject: str
    dose: float
    hours: list[float]
    level: list[float]


def patients() -> list[Patient]:
    """Return the twelve, with the samples that were taken after the first minutes."""
    found: dict[str, Patient] = {}
    with FILE.open(encoding="utf-8", newline="") as file:
        for subject, _, dose, hour, level in list(csv.reader(file))[1:]:
            one = found.setdefault(subject, Patient(subject, float(dose), [], []))
            if float(hour) > FIRST_HOUR:
                one.hours.append(float(hour))
                one.level.append(float(level))
    return list(found.values())


def measured(hours: Sequence[float], level: Sequence[float], dose: float) -> Data:
    """Return a patient's samples as the data of one task, ``(1, shots, ...)``.

    Parameters
    ----------
    hours : sequence of float
        After the dose, ascending.
    level : sequence of float
        mg/L, one for each of the hours.
    dose : float
        mg per kg.

    Raises
    ------
    ValueError
        If there is no sample, an hour without its level, an hour before the dose or out of order,
        or a number that cannot be a concentration or a dose.
    """
    if not len(hours) or len(hours) != len(level):
        raise ValueError(
            f"a patient needs samples, a level for each of the hours: got {len(hours)} hours and "
            f"{len(level)} levels"
        )
    if not all(isfinite(t) and t >= 0 for t in hours) or [*hours] != sorted(set(hours)):
        raise ValueError(f"hours must count from the dose on and ascend, got {list(hours)}")
    if not all(isfinite(c) and c >= 0 for c in level) or not (isfinite(dose) and dose > 0):
        raise ValueError(
            "concentrations must be numbers from 0 on and the dose above 0: got "
            f"{list(level)} and {dose}"
        )
    t, c, d = (torch.tensor(part, dtype=torch.get_default_dtype())
               for part in ([*hours], [*level], dose))  # fmt: skip
    return Data(features(t, d)[None], (c / UNIT)[None, :, None])


def typical(family: Patients, dose: float) -> PatientTasks:
    """Return the patient in the middle of a population: what is known before any sample."""
    return _patient(family, np.zeros(3), dose)


def fitted(
    family: Patients, hours: Sequence[float], level: Sequence[float], dose: float, *,
    robust: bool = False,
) -> PatientTasks:
    r"""Return the likeliest patient of a population, given some samples: the clinic's method.

    The maximum of the posterior density of ka, ke and V. Their logarithms are normal in the
    population:

    .. math:: \min_z \; \sum_k \Big(\frac{c_k - C_z(t_k)}{\sigma_k}\Big)^2 + \lVert z \rVert^2,
              \qquad \sigma_k = s_0 + s_1 c_k

    with z the three logarithms in standard deviations from the median. The formula knows nothing
    of a part that is absorbed late.

    Parameters
    ----------
    family : Patients
        The population.
    hours, level, dose
        As in :func:`measured`.
    robust : bool
        Whether a sample more than two standard deviations off pulls only as one that is two off
        (Huber's loss in the place of the square).

    Raises
    ------
    ValueError
        As :func:`measured`; or if a sample's noise is 0, for then its residual is infinite.

    References
    ----------
    Sheiner, Beal, Rosenberg, Marathe 1979 (doi:10.1002/cpt1979263294). Differs from it in that the
    noise of a sample is judged by its measured level, which makes it a sum of squares.
    """
    measured(hours, level, dose)
    t, c = torch.tensor([*hours], dtype=torch.float64), np.asarray(level, dtype=float)
    sigma = family.noise[0] + family.noise[1] * c
    if not (sigma > 0).all():
        raise ValueError(
            f"the likeliest patient needs a noise above 0 of every sample: the population's is "
            f"{family.noise}, which is none for a level of {c.min():g}; give it a first number "
            "above 0"
        )

    def residuals(z: np.ndarray) -> np.ndarray:
        told = np.asarray(_patient(family, z, dose)(t))
        return np.concatenate([(c - told) / sigma, z])

    loss = {"loss": "huber", "f_scale": 2.0} if robust else {}
    # A wrong sample can make two valleys: look from a slow, a usual and a fast absorption.
    found = [least_squares(residuals, (first, 0.0, 0.0), ftol=1e-10, xtol=1e-10, **loss)
             for first in (-3.0, 0.0, 3.0)]  # fmt: skip
    return _patient(family, min(found, key=lambda one: one.cost).x, dose)


def _patient(family: Patients, z: np.ndarray, dose: float) -> PatientTasks:
    middles = (family.absorption, family.elimination, family.volume)
    rates = (median * np.exp(spread * float(own)) for (median, spread), own in zip(middles, z))
    numbers = (*rates, dose, 0.0)
    return PatientTasks(*(torch.tensor(float(v), dtype=torch.float64) for v in numbers))
