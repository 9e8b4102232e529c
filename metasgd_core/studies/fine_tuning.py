"""Fine-tuning at its best: from two starts, at the best of four rates, for as long as it helps.

Plain gradient steps on sinusoids of fixed frequency. The rate and the number of steps are chosen
on validation tasks, for each start and number of shots; the test tasks are met once, at the choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import torch
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import init_alpha
from metasgd_core.meta_training import meta_train
from metasgd_core.methods import JOINT
from metasgd_core.models import init_theta
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Data, Params

FAMILY = Sinusoid()
STARTS = ("random", "joint")
SHOTS = (1, 2, 5, 10, 20)
SEEDS = 5
ITERATIONS = 2000
RATES = (0.003, 0.01, 0.03, 0.1)
#: The errors are looked at after so many steps.
STEPS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000)
#: No walk ends before: some stand still for a hundred steps and go on.
PATIENCE = 500
VALIDATION_TASKS, TEST_TASKS = 50, 200
#: Seeds of the generators: the first theta, the training tasks, then tasks held out.
FIRST, TRAINING, VALIDATION, TEST = 0, 1, 1000, 2000


def start(name: str, iterations: int = ITERATIONS) -> Params:
    """Return a start, leaves ``(SEEDS, *shape)``: random, or trained jointly as in chapter 4."""
    runs = (SEEDS,)
    theta = init_theta(FAMILY.model, generator=generator(FIRST), runs=runs)
    if name == "random":
        return theta
    *_, record = meta_train(
        FAMILY, theta, init_alpha(theta, "scalar", 0.01, runs=runs), JOINT, iterations=iterations,
        meta_batch=10, shots=10, query_shots=10, lr=3e-3, final_lr=0.1, record_every=iterations,
        generator=generator(TRAINING),
    )
    return record.theta


def walk(
    theta: Params, rate: Tensor, shots: int, *, n_tasks: int, seed: int,
    steps: tuple[int, ...] = STEPS,
) -> Iterator[tuple[int, Tensor]]:
    """Fine-tune to held-out tasks, and score the curves on the way.

    Parameters
    ----------
    theta : Params
        Leaves ``(*runs, *shape)``.
    rate : Tensor
        ``(*runs,)``.
    shots, n_tasks : int
        Points to fine-tune on, and tasks.
    seed : int
        Of the tasks and their points.
    steps : tuple of int
        When to score.

    Yields
    ------
    step, errors : int, Tensor
        Each task's error on 100 query points, ``(*runs, n_tasks)``; not finite where it diverged.
    """
    runs = tuple(rate.shape)
    batch = (*runs, n_tasks)
    source = generator(seed)
    tasks = FAMILY.sample_tasks(n_tasks, generator=source)
    support, query = (
        Data(*(part.expand(*runs, *part.shape) for part in points))
        for points in (
            FAMILY.sample_data(tasks, None, count, generator=source) for count in (shots, 100)
        )
    )
    phi = per_task(theta, batch)
    alpha = per_task(init_alpha(theta, "scalar", rate, runs=runs), batch)
    done = 0
    with torch.no_grad():
        for step in steps:
            phi = adapt(FAMILY.loss, phi, alpha, support, steps=step - done, first_order=True)
            done = step
            yield step, FAMILY.loss(phi, query)


def validate(
    theta: Params, shots: int, *, n_tasks: int = VALIDATION_TASKS
) -> tuple[float, int, Tensor]:
    """Choose a rate and a number of steps by the mean error of all seeds on validation tasks.

    The walk ends when its second half has brought nothing, and not before `PATIENCE` steps.

    Returns
    -------
    rate, step : float, int
        The best pair.
    errors : Tensor
        ``(steps looked at, rates)``; what diverged is infinite.
    """
    runs = (len(RATES), SEEDS)
    rates = torch.tensor(RATES)[:, None].expand(runs)
    theta = {name: p.expand(*runs, *p.shape[1:]) for name, p in theta.items()}
    errors: list[Tensor] = []
    for step, found in walk(theta, rates, shots, n_tasks=n_tasks, seed=VALIDATION):
        errors.append(found.mean((-2, -1)).nan_to_num(inf, posinf=inf))
        best, which = divmod(int(torch.stack(errors).argmin()), len(RATES))
        if step >= PATIENCE and STEPS[best] <= step / 2:
            break
    return RATES[which], STEPS[best], torch.stack(errors)


def held_out(
    theta: Params, rate: float, step: int, shots: int, *, n_tasks: int = TEST_TASKS
) -> Tensor:
    """Return each test task's error after `step` steps, ``(seeds, n_tasks)``."""
    rates = torch.full((SEEDS,), rate)
    *_, (_, errors) = walk(theta, rates, shots, n_tasks=n_tasks, seed=TEST, steps=(step,))
    return errors


def work(job: Job) -> Stored:
    """Fine-tune from one start with each number of shots: the choice, and the test."""
    theta = start(job.name, 20 if job.quick else ITERATIONS)
    learned = theta if job.name == "joint" else {}
    tensors = {f"theta.{name}": p for name, p in learned.items()}
    for done, shots in enumerate(SHOTS):
        if job.quick:
            rate, step, errors = RATES[0], 3, torch.zeros(0)
        else:
            rate, step, errors = validate(theta, shots)
        tensors |= {
            f"{shots}/validation": errors,
            f"{shots}/chosen": torch.tensor([rate, step], dtype=torch.float64),
            f"{shots}/test": held_out(
                theta, rate, step, shots, n_tasks=5 if job.quick else TEST_TASKS
            ),
        }
        job.tell((done + 1) / (len(SHOTS) + 1))
    return Stored(tensors, {})


def results(parts: dict[str, Stored]) -> dict[str, Stored]:
    """Return the one file."""
    return {"fine-tuning": together(parts, shots=SHOTS, rates=RATES, steps=STEPS)}


def summary(found: Stored) -> str:
    """Return the choices, and the errors: mean over seeds and tasks, lowest and highest seed."""
    lines = []
    for name in STARTS:
        for shots in SHOTS:
            rate, step = found.tensors[f"{name}/{shots}/chosen"].tolist()
            seeds = found.tensors[f"{name}/{shots}/test"].mean(-1)
            lines.append(
                f"{name:7} K = {shots:2}  rate {rate:g}, {step:4.0f} steps: {seeds.mean():.2f} "
                f"(seeds {seeds.min():.2f} to {seeds.max():.2f})"
            )
    return "\n".join(lines)


STUDIES = {
    "fine-tuning": Study(
        "chapter 3: fine-tuning at its best, from two starts", "10 minutes", STARTS, work, summary,
        results,
    )
}
