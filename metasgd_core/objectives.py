r"""What each method minimises: one number a run, from one meta-batch of tasks.

.. math:: \frac1n \sum_{i=1}^{n} L^{(i)}_{\text{query}}
          \big(\theta - \alpha \circ \nabla L^{(i)}_{\text{support}}(\theta)\big)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import share_alpha
from metasgd_core.methods import Method
from metasgd_core.policy_gradient import PolicyFamily
from metasgd_core.types import Params, TaskFamily, check_count


def meta_loss(
    family: TaskFamily,
    theta: Params,
    alpha: Params | float,
    tasks: Any,
    method: Method,
    *,
    shots: int,
    query_shots: int,
    generator: torch.Generator,
    data: Any = None,
) -> Tensor:
    r"""Return what a method minimises, on one meta-batch of tasks.

    .. math:: \frac1n \sum_{i=1}^{n} L^{(i)}_{\text{query}}\big(\phi^{(i)}\big)

    for the objective ``"query"``; :class:`~metasgd_core.methods.Method` names the others. Every
    method sees the same points of the same tasks when the generator is in the same state:
    ``shots + query_shots`` are drawn, the first `shots` of them are the support set. (Where the
    data depend on the parameters, they are collected under them instead.)

    Parameters
    ----------
    family : TaskFamily
        The distribution over tasks.
    theta : Params
        Leaves ``(*runs, *shape)``.
    alpha : Params or float
        Rates that fit theta.
    tasks : NamedTuple of Tensor
        From ``family.sample_tasks(*runs, n, generator=...)``.
    method : Method
        A row of the table.
    shots, query_shots : int
        Support and query points a task.
    generator : torch.Generator
        Source of the data.
    data : NamedTuple of Tensor, optional
        The ``shots + query_shots`` points of every task, where they were drawn beforehand. Only
        where the data do not depend on the parameters.

    Returns
    -------
    Tensor
        ``(*runs,)``: the mean over tasks, one a run.

    Raises
    ------
    ValueError
        If a count is not positive, or the method has nothing to minimise.
    """
    check_count("shots", shots)
    check_count("query_shots", query_shots)
    batch = tuple(tasks[0].shape)
    alpha, theta = share_alpha(theta, alpha, batch), per_task(theta, batch)

    def draw(phi: Params, n: int) -> Any:
        return family.sample_data(tasks, phi, n, generator=generator)

    everything = data
    if everything is None and not family.on_policy:
        everything = draw(theta, shots + query_shots)

    def points(phi: Params, start: int, n: int) -> Any:
        return draw(phi, n) if everything is None else _take(everything, len(batch), start, n)

    collected: list[tuple[Params, Any]] = []

    def support(phi: Params, step: int) -> Any:
        # Reptile has no query set: it walks through all the points, `shots` at a time.
        start = step * shots if method.objective == "reptile" else 0
        collected.append((phi, points(phi, start, shots)))
        return collected[-1][1]

    if method.objective == "joint":
        return family.loss(theta, points(theta, 0, shots + query_shots)).mean(dim=-1)
    if method.objective == "none":
        raise ValueError(f"{method.name} learns nothing across tasks: it has no meta-loss")
    reptile = method.objective == "reptile"
    start = {name: p.detach() for name, p in theta.items()} if reptile else theta
    phi = adapt(
        family.loss, start, alpha, support, steps=method.inner_steps,
        first_order=method.first_order,
    )
    if reptile:
        gaps = (theta[name] - p.detach() for name, p in phi.items())
        return 0.5 * sum(
            gap.square().flatten(start_dim=len(batch) - 1).sum(-1) for gap in gaps
        ) / batch[-1]
    query = points(phi, shots, query_shots)
    losses = family.loss(phi, query)
    if method.credit_sampling:
        losses = losses + _sampling_credit(family, collected, family.score(phi, query).detach())
    return losses.mean(dim=-1)


def _sampling_credit(
    family: TaskFamily, collected: list[tuple[Params, Any]], score: Tensor
) -> Tensor:
    r"""Return the E-MAML term, ``(*batch,)``: minus the score times how likely the support was.

    .. math:: -\big(J(\phi) - b\big) \sum_k \log p(\tau_k \mid \phi_k)

    with the mean score of the run's other tasks as baseline b. Stadie et al. 2018
    (arXiv:1803.01118).
    """
    if not isinstance(family, PolicyFamily):
        raise ValueError(
            f"{type(family).__name__} cannot credit sampling: its data do not depend on the "
            "parameters; use credit_sampling=False"
        )
    tasks = score.shape[-1]
    others = (score.sum(-1, keepdim=True) - score) / max(tasks - 1, 1)
    likely = [family.log_likelihood(phi, data) for phi, data in collected]
    return -(score - others) * torch.stack(likely).sum(0)


def _take(data: Any, axis: int, start: int, n: int) -> Any:
    """Return `n` samples a task from `start` on, beginning again at the end."""
    total = data[0].shape[axis]
    if start + n <= total:
        return type(data)(*(leaf.narrow(axis, start, n) for leaf in data))
    index = torch.arange(start, start + n, device=data[0].device) % total
    return type(data)(*(leaf.index_select(axis, index) for leaf in data))
