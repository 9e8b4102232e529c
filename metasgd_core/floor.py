r"""How good one additive step can be, on sines of one frequency: chapter 7's closed form.

A step that adds up one term a point, :math:`\tfrac1K \sum_k a(x_k)^\top z(x)\, r_k` with
:math:`z(x) = (\sin x, \cos x)` and :math:`r_k` the residual of the mean curve at :math:`x_k`, has a
least mean squared error over :class:`~metasgd_core.tasks.sinusoid.Sinusoid`'s curves. Last,
the least error of any answer to one point. All is float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import check_count

#: Midpoints of x by which the means over x are taken: to 1e-6.
_POINTS = 2000


class Moments(NamedTuple):
    """What the floor is made of, ``(2, 2)`` each; :math:`y = w^\\top z(x)`, :math:`d = w - E w`.

    Attributes
    ----------
    C : Tensor
        :math:`E[d d^\\top]`, of the curves.
    M : Tensor
        :math:`E[z z^\\top]`, of the points.
    P : Tensor
        :math:`E[C z z^\\top / (z^\\top C z)]`: what one point tells, on average.
    """

    C: Tensor
    M: Tensor
    P: Tensor


def waves(x: Tensor) -> Tensor:
    """Return z: ``(*batch)`` to ``(*batch, 2)``."""
    return torch.stack([x.sin(), x.cos()], dim=-1)


def mean_curve(x: Tensor) -> Tensor:
    """Return the average of all curves at `x`: the best answer of who has no points."""
    low, high = Sinusoid().amplitude
    return (low + high) / math.pi * x.cos()


def moments() -> Moments:
    """Return C, M and P of the book's sines of fixed frequency."""
    low, high = Sinusoid().amplitude
    square = (low**2 + low * high + high**2) / 3  # E[A^2]
    height = (low + high) / math.pi  # of the mean curve
    C = torch.diag(torch.tensor([square / 2, square / 2 - height**2], dtype=torch.float64))
    left, right = Sinusoid().x
    places = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS
    z = waves(left + (right - left) * places)
    P = (z @ C / _spread(z, C)).T @ z / _POINTS
    return Moments(C, z.T @ z / _POINTS, P)


def _spread(z: Tensor, C: Tensor) -> Tensor:
    """Return the variance of a residual, ``(*batch, 1)``."""
    return ((z @ C) * z).sum(-1, keepdim=True)


def floor(shots: int) -> float:
    """Return the least error of one additive step on `shots` points.

    Raises
    ------
    ValueError
        If `shots` is not a positive whole number.
    """
    check_count("shots", shots)
    C, M, P = moments()
    R = shots * P @ torch.linalg.inv(torch.eye(2, dtype=P.dtype) + (shots - 1) * P)
    return float(torch.trace(M @ C) - torch.trace(M @ R @ C))


def carried(x: Tensor, shots: int) -> Tensor:
    """Return the a(x) of the best step: ``(*batch)`` to ``(*batch, 2)``, float64.

    A residual of 1 at `x` then adds ``a(x)' z / shots`` to the curve.

    Raises
    ------
    ValueError
        If `shots` is not a positive whole number.
    """
    check_count("shots", shots)
    C, _, P = moments()
    z = waves(x.double())
    others = torch.linalg.inv(torch.eye(2, dtype=P.dtype) + (shots - 1) * P)
    return shots * (z @ C / _spread(z, C)) @ others.T


def best_step(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    """Return what the best step from the mean curve predicts.

    Parameters
    ----------
    x, y : Tensor
        ``(*batch, shots)``, the support points.
    query : Tensor
        ``(*batch, points)``.

    Returns
    -------
    Tensor
        ``(*batch, points)``, float64.
    """
    residual = y.double() - mean_curve(x.double())
    change = (carried(x, x.shape[-1]) * residual[..., None]).mean(-2)  # (*batch, 2)
    return mean_curve(query.double()) + (waves(query.double()) @ change[..., None])[..., 0]


def one_point(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    r"""Return the posterior mean of the curve after one point: the best answer of all.

    A point says of the curve :math:`w^\top z(x)` that :math:`w = y\, z(x) + s\, z'(x)` for some s.
    Amplitude :math:`A = \lVert w \rVert` and phase uniform in their ranges give s the density
    :math:`1 / A` where both lie in them. (Two points leave one curve, so that from then on the
    least error is 0.)

    Parameters
    ----------
    x, y : Tensor
        ``(*batch)``, the point.
    query : Tensor
        ``(*batch, points)``.

    Returns
    -------
    Tensor
        ``(*batch, points)``, float64.
    """
    low, high = Sinusoid().amplitude
    x, y = x.double()[..., None], y.double()[..., None]
    places = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS
    s = (high**2 - y**2).sqrt() * (2 * places - 1)  # (*batch, points of the line)
    amplitude = (y**2 + s**2).sqrt()
    in_range = (amplitude >= low) & (y * x.cos() >= s * x.sin())  # phases 0 to pi: w's cosine >= 0
    weight = in_range / amplitude
    s = (weight * s).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True)
    return y * torch.cos(query.double() - x) + s * torch.sin(query.double() - x)
