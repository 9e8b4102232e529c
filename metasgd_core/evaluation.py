"""Held-out tasks in, errors after 0, 1, 2 … inner steps out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import check_alpha, share_alpha
from metasgd_core.models import run_axes
from metasgd_core.types import Params, TaskFamily, check_count

#: Supervised tasks are evaluated so many at a time, which keeps them in the processor's cache.
TASKS_AT_ONCE = 100


class Evaluation(NamedTuple):
    """Scores on held-out tasks.

    Attributes
    ----------
    scores : Tensor
        ``(*runs, steps + 1, n_tasks)``: each task's score after 0, 1, … `steps` inner steps. What
        is not finite stays so: a mean over tasks that diverged is not a number to print.
    """

    scores: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean over tasks, ``(*runs, steps + 1)``."""
        return self.scores.mean(dim=-1)

    @property
    def ci95(self) -> Tensor:
        """Half the width of the 95 % interval of the mean over tasks, ``(*runs, steps + 1)``.

        1.96 standard errors: the normal approximation, sound from some dozens of tasks on. The
        tasks are the units; it says nothing about another training seed.
        """
        return 1.96 * self.scores.std(dim=-1) / self.scores.shape[-1] ** 0.5

    def run(self, *index: int) -> Evaluation:
        """Return the evaluation of one run."""
        return Evaluation(self.scores[index])

    def minus(self, other: Evaluation) -> Evaluation:
        """Return the paired differences, task by task.

        Their interval is much narrower than the two means suggest, because both sides met the
        same tasks and the same support points.

        Raises
        ------
        ValueError
            If the two have scores of different shapes.
        """
        if self.scores.shape != other.scores.shape:
            raise ValueError(
                f"cannot pair scores of shapes {tuple(self.scores.shape)} and "
                f"{tuple(other.scores.shape)}: evaluate both with the same steps and n_tasks"
            )
        return Evaluation(self.scores - other.scores)


def evaluate(
    family: TaskFamily,
    theta: Params,
    alpha: Params | float,
    *,
    shots: int,
    steps: int,
    n_tasks: int,
    generator: torch.Generator,
    query_shots: int = 100,
    schedule: Sequence[float] | None = None,
    scorer: TaskFamily | None = None,
) -> Evaluation:
    """Adapt to tasks never trained on, and score every step of the way.

    With a generator in the same state, every method meets the same tasks, the same support points
    and the same query points; so does every run.

    Parameters
    ----------
    family : TaskFamily
        The distribution over tasks.
    theta : Params
        Leaves ``(*runs, *shape)``.
    alpha : Params or float
        Rates that fit theta.
    shots, query_shots : int
        Points a task to adapt on, and to score on.
    steps : int
        Inner steps; 0 scores theta as it is.
    n_tasks : int
        Held-out tasks.
    generator : torch.Generator
        Source of the tasks and data; use a seed kept for testing.
    schedule : sequence of float, optional
        A factor on alpha for each of the `steps`. By default all are 1.
    scorer : TaskFamily, optional
        Draws the query points and scores them in place of `family`, which goes on adapting: a
        greedy policy is scored, but one that draws its actions collects the support.

    Returns
    -------
    Evaluation
        Scores ``(*runs, steps + 1, n_tasks)``.

    Raises
    ------
    ValueError
        If a count is not positive (`steps`: negative), alpha does not fit or is not finite, or the
        schedule is not as long as the steps.
    """
    check_count("n_tasks", n_tasks)
    check_count("steps", steps, least=0)
    check_count("shots", shots)
    check_count("query_shots", query_shots)
    runs = run_axes(family.model, theta)
    check_alpha(theta, alpha)
    if schedule is not None and len(schedule) != steps:
        raise ValueError(
            f"schedule needs one factor for each of the {steps} steps, got {len(schedule)}"
        )
    factors = [1.0] * steps if schedule is None else list(schedule)
    scorer = scorer or family
    theta = {name: p.detach() for name, p in theta.items()}
    tasks = family.sample_tasks(n_tasks, generator=generator)
    if family.on_policy:
        everyone = _over_runs(tasks, slice(None), runs)

        def collect(phi: Params) -> tuple[Any, Any]:
            return (
                family.sample_data(everyone, phi, shots, generator=generator),
                scorer.sample_data(everyone, phi, query_shots, generator=generator),
            )

        batch = (*runs, n_tasks)
        return Evaluation(_walk(family, scorer, theta, alpha, collect, batch, factors))
    support = family.sample_data(tasks, theta, shots, generator=generator)
    query = scorer.sample_data(tasks, theta, query_shots, generator=generator)
    scores = []
    for start in range(0, n_tasks, TASKS_AT_ONCE):
        some = slice(start, min(start + TASKS_AT_ONCE, n_tasks))
        data = _over_runs(support, some, runs), _over_runs(query, some, runs)
        batch = (*runs, some.stop - some.start)
        scores.append(_walk(family, scorer, theta, alpha, data, batch, factors))
    return Evaluation(torch.cat(scores, dim=-1))


def t_interval(values: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Return the mean of a few independent units, and half the width of its 95 % interval.

    By Student's t with ``units - 1`` degrees of freedom: five seeds give ``2.776 * s / 5**0.5``.
    The units are what was drawn independently of each other, most often training seeds, each with
    one number (average over its tasks first). The interval then says where the mean over all seeds
    may lie, *with these tasks*; it says nothing about other tasks. It is exact for normal units,
    and misleads where a few units are far from the rest: show them, too.

    Parameters
    ----------
    values : Tensor
        One number a unit along `dim`. To compare two methods that shared seeds and tasks, give
        their differences.
    dim : int
        The axis of the units.

    Returns
    -------
    mean, half_width : Tensor
        The shape of `values` without `dim`.

    Raises
    ------
    ValueError
        If there are fewer than two units.
    """
    units = values.shape[dim]
    if units < 2:
        raise ValueError(
            f"an interval needs at least two independent units along dim {dim}, got {units} "
            f"(values of shape {tuple(values.shape)}): run more seeds"
        )
    half = float(stdtrit(units - 1, 0.975)) * values.std(dim=dim) / units**0.5
    return values.mean(dim=dim), half


def _over_runs(parts: Any, some: slice, runs: tuple[int, ...]) -> Any:
    """Give every run the same tasks, or the same data of them."""
    return type(parts)(*(leaf[some].expand(*runs, *leaf[some].shape) for leaf in parts))


def _walk(
    family: TaskFamily,
    scorer: TaskFamily,
    theta: Params,
    alpha: Params | float,
    data: tuple[Any, Any] | Callable[[Params], tuple[Any, Any]],
    batch: tuple[int, ...],
    factors: list[float],
) -> Tensor:
    """Adapt step by step; return the score before each step and after the last."""
    rates, phi = share_alpha(theta, alpha, batch), per_task(theta, batch)
    scores = []
    for step in range(len(factors) + 1):
        support, query = data(phi) if callable(data) else data
        with torch.no_grad():
            scores.append(scorer.score(phi, query))
        if step < len(factors):
            scaled = {name: factors[step] * a for name, a in rates.items()}
            with torch.enable_grad():
                phi = adapt(family.loss, phi, scaled, support, first_order=True)
            phi = {name: p.detach() for name, p in phi.items()}
    return torch.stack(scores, dim=-2)
