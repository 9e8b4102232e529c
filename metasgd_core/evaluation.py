"""Held-out tasks in, errors after 0, 1, 2 … inner steps out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from metasgd_core.adaptation import per_task
from metasgd_core.alpha import check_rule, share_alpha
from metasgd_core.methods import MAML, Method
from metasgd_core.models import run_axes
from metasgd_core.readers import learner
from metasgd_core.rules import DESCENT
from metasgd_core.types import Params, TaskFamily, check_count, take

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

        `t_interval` with the tasks as units; it says nothing about another training seed.
        """
        return t_interval(self.scores)[1]

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
    method: Method = MAML,
) -> Evaluation:
    """Adapt to tasks never trained on, and score every step of the way.

    With a generator in the same state, every method meets the same tasks, the same support points
    and the same query points; so does every run. (Where the data depend on the parameters, only
    the tasks are the same.)

    Parameters
    ----------
    family : TaskFamily
        The distribution over tasks.
    theta : Params
        Leaves ``(*runs, *shape)``.
    alpha : Params or float
        Rates that fit theta, or the numbers of the method's rule.
    shots, query_shots : int
        Points a task to adapt on, and to score on.
    steps : int
        Inner steps; 0 scores theta as it is.
    n_tasks : int
        Held-out tasks.
    generator : torch.Generator
        Source of the tasks and data; use a seed kept for testing.
    schedule : sequence of float, optional
        A factor on alpha for each of the `steps`, for plain descent. By default all are 1.
    scorer : TaskFamily, optional
        Draws the query points and scores them in place of `family`, which goes on adapting: a
        greedy policy is scored, but one that draws its actions collects the support. (Where
        support and query are one draw, `family` draws both.)
    method : Method
        How to adapt, where it is not by plain descent: by the method's rule, or by reading. Only
        that part of the row is used.

    Returns
    -------
    Evaluation
        Scores ``(*runs, steps + 1, n_tasks)``.

    Raises
    ------
    ValueError
        If a count is not positive (`steps`: negative), alpha does not fit or is not finite, the
        schedule is not as long as the steps or not for plain descent, or a model that reads is
        asked for more than one step.
    """
    check_count("n_tasks", n_tasks)
    check_count("steps", steps, least=0)
    check_count("shots", shots)
    check_count("query_shots", query_shots)
    runs = run_axes(family.model, theta)
    check_rule(method.rule, theta, alpha, runs)
    if schedule is not None and len(schedule) != steps:
        raise ValueError(
            f"schedule needs one factor for each of the {steps} steps, got {len(schedule)}"
        )
    if schedule is not None and (method.reads or method.rule != DESCENT):
        raise ValueError(f"schedule scales the rates of plain descent, and {method.name} has none")
    walk = partial(
        _walk, family, scorer or family, theta, alpha, method=method, steps=steps, factors=schedule
    )
    tasks = family.sample_tasks(n_tasks, generator=generator)
    if family.on_policy:
        everyone = _over_runs(tasks, slice(None), runs)

        def collect(phi: Params) -> tuple[Any, Any]:
            return (
                family.sample_data(everyone, phi, shots, generator=generator),
                (scorer or family).sample_data(everyone, phi, query_shots, generator=generator),
            )

        return Evaluation(walk(collect, batch=(*runs, n_tasks)))
    one_draw = getattr(family, "one_draw", False)
    if not one_draw:
        support = family.sample_data(tasks, theta, shots, generator=generator)
        query = (scorer or family).sample_data(tasks, theta, query_shots, generator=generator)
    scores = []
    for start in range(0, n_tasks, TASKS_AT_ONCE):
        n = min(TASKS_AT_ONCE, n_tasks - start)
        some = slice(start, start + n)
        if one_draw:
            these = _over_runs(tasks, some, ())
            both = family.sample_data(these, theta, shots + query_shots, generator=generator)
            support, query = take(both, 1, 0, shots), take(both, 1, shots, query_shots)
            some = slice(None)
        data = _over_runs(support, some, runs), _over_runs(query, some, runs)
        scores.append(walk(data, batch=(*runs, n)))
    return Evaluation(torch.cat(scores, dim=-1))


