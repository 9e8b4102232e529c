r"""What each method minimises: one number a run, from one meta-batch of tasks.

.. math:: \frac1n \sum_{i=1}^{n} L^{(i)}_{\text{query}}
          \big(\theta - \alpha \circ \nabla L^{(i)}_{\text{support}}(\theta)\big)

An objective is a function of one signature and a row of
:data:`~metasgd_core.objectives.OBJECTIVES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metasgd_core.adaptation import per_task
from metasgd_core.alpha import share_alpha
from metasgd_core.methods import Method
from metasgd_core.models import Reader
from metasgd_core.policy_gradient import PolicyFamily
from metasgd_core.readers import learner
from metasgd_core.types import Params, TaskFamily, check_count, split, take


@dataclass
class Points:
    """The samples of one meta-batch, as an objective asks for them.

    Supervised tasks have theirs drawn beforehand, and give parts of them. Where the data depend on
    the parameters they are collected under phi each time.
    """

    family: TaskFamily
    tasks: Any
    shots: int
    query_shots: int
    generator: torch.Generator
    axis: int
    drawn: Any = None
    collected: list[tuple[Params, Any]] = field(default_factory=list)

    def part(self, phi: Params, start: int, n: int) -> Any:
        """Return `n` samples from `start` on."""
        if self.drawn is None:
            return self.family.sample_data(self.tasks, phi, n, generator=self.generator)
        return take(self.drawn, self.axis, start, n)

    def support(self, phi: Params, step: int) -> Any:
        """Return the support set, the same at every step unless it is collected."""
        self.collected.append((phi, self.part(phi, 0, self.shots)))
        return self.collected[-1][1]

    def first(self, phi: Params, step: int, *, n: int) -> Any:
        """Return the first `n` points of the support set."""
        return self.part(phi, 0, n)

    @property
    def each(self) -> int:
        """How many query points there are for each number of support points."""
        if self.query_shots < self.shots:
            raise ValueError(
                "every number of support points needs a query point of its own: query_shots must "
                f"be at least shots ({self.shots}), got {self.query_shots}"
            )
        return self.query_shots // self.shots

    def minibatch(self, phi: Params, step: int) -> Any:
        """Return Reptile's: it walks through all the points, `shots` at a time."""
        return self.part(phi, step * self.shots, self.shots)

    def query(self, phi: Params) -> Any:
        """Return the query set."""
        return self.part(phi, self.shots, self.query_shots)

    def everything(self, phi: Params) -> Any:
        """Return support and query points together."""
        return self.part(phi, 0, self.shots + self.query_shots)


def query(
    family: TaskFamily, theta: Params, alpha: Params, method: Method, points: Points
) -> Tensor:
    """Return the query loss of the adapted phi: MAML, FOMAML, Meta-SGD, and what reads."""
    learn = learner(family.model, method)
    phi = learn(family.loss, theta, alpha, points.support, steps=method.inner_steps,
                first_order=method.first_order)  # fmt: skip
    losses = family.loss(phi, unseen := points.query(phi))
    if method.credit_sampling:
        losses = losses + _sampling_credit(family, points, family.score(phi, unseen).detach())
    return losses


def steps(
    family: TaskFamily, theta: Params, alpha: Params, method: Method, points: Points
) -> Tensor:
    """Return the mean query loss of phi after each step: MAML++'s multi-step loss.

    References
    ----------
    Antoniou, Edwards, Storkey 2019 (arXiv:1810.09502), section 4. Differs from it in that the
    steps count alike throughout; there the last one's weight grows in the first epochs.
    """
    learn = learner(family.model, method)
    last = learn(family.loss, theta, alpha, points.support, steps=method.inner_steps,
                 first_order=method.first_order)  # fmt: skip
    walked = [phi for phi, _ in points.collected[1:]] + [last]
    return torch.stack([family.loss(phi, points.query(phi)) for phi in walked]).mean(0)


def shots(
    family: TaskFamily, theta: Params, alpha: Params, method: Method, points: Points
) -> Tensor:
    """Return the mean query loss over every number of support points, 1 to K.

    Each number has as many query points of its own. A model that can gives its phi after each
    number in one pass (``read_each``). Else there is one after K, K/2, K/4, ... 1 points (rounded
    down), which answers for the numbers above the one before, too.
    """
    K, each = points.shots, points.each
    read_each: Any = getattr(family.model, "read_each", None)
    if method.reads and read_each is not None:
        found = read_each(theta, points.support(theta, 0))
        phi = {n: found.get(n, p.unsqueeze(points.axis)) for n, p in theta.items()}
        asked = points.part(phi, K, each * K)
        return family.loss(phi, split(asked, points.axis, K)).mean(-1)
    learn, losses, before = learner(family.model, method), [], 0
    for n in (K >> k for k in reversed(range(K.bit_length()))):
        phi = learn(family.loss, theta, alpha, partial(points.first, n=n),
                    steps=method.inner_steps, first_order=method.first_order)  # fmt: skip
        asked = points.part(phi, K + each * before, each * (n - before))
        losses.append((n - before) / K * family.loss(phi, asked))
        before = n
    return torch.stack(losses).sum(0)


