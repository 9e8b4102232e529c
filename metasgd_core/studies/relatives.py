"""Relatives of Meta-SGD's inner step, on the same sinusoids (chapter 11).

Every row is tried with twelve settings, for a part of its training; the one with the least error on
validation tasks is trained whole, with five seeds, and tested on tasks that all rows share. The
error along the way, on validation tasks, is kept with the seconds an iteration takes, so that rows
can be compared after as many iterations or after as many seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import init_alpha, init_rule, share_alpha
from metasgd_core.evaluation import evaluate
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import MAML, META_SGD, Method
from metasgd_core.models import MLP, ContextMLP, init_theta
from metasgd_core.rules import (
    DESCENT,
    Rule,
    adam,
    alfa,
    curvature,
    lstm,
    meta_lstm,
    momentum,
    rate_a_step,
    warp,
)
from metasgd_core.studies import Stored, generator, lab
from metasgd_core.studies.exploded import statistics
from metasgd_core.studies.jobs import Job, Study
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Data, Params

SEEDS, TRIAL_SEEDS = 5, 2
TEST_STEPS, TEST_TASKS = 10, 500
#: Seeds of the generators: the first theta and alpha, the training tasks, then tasks held out.
FIRST, TRAINING, VALIDATION, TEST = 110, 111, 1110, 2110
#: The training tasks, and tasks off them, by what is changed.
FAMILIES: dict[str, dict[str, tuple[float, float]]] = {
    "training": {}, "amplitude": {"amplitude": (5.0, 10.0)}, "frequency": {"frequency": (1.2, 2.0)},
    "x": {"x": (5.0, 10.0)},
}
#: On which of them, and with how many shots.
TESTS = (("training", 5), *((name, 10) for name in FAMILIES))


class Trial(NamedTuple):
    """A setting to try.

    Attributes
    ----------
    lr : float
        Outer rate of theta; it falls linearly to a hundredth of itself.
    share : float
        What part of it alpha has, where it is learned.
    first : float
        The rate (or whatever the row begins with).
    """

    lr: float
    share: float
    first: float


def grid(
    lrs: tuple[float, ...], shares: tuple[float, ...] = (1.0,), firsts: tuple[float, ...] = (0.01,)
) -> tuple[Trial, ...]:
    """Return all combinations."""
    return tuple(Trial(*combined) for combined in product(lrs, shares, firsts))


_OUTER = (1e-3, 3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class Row:
    """One relative.

    Parameters
    ----------
    method : Method
        With plain descent where `rule` says nothing else.
    trials : tuple of Trial
        Twelve.
    rule : callable, optional
        ``rule(first, steps) -> Rule``.
    model : nn.Module
        The network.
    iterations : int
        Of the whole training; a trial has a tenth of them.
    """

    method: Method
    trials: tuple[Trial, ...] = grid(_OUTER, (1.0, 0.3, 0.1))
    rule: Callable[[float, int], Rule] | None = None
    model: nn.Module = field(default_factory=MLP)
    iterations: int = 20_000

    def at(self, trial: Trial) -> Method:
        """Return the method with the rule that a trial begins with."""
        if self.rule is None:
            return self.method
        return replace(self.method, rule=self.rule(trial.first, self.method.inner_steps))


def begin(row: Row, trial: Trial, seeds: int) -> tuple[Params, Params]:
    """Return the first theta and alpha, leaves ``(seeds, ...)``."""
    source, method = generator(FIRST), row.at(trial)
    theta = init_theta(row.model, generator=source, runs=(seeds,))
    if method.rule != DESCENT:
        return theta, init_rule(method.rule, theta, runs=(seeds,), generator=source)
    alpha = init_alpha(theta, method.alpha_shape, trial.first, runs=(seeds,))
    if isinstance(row.model, ContextMLP):  # CAVIA: the weights have no rate
        alpha = {n: a if n == "context" else torch.zeros_like(a) for n, a in alpha.items()}
    return theta, alpha


RELATIVES: dict[str, Row] = {
    "fixed rate": Row(MAML, grid(_OUTER, firsts=(0.003, 0.01, 0.03))),
    "one learned rate": Row(replace(META_SGD, alpha_shape="scalar")),
    "a rate a tensor": Row(replace(META_SGD, alpha_shape="tensor")),
    "a rate a tensor and step": Row(
        replace(META_SGD, objective="steps"), rule=lambda first, steps: rate_a_step(steps, first)
    ),
    # The multi-step loss and the many rates came together: the rates without that loss.
    "a rate a tensor and step, last loss": Row(
        META_SGD, rule=lambda first, steps: rate_a_step(steps, first)
    ),
    "Meta-SGD": Row(META_SGD),
    # As many rates as Meta-Curvature's matrices have numbers, or nearly.
    "Meta-SGD, 80 wide": Row(META_SGD, model=MLP((1, 80, 80, 1))),
    "momentum": Row(META_SGD, rule=lambda first, steps: momentum(first)),
    "Adam inside": Row(META_SGD, rule=lambda first, steps: adam(first)),
    "Meta-Curvature": Row(META_SGD, rule=lambda first, steps: curvature(first)),
    "T-net": Row(META_SGD, rule=lambda first, steps: warp(first)),
    "ALFA": Row(META_SGD, rule=lambda first, steps: alfa(steps, first)),
    "CAVIA": Row(MAML, grid(_OUTER, firsts=(0.3, 1.0, 3.0)), model=ContextMLP()),
    "LSTM": Row(
        replace(META_SGD, first_order=True), grid(_OUTER, firsts=(0.01, 0.03, 0.1)),
        lambda first, steps: lstm(scale=first), iterations=8000,
    ),
    "meta-LSTM": Row(
        replace(META_SGD, first_order=True), grid(_OUTER, firsts=(-4.0, -3.0, -2.0)),
        lambda first, steps: meta_lstm(take=first), iterations=8000,
    ),
}
#: With one step, a rate a step is a rate, and there is nothing for momentum to remember.
ONE_STEP = tuple(
    name for name in RELATIVES if name != "momentum" and "and step" not in name
)
FIVE_STEPS = tuple(name for name in RELATIVES if "wide" not in name)
ROWS = {
    f"{name}, {steps} step{'s' * (steps > 1)}": replace(
        RELATIVES[name], method=replace(RELATIVES[name].method, name=name, inner_steps=steps)
    )
    for steps, names in ((1, ONE_STEP), (5, FIVE_STEPS)) for name in names
}
#: Whose steps are linear in the gradient: they have a kernel.
LINEAR = ("fixed rate, 1 step", "a rate a tensor, 1 step", "Meta-SGD, 1 step",
          "Meta-Curvature, 1 step", "T-net, 1 step", "CAVIA, 1 step")  # fmt: skip
#: Whose theta and alpha are stored.
WHOLE = ("Meta-SGD, 1 step", "Meta-Curvature, 1 step", "momentum, 5 steps")


def train(
    row: Row, trial: Trial, *, seeds: int = SEEDS, iterations: int, record_every: int,
    checkpoint: str | os.PathLike[str] | None = None, compiled: bool = False,
) -> Iterator[Record]:
    """Train a row by one of its settings with several seeds at once."""
    theta, alpha = begin(row, trial, seeds)
    return meta_train(
        Sinusoid(row.model), theta, alpha, row.at(trial), iterations=iterations,
        meta_batch=lab.META_BATCH, shots=lab.SHOTS, query_shots=lab.QUERY_SHOTS,
        generator=generator(TRAINING), lr=trial.lr, alpha_lr=trial.lr * trial.share, final_lr=0.01,
        clip=10.0, skip=True, record_every=record_every, checkpoint=checkpoint, compiled=compiled,
    )


def errors(
    row: Row, trial: Trial, theta: Params, alpha: Params, *, shots: int = lab.SHOTS,
    steps: int, n_tasks: int = TEST_TASKS, seed: int = TEST, test: str = "training",
) -> Tensor:
    """Return the errors on held-out tasks after 0, 1, … steps, ``(seeds, steps + 1, n_tasks)``."""
    found = evaluate(
        Sinusoid(row.model, **FAMILIES[test]), theta, alpha, shots=shots, steps=steps,
        n_tasks=n_tasks, generator=generator(seed), method=row.at(trial),
    )
    return found.scores


def failed(scores: Tensor) -> Tensor:
    """Return the mean over tasks, infinite where one has exploded: what a choice is made by."""
    return scores.mean(-1).nan_to_num(inf, posinf=inf)


def kernel(model: nn.Module, rule: Rule, phi: Params, alpha: Params, x: Tensor) -> Tensor:
    r"""Return what a step makes of residuals, to first order: ``(seeds, tasks, shots, shots)``.

    .. math:: r \leftarrow (I - H) \, r, \qquad
              H_{jk} = \tfrac2K \, \nabla f(x_j)^\top P \, \nabla f(x_k)

    for residuals r on the support, and the P by which the rule multiplies a gradient. Along an
    eigenvector of H with the eigenvalue h, a step leaves 1 - h of the residual: nothing if h is 1,
    and more than there was if h is negative or above 2.

    Parameters
    ----------
    model, rule
        The network, and a rule that is linear in the gradient and remembers nothing.
    phi : Params
        Leaves ``(seeds, tasks, *shape)``.
    alpha : Params
        Leaves ``(seeds, ...)``.
    x : Tensor
        ``(seeds, tasks, shots, 1)``.
    """
    seeds, tasks, shots, _ = x.shape

    def output(phi: Params, x: Tensor) -> Tensor:
        return functional_call(model, phi, (x[None],)).squeeze()

    slopes = vmap(vmap(vmap(grad(output), (None, 0))))(phi, x)  # (seeds, tasks, shots, *shape)
    each = {n: g.flatten(1, 2) for n, g in slopes.items()}
    first = {n: p[:, 0] for n, p in phi.items()}
    numbers = share_alpha(first, alpha, (seeds, tasks * shots), rule)
    step, _ = rule.step({n: torch.zeros_like(g) for n, g in each.items()}, each, None, numbers)
    g, moved = (
        torch.cat([part[n].reshape(seeds, tasks, shots, -1) for n in phi], -1)
        for part in (each, step)
    )
    return -2 / shots * g @ moved.mT


def spectra(
    row: Row, trial: Trial, theta: Params, alpha: Params, *, steps: int = 3, n_tasks: int = 100
) -> Tensor:
    """Return the eigenvalues of the kernel before each step on test tasks.

    ``(steps, seeds, tasks, shots, 2)``, real and imaginary parts.
    """
    family, source, rule = Sinusoid(row.model), generator(TEST), row.at(trial).rule
    batch = (len(next(iter(theta.values()))), n_tasks)
    tasks = family.sample_tasks(n_tasks, generator=source)
    one = family.sample_data(tasks, None, lab.SHOTS, generator=source)
    data = Data(*(leaf.expand(*batch, *leaf.shape[1:]) for leaf in one))
    found: list[Tensor] = []

    def support(phi: Params, step: int) -> Data:
        each = {n: p.detach() for n, p in phi.items()}
        H = kernel(row.model, rule, each, alpha, data.x).double()
        found.append(torch.view_as_real(torch.linalg.eigvals(H)).float())
        return data

    with torch.no_grad():
        adapt(family.loss, per_task(theta, batch), share_alpha(theta, alpha, batch, rule), support,
              steps=steps, rule=rule)
    return torch.stack(found)


def choose(job: Job, trials: int, validate: Callable[[int], Tensor]) -> tuple[int, Tensor]:
    """Try every setting; return the best, and the validation errors ``(trials,)``."""
    tried = []
    for i in range(trials):
        tried.append(validate(i).mean())
        job.tell((i + 1) / trials / 2)
    found = torch.stack(tried)
    return int(found.argmin()), found


def trying(job: Job, i: int) -> Job:
    """Return the job of a trial, with files of its own."""
    return job._replace(name=f"{job.name}, trial {i}", tell=lambda fraction: None)


def chosen(job: Job) -> Job:
    """Return the job of the whole training, which the trials have half done."""
    return job._replace(tell=lambda fraction: job.tell(0.5 + fraction / 2))


def timed(
    note: Callable[[Record], dict[str, Tensor]]
) -> Callable[[Record], dict[str, Tensor]]:
    """Return what notes the loss, too, and the processor's seconds since the note before."""
    clock = [time.process_time()]

    def both(record: Record) -> dict[str, Tensor]:
        spent = torch.tensor(time.process_time() - clock[0], dtype=torch.float64)
        found = note(record) | {"loss": record.loss, "spent": spent}
        clock[0] = time.process_time()
        return found

    return both