def student_t(units: int) -> float:
    """Return how many standard errors a 95 % interval over so many units has to either side."""
    return float(stdtrit(units - 1, 0.975))


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
    half = student_t(units) * values.std(dim=dim) / units**0.5
    return values.mean(dim=dim), half


class Comparison(NamedTuple):
    """What two methods, paired unit by unit, differ by. As text: ``-0.38 ± 0.04: lower``.

    Attributes
    ----------
    mean, half_width : float
        The mean of the differences, and half the width of its 95 % t interval.
    verdict : str
        ``"lower"`` or ``"higher"`` where the interval leaves out 0; else ``"equal within m"`` where
        it lies within the margin; else ``"not distinguished"``, which is not "equal".
    """

    mean: float
    half_width: float
    verdict: str

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ± {self.half_width:.2f}: {self.verdict}"


def compare(first: Tensor, second: Tensor, *, margin: float | None = None) -> Comparison:
    """Compare two methods by the paired differences ``first - second``: the book's one rule.

    The units are those that the claim is about. A claim about methods needs one number a training
    seed (average over the tasks first); a claim about two trained networks, one number a task.

    Parameters
    ----------
    first, second : Tensor
        ``(units,)``: both have met the same seeds and tasks, in the same order.
    margin : float, optional
        A difference too small to matter, named before the result is seen. Without it nothing is
        called equal.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If the two are not of one shape ``(units,)``, there are fewer than two units, a number is
        not finite, or the margin is not above 0.

    Examples
    --------
    >>> maml, meta_sgd = torch.tensor([0.9, 0.8, 0.9]), torch.tensor([0.4, 0.5, 0.4])
    >>> print(compare(meta_sgd, maml))
    -0.43 ± 0.29: lower
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"a comparison pairs two tensors of one shape (units,), got {tuple(first.shape)} and "
            f"{tuple(second.shape)}: give one number a unit, in the same order"
        )
    if margin is not None and not margin > 0:
        raise ValueError(f"the margin must be above 0, got {margin}: leave it out for none")
    if not (first.isfinite().all() and second.isfinite().all()):
        raise ValueError("a unit is not finite: report how many diverged, and compare the others")
    mean, half = (value.item() for value in t_interval((first - second).double()))
    if abs(mean) > half:
        verdict = "lower" if mean < 0 else "higher"
    elif margin is not None and abs(mean) + half <= margin:
        verdict = f"equal within {margin:g}"
    else:
        verdict = "not distinguished"
    return Comparison(mean, half, verdict)


def _over_runs(parts: Any, some: slice, runs: tuple[int, ...]) -> Any:
    """Give every run the same tasks, or the same data of them."""
    return type(parts)(*(leaf[some].expand(*runs, *leaf[some].shape) for leaf in parts))


@torch.no_grad()
def _walk(
    family: TaskFamily,
    scorer: TaskFamily,
    theta: Params,
    alpha: Params | float,
    data: tuple[Any, Any] | Callable[[Params], tuple[Any, Any]],
    *,
    batch: tuple[int, ...],
    method: Method,
    steps: int,
    factors: Sequence[float] | None,
) -> Tensor:
    """Adapt, and return the score before each step and after the last."""
    rates, start = share_alpha(theta, alpha, batch, method.rule), per_task(theta, batch)
    learn, scores = learner(family.model, method), []

    def score(phi: Params, step: int) -> Any:
        support, query = data(phi) if callable(data) else data
        scores.append(scorer.score(phi, query))
        return support

    if factors is None:
        phi = learn(family.loss, start, rates, score, steps=steps, first_order=True)
    else:
        phi = start
        for factor in factors:
            scaled = {name: factor * a for name, a in rates.items()}
            phi = learn(family.loss, phi, scaled, score, steps=1, first_order=True)
    score(phi, steps)
    return torch.stack(scores, dim=-2)