def joint(
    family: TaskFamily, theta: Params, alpha: Params, method: Method, points: Points
) -> Tensor:
    """Return the loss of theta itself on support and query points together."""
    return family.loss(theta, points.everything(theta))


def reptile(
    family: TaskFamily, theta: Params, alpha: Params, method: Method, points: Points
) -> Tensor:
    r"""Return :math:`\tfrac12 \lVert \theta - \phi \rVert^2`, phi a constant.

    Its gradient is theta - phi, so that a step of plain SGD with the rate epsilon is the paper's
    update theta <- theta + epsilon (phi - theta).
    """
    start = {name: p.detach() for name, p in theta.items()}
    learn = learner(family.model, method)
    phi = learn(family.loss, start, alpha, points.minibatch, steps=method.inner_steps,
                first_order=method.first_order)  # fmt: skip
    gaps = [
        (theta[name] - p.detach()).reshape(*p.shape[: points.axis], -1) for name, p in phi.items()
    ]
    return 0.5 * torch.cat(gaps, dim=-1).square().sum(-1)


class Objective(NamedTuple):
    """A row: what is minimised, and with what.

    Attributes
    ----------
    losses : callable or None
        ``losses(family, theta, alpha, method, points) -> (*runs, tasks)``; None: nothing is
        learned across tasks.
    optimizer : {"adam", "sgd"}
        The outer optimiser where none is named.
    lr : float
        Its rate, where none is named.
    adapts : bool
        Whether there is a phi, so that a method takes at least one inner step.
    through_phi : bool
        Whether its gradient passes through phi: else neither alpha nor what reads can be learned.
    """

    losses: Callable[[TaskFamily, Params, Params, Method, Points], Tensor] | None
    optimizer: str = "adam"
    lr: float = 1e-3
    adapts: bool = True
    through_phi: bool = True


#: The objectives by name. A row of yours is a function and an entry (``compiled=True`` knows
#: ``"query"`` and ``"steps"`` alone, which it writes for itself).
#:
#: :meta hide-value:
OBJECTIVES = {
    "query": Objective(query),
    "steps": Objective(steps),
    "shots": Objective(shots),
    "joint": Objective(joint, adapts=False, through_phi=False),
    "reptile": Objective(reptile, "sgd", 1.0, through_phi=False),
    "none": Objective(None, adapts=False, through_phi=False),
}


def objective_of(method: Method) -> Objective:
    """Return the row of what a method minimises.

    Raises
    ------
    ValueError
        If there is no such row, or the method's other fields contradict it.
    """
    name = method.objective
    if name not in OBJECTIVES:
        raise ValueError(f"objective must be one of {tuple(OBJECTIVES)}, got {name!r}")
    objective = OBJECTIVES[name]
    check_count(f"inner_steps of {method.name}", method.inner_steps, least=int(objective.adapts))
    if (method.learn_alpha or method.reads) and not objective.through_phi:
        what = "learn alpha" if method.learn_alpha else "learn to read"
        raise ValueError(
            f"{method.name} cannot {what}: the objective {name!r} has no gradient through phi, as "
            "'query' has"
        )
    return objective


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
        Rates that fit theta, or the numbers of the method's rule.
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
        If a count is not positive, or the method has nothing to minimise or contradicts its
        objective.
    """
    check_count("shots", shots)
    check_count("query_shots", query_shots)
    losses = objective_of(method).losses
    if losses is None:
        raise ValueError(f"{method.name} learns nothing across tasks: it has no meta-loss")
    name, parameter = next(iter(family.model.named_parameters()))
    axis = theta[name].ndim - parameter.ndim + 1  # runs, and the tasks
    batch = tuple(tasks[0].shape[:axis])
    alpha = share_alpha(theta, alpha, batch, method.rule)
    # A reader's tasks share its weights to the end: once for all of them is enough.
    once = method.reads and isinstance(family.model, Reader)
    theta = per_task(theta, (*batch[:-1], 1) if once else batch)
    if data is None and not family.on_policy:
        data = family.sample_data(tasks, theta, shots + query_shots, generator=generator)
    points = Points(family, tasks, shots, query_shots, generator, axis, data)
    return losses(family, theta, alpha, method, points).mean(dim=-1)


def _sampling_credit(family: TaskFamily, points: Points, score: Tensor) -> Tensor:
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
    likely = [family.log_likelihood(phi, data) for phi, data in points.collected]
    return -(score - others) * torch.stack(likely).sum(0)