def pace(noted: dict[str, Tensor]) -> Tensor:
    """Return the processor's seconds an iteration, the median over the stretches between notes.

    The first stretch after a start also compiles; the median does not see it.
    """
    lengths = noted["iteration"].diff(prepend=torch.zeros(1, dtype=torch.long))
    return (noted["spent"] / lengths).median()


def work(job: Job) -> Stored:
    """Choose a row's setting, train it, and test it."""
    row = ROWS[job.name]
    steps = row.method.inner_steps
    iterations = 8 if job.quick else row.iterations
    tasks = 5 if job.quick else TEST_TASKS

    def validate(i: int) -> Tensor:
        trial, few = row.trials[i], max(2, iterations // 10)
        record, _ = trying(job, i).train(
            lambda checkpoint: train(row, trial, seeds=TRIAL_SEEDS, iterations=few,
                                     record_every=few, checkpoint=checkpoint),
            few,
        )
        return failed(errors(row, trial, record.theta, record.alpha, steps=steps,
                             n_tasks=min(tasks, 200), seed=VALIDATION)[:, -1])

    best, tried = choose(job, len(row.trials), validate)
    trial = row.trials[best]
    record, noted = chosen(job).train(
        lambda checkpoint: train(
            row, trial, iterations=iterations, record_every=iterations // (2 if job.quick else 40),
            checkpoint=checkpoint, compiled=not job.quick,
        ),
        iterations,
        timed(lambda record: {"curve": statistics(errors(
            row, trial, record.theta, record.alpha, steps=steps, n_tasks=min(tasks, 200),
            seed=VALIDATION,
        )[:, -1])}),
    )
    tensors = {
        "trials": torch.tensor([[*trial] for trial in row.trials]), "tried": tried,
        "chosen": torch.tensor(best), "iteration": noted["iteration"], "curve": noted["curve"],
        "loss": noted["loss"], "pace": pace(noted),
        "numbers": torch.tensor([sum(p[0].numel() for p in group) for group in (
            record.theta.values(), {id(a): a for a in record.alpha.values()}.values())]),
    }  # fmt: skip
    for test, shots in TESTS:
        tensors[f"{test}, K = {shots}"] = statistics(errors(
            row, trial, record.theta, record.alpha, shots=shots, steps=TEST_STEPS, n_tasks=tasks,
            test=test,
        ))
    if job.name in LINEAR:
        tensors["spectra"] = spectra(
            row, trial, record.theta, record.alpha, n_tasks=min(tasks, 100)
        ).half()
    if job.name in WHOLE:
        tensors |= {f"theta.{n}": p for n, p in record.theta.items()}
        tensors |= {f"alpha.{n}": a for n, a in record.alpha.items()}
    return Stored(tensors, {})


def summary(found: Stored) -> str:
    """Return each row's error after 1 and after 5 steps, its mean over the seeds, and its cost."""
    lines = []
    for name in ROWS:
        tensors = {key.partition("/")[2]: t for key, t in found.tensors.items()
                   if key.startswith(f"{name}/")}  # fmt: skip
        _, _, exploded, mean = tensors["training, K = 5"].mean(0).unbind(-1)
        lr, share, first = tensors["trials"][tensors["chosen"]].tolist()
        lines.append(
            f"{name:34} {1000 * tensors['pace']:7.2f} ms  "
            + "  ".join(f"{k}: {mean[k]:.3f} ({exploded[k]:.0f} exploded)" for k in (1, 5, 10))
            + f"  lr {lr:g}, share {share:g}, first {first:g}"
        )
    return "\n".join(lines)


STUDIES = {
    "relatives": Study(
        "chapter 11: other inner steps than Meta-SGD's", "130 minutes", tuple(ROWS), work, summary
    )
}
