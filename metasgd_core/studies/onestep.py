"""One step on 1 to 40 shots: how near the floor of one additive step (chapter 7).

Chapter 8's MAML and Meta-SGD, and what it does not store: its learned scalar and its six rates,
whole, and Meta-SGD trained on other numbers of shots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import init_alpha
from metasgd_core.floor import best_step
from metasgd_core.meta_training import meta_train
from metasgd_core.methods import META_SGD, Method
from metasgd_core.models import init_theta, predict
from metasgd_core.studies import Stored, generator, lab, load
from metasgd_core.studies.jobs import Job, Study
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Data, Params

SHOTS = (1, 2, 5, 10, 20, 40)
SEEDS = 5
TEST, TEST_TASKS = 2020, 2000


@dataclass(frozen=True)
class Setting:
    """One training.

    Parameters
    ----------
    method : Method
        Meta-SGD, with as many rates as it says.
    shots : int
        Support points a task.
    lr : float
        Adam's rate, which falls linearly to a hundredth of itself.
    """

    method: Method
    shots: int
    lr: float = 1e-3


JOBS: dict[str, Setting | str] = {
    # The networks of chapter 8, by the group of arms that stores them: tested, not trained.
    "MAML": "fixed",
    "Meta-SGD": "start",
    # As chapter 8 trains its MAML and its Meta-SGD, five seeds of those ten.
    "learned scalar, K = 5": Setting(
        replace(META_SGD, alpha_shape="scalar", alpha_form="log"), lab.SHOTS
    ),
    "learned per tensor, K = 5": Setting(replace(META_SGD, alpha_shape="tensor"), lab.SHOTS),
    # With the outer rate that served Meta-SGD best there.
    **{f"Meta-SGD, K = {shots}": Setting(META_SGD, shots, lr=3e-3) for shots in (1, 5, 20)},
}
#: What the chapter takes apart.
WHOLE = "Meta-SGD, K = 5"


class Errors(NamedTuple):
    """Errors after one step, task by task.

    Attributes
    ----------
    network : Tensor
        ``(seeds, tasks)``.
    linear : Tensor
        ``(seeds, tasks)``, of the same step if the network were linear in its parameters.
    best : Tensor
        ``(tasks,)``, of the best additive step from the same points.
    """

    network: Tensor
    linear: Tensor
    best: Tensor


def errors(
    theta: Params, alpha: Params, shots: int, *, n_tasks: int = TEST_TASKS, at_once: int = 500
) -> Errors:
    """Test networks of several seeds on the same tasks, with 50 evenly spaced query points.

    Parameters
    ----------
    theta, alpha : Params
        Leaves ``(seeds, *shape)``.
    shots : int
        Support points a task.
    n_tasks, at_once : int
        Held-out tasks in all, and in one go.
    """
    family, random = Sinusoid(), generator(TEST)
    seeds = len(next(iter(theta.values())))
    grid = ((torch.arange(50) + 0.5) / 5 - 5)[:, None]
    parts = []
    for _ in range(n_tasks // at_once):
        tasks = family.sample_tasks(at_once, generator=random)
        x, y = family.sample_data(tasks, None, shots, generator=random)
        query = grid.expand(at_once, -1, -1)
        truth = tasks(query)
        shared = Data(x.expand(seeds, -1, -1, -1), y.expand(seeds, -1, -1, -1))
        start = {n: p.detach().clone() for n, p in per_task(theta, (seeds, at_once)).items()}
        phi = adapt(family.loss, start, per_task(alpha, (seeds, at_once)), shared,
                    first_order=True)
        moved = {n: (phi[n] - p).detach() for n, p in start.items()}

        curve = partial(predict, family.model, x=query.expand(seeds, -1, -1, -1))
        with torch.no_grad():
            before, change = jvp(curve, (start,), (moved,))[:2]
            after = curve(phi)
        best = best_step(x[..., 0], y[..., 0], query[..., 0])
        parts.append([
            (predicted - target).square().mean((-1, -2)).double()
            for predicted, target in (
                (after, truth), (before + change, truth), (best[..., None], truth)
            )
        ])
    return Errors(*(torch.cat(part, dim=-1) for part in zip(*parts)))


def chapter_8(group: str) -> tuple[Params, Params]:
    """Return theta and alpha of the ten networks that the alpha lab stores of a group."""
    found, model = load("alpha-lab").tensors, Sinusoid().model
    theta, alpha = (
        {n: found[f"{group}/{part}.{n}"] for n, _ in model.named_parameters()}
        for part in ("theta", "alpha")
    )
    return theta, alpha


def work(job: Job) -> Stored:
    """Train five seeds, or take ten that are stored, and test them on each number of shots.

    Stored are, ``(seeds, tested shots)``, the mean error of the networks and of their linear part,
    and what the networks cost more than the best step on the same tasks; of `WHOLE` also theta
    and alpha.
    """
    setting, tensors = JOBS[job.name], {}
    if isinstance(setting, str):
        theta, alpha = chapter_8(setting)
    else:
        method, shots, lr = setting.method, setting.shots, setting.lr
        iterations = 100 if job.quick else lab.ITERATIONS
        first = init_theta(Sinusoid().model, generator=generator(lab.FIRST), runs=(SEEDS,))
        begun = init_alpha(first, method.alpha_shape, 0.01, runs=(SEEDS,))
        record, _ = job.train(
            lambda checkpoint: meta_train(
                Sinusoid(), first, begun, method, iterations=iterations,
                meta_batch=lab.META_BATCH, shots=shots, query_shots=lab.QUERY_SHOTS,
                generator=generator(lab.TRAINING), lr=lr, final_lr=0.01, clip=10.0,
                record_every=1000, checkpoint=checkpoint, compiled=not job.quick,
            ),
            iterations,
        )
        theta, alpha = record.theta, record.alpha
        if job.name == WHOLE:
            tensors = {f"theta.{n}": p for n, p in theta.items()}
            tensors |= {f"alpha.{n}": a for n, a in alpha.items()}
    tested = [
        errors(theta, alpha, shots, n_tasks=500 if job.quick else TEST_TASKS) for shots in SHOTS
    ]
    return Stored(tensors | {
        "network": torch.stack([part.network.mean(-1) for part in tested], -1),
        "linear": torch.stack([part.linear.mean(-1) for part in tested], -1),
        "excess": torch.stack([(part.network - part.best).mean(-1) for part in tested], -1),
    }, {})


def summary(found: Stored) -> str:
    """Return what each row costs more than the floor, on the shots that it was trained on."""
    lines = []
    for name, setting in JOBS.items():
        own = SHOTS.index(lab.SHOTS if isinstance(setting, str) else setting.shots)
        excess = found.tensors[f"{name}/excess"][:, own].mean()
        lines.append(f"{name:26}{float(excess):9.4f}")
    return "\n".join(lines)


STUDIES = {
    "one-step": Study(
        "chapter 7: one step on 1 to 40 shots, beside its floor", "2 minutes", tuple(JOBS), work,
        summary,
    )
}
