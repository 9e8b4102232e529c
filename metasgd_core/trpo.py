r"""A trust region around the policy: the outer step of MAML's reinforcement learning.

The largest step that lowers a loss to first order, while the policy moves no further than `bound`:

.. math:: \min_{\Delta}\; g^\top \Delta \quad \text{such that} \quad
          \tfrac12\, \Delta^\top H \Delta \le \bar D, \qquad
          \Delta = -\sqrt{\frac{2 \bar D}{g^\top H^{-1} g}}\; H^{-1} g,

with g the loss's gradient and H the Hessian of the divergence from the policy that was played,
which is zero there, and so is its gradient. :math:`H^{-1} g` comes from products with H alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: A function of all numbers that are learned, in one vector.
Function = Callable[[Tensor], Tensor]


class TrustRegionStep(NamedTuple):
    """Where a step has led.

    Attributes
    ----------
    x : Tensor
        The new numbers; the old ones, if no length was accepted.
    loss, divergence : float
        There, on the data that the step was made from.
    tries : int
        Lengths that were tried; one more than there are, if none was accepted.
    """

    x: Tensor
    loss: float
    divergence: float
    tries: int


def conjugate_gradient(product: Function, b: Tensor, iterations: int) -> Tensor:
    r"""Return an approximate solution of :math:`H x = b` for a positive definite H.

    Parameters
    ----------
    product : callable
        From a vector to H times it.
    b : Tensor
        ``(n,)``.
    iterations : int
        At most; it ends when the residual is nothing but rounding.
    """
    x, residual = torch.zeros_like(b), b.clone()
    direction, size = residual, residual @ residual
    enough = torch.finfo(b.dtype).eps ** 2 * size
    for _ in range(iterations):
        if size <= enough:
            break
        turned = product(direction)
        length = size / (direction @ turned)
        x = x + length * direction
        residual = residual - length * turned
        size, before = residual @ residual, size
        direction = residual + size / before * direction
    return x


def trust_region_step(
    loss: Function, divergence: Function, x: Tensor, *, bound: float = 0.01,
    iterations: int = 10, damping: float = 1e-5, shrink: float = 0.8, tries: int = 15,
) -> TrustRegionStep:  # fmt: skip
    """Take one natural-gradient step within a trust region.

    Parameters
    ----------
    loss, divergence : callable
        Of the numbers, differentiable (the divergence twice), with scalar results. The divergence
        is that from the policy at `x`.
    x : Tensor
        ``(n,)``: where to begin.
    bound : float
        Greatest divergence.
    iterations : int
        Of the conjugate gradient.
    damping : float
        This much of the identity is added to H.
    shrink, tries : float, int
        While the loss is not lower or the divergence is above its bound, the step is shortened by
        this factor, so many times at most.

    Raises
    ------
    FloatingPointError
        If the gradient is zero or not finite: there is no direction to go.

    References
    ----------
    Schulman et al. 2015 (arXiv:1502.05477), appendix C; settings as in MAML's published code.

    Examples
    --------
    >>> H = torch.diag(torch.tensor([1.0, 100.0]))
    >>> step = trust_region_step(lambda x: x.sum(), lambda x: x @ H @ x / 2, torch.zeros(2))
    >>> step.divergence <= 0.01, round(float(step.x[0] / step.x[1]))  # long where H is small
    (True, 100)
    """
    x = x.detach().requires_grad_()
    value = loss(x)
    (gradient,) = torch.autograd.grad(value, x)
    if not gradient.isfinite().all() or not gradient.any():
        what = "zero" if gradient.isfinite().all() else "not finite"
        raise FloatingPointError(
            f"the meta-gradient is {what}, so there is no direction for a step: look at the "
            "rewards and the inner rate of these episodes"
        )
    (slope,) = torch.autograd.grad(divergence(x), x, create_graph=True)

    def product(v: Tensor) -> Tensor:
        (turned,) = torch.autograd.grad(slope @ v, x, retain_graph=True)
        return turned + damping * v

    natural = conjugate_gradient(product, gradient, iterations)
    longest = (2 * bound / (natural @ product(natural))).sqrt()
    at, now = x.detach(), float(value.detach())
    with torch.no_grad():
        for k in range(tries):
            to = at - shrink**k * longest * natural
            reached, moved = float(loss(to)), float(divergence(to))
            if reached < now and moved <= bound:
                return TrustRegionStep(to, reached, moved, k + 1)
    return TrustRegionStep(at, now, 0.0, tries + 1)
