r"""The algorithm: adapt parameters to a task by a few gradient steps on its support set.

Every method of the book is this one inner loop with another alpha,

.. math:: \theta' = \theta - \alpha \circ \nabla L_{\text{support}}(\theta).

MAML holds alpha at one fixed number. Meta-SGD learns an alpha of theta's own shape, entry by
entry, along with theta.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metasgd_core.alpha import align_alpha, rule_alpha
from metasgd_core.rules import DESCENT, Rule
from metasgd_core.types import Params, check_count


def adapt(
    loss: Callable[[Params, Any], Tensor],
    theta: Params,
    alpha: Params | float,
    support: Any,
    *,
    steps: int = 1,
    first_order: bool = False,
    rule: Rule = DESCENT,
) -> Params:
    r"""Take `steps` inner steps from `theta` on the support loss of every task at once.

    .. math:: \phi_0 = \theta, \qquad
              \phi_{k+1} = \phi_k - \alpha \circ \nabla_{\phi} L_{\text{support}}(\phi_k).

    Tasks share no numbers, so the gradient of the *sum* of their losses is each task's own
    gradient. (Of the sum, not the mean: a mean would divide alpha by the number of tasks.)
    Gradients flow through the result to theta and alpha; not so inside ``torch.no_grad()``, where
    the result is the same and carries no graph.

    Parameters
    ----------
    loss : callable
        ``loss(phi, data) -> (*batch,)``: one loss a task, the mean over its shots.
    theta : Params
        Leaves ``(*batch, *shape)``, one copy a task: see :func:`per_task`. Left unchanged.
    alpha : Params or float
        The rates. A leaf's axes line up with theta's from the left, each as long as theta's or 1;
        missing ones count as 1. They are signed; nothing is clipped here. With another rule, its
        numbers, from :func:`~metasgd_core.alpha.init_rule`; where there are run axes, through
        ``share_alpha(theta, alpha, batch, rule)``.
    support : data or callable
        The support data, ``(*batch, shots, ...)`` leaves, the same at every step; or a function
        ``support(phi, step)`` that returns them (reinforcement learning collects afresh).
    steps : int
        With 0, phi holds theta's own tensors.
    first_order : bool
        Treat each gradient as a constant when differentiating the result: the terms with second
        derivatives are dropped, and memory does not grow with what they need.
    rule : Rule
        What stands in place of :math:`\phi - \alpha \circ \nabla L`: see :mod:`metasgd_core.rules`.

    Returns
    -------
    Params
        phi, leaves ``(*batch, *shape)``; the papers write theta'.

    Raises
    ------
    ValueError
        If alpha does not fit theta, a leaf of theta lacks the batch axes of the losses, the losses
        do not depend on one of them, or `steps` is negative.

    References
    ----------
    Finn et al. 2017 (arXiv:1703.03400), algorithm 1; Li et al. 2017 (arXiv:1707.09835),
    section 3. Differs from the latter in that it allows several steps.
    """
    check_count("steps", steps, least=0)
    numbers = align_alpha(theta, alpha) if rule == DESCENT else rule_alpha(rule, alpha)
    phi, state = dict(theta), rule.start(theta)
    if not torch.is_grad_enabled():
        phi = {name: p.detach() for name, p in phi.items()}
    for step in range(steps):
        data = support(phi, step) if callable(support) else support
        grads = _gradient(loss, phi, data, create_graph=not first_order)
        phi, state = rule.step(phi, grads, state, numbers)
    return phi


@torch.enable_grad()
def _gradient(
    loss: Callable[[Params, Any], Tensor], phi: Params, data: Any, *, create_graph: bool
) -> Params:
    """Return the gradient of every task's loss at its own phi, and refuse what has none."""
    phi = {name: p if p.requires_grad else p.detach().requires_grad_() for name, p in phi.items()}
    losses = loss(phi, data)
    for name, p in phi.items():
        if p.shape[: losses.ndim] != losses.shape:
            raise ValueError(
                f"the losses have shape {tuple(losses.shape)}, but theta[{name!r}] has shape "
                f"{tuple(p.shape)}: every task needs its own copy, per_task(theta, batch)"
            )
    if not losses.requires_grad:
        raise ValueError(
            "the loss does not depend on theta: nothing can be adapted; compute it from phi, "
            "without detach(), .data or torch.no_grad(), and not inside torch.inference_mode()"
        )
    grads = torch.autograd.grad(
        losses.sum(), list(phi.values()), create_graph=create_graph, allow_unused=True
    )
    unused = [name for name, g in zip(phi, grads, strict=True) if g is None]
    if unused:
        raise ValueError(
            f"the loss does not use {', '.join(map(repr, unused))} of theta; leave out of the "
            "model what plays no part in its output, or, if the model reads its support, give a "
            "method with reads=True"
        )
    return dict(zip(phi, grads, strict=True))


def per_task(params: Params, batch: tuple[int, ...]) -> Params:
    """Give every task its own copy of the parameters, without using memory for it.

    Parameters
    ----------
    params : Params
        Leaves ``(*runs, *shape)``.
    batch : tuple of int
        ``(*runs, tasks)``.

    Returns
    -------
    Params
        Leaves ``(*runs, tasks, *shape)``, expanded views; their backward sums over the tasks.

    Raises
    ------
    ValueError
        If a leaf's leading axes are not the runs of `batch`.
    """
    *runs, tasks = batch
    for name, p in params.items():
        if list(p.shape[: len(runs)]) != runs:
            raise ValueError(
                f"{name!r} has shape {tuple(p.shape)}, which does not start with the run axes "
                f"{tuple(runs)} of the batch {tuple(batch)}"
            )
    if runs:
        axis = len(runs)
        params = {name: p.unsqueeze(axis) for name, p in params.items()}
        return {name: p.expand(*runs, tasks, *p.shape[axis + 1 :]) for name, p in params.items()}
    return {name: p.expand(tasks, *p.shape) for name, p in params.items()}
