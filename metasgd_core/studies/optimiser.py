"""A learned optimiser of random starts, beside Adam (chapter 11).

An LSTM learns to train networks on 20 points of a curve each, by the loss after each of 20 steps.
Then it goes on for 200, and trains networks that it has not seen. Adam has the rate that is best on
validation starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import torch
from torch import Tensor, nn

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import init_rule, share_alpha
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import Method
from metasgd_core.models import MLP, init_theta
from metasgd_core.rules import Rule, adam, lstm
from metasgd_core.studies import Stored, generator, lab
from metasgd_core.studies.exploded import statistics
from metasgd_core.studies.jobs import Job, Study
from metasgd_core.studies.relatives import (
    FIRST,
    SEEDS,
    TEST,
    TRAINING,
    VALIDATION,
    Trial,
    choose,
    chosen,
    failed,
    grid,
    pace,
    timed,
    trying,
)
from metasgd_core.tasks.sinusoid import SineTasks, Sinusoid
from metasgd_core.types import Data, Params

JOB = "LSTM"
POINTS, HORIZON, LONG = 20, 20, 200
STARTS = 50
#: Adam's rates: so many that the best is none of the outermost.
RATES = (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3)
NETWORKS: dict[str, MLP] = {
    "40, ReLU": MLP(), "20, ReLU": MLP((1, 20, 20, 1)), "80, ReLU": MLP((1, 80, 80, 1)),
    "40, tanh": MLP((1, 40, 40, 1), "tanh"),
}
LEARNS = Method(
    "LSTM optimiser", "steps", inner_steps=HORIZON, first_order=True, alpha_shape="entry",
    learn_alpha=True,
)
LSTM_TRIALS = grid((1e-3, 3e-3, 1e-2), firsts=(0.01, 0.03, 0.1))


@dataclass(frozen=True)
class Optimisees(Sinusoid):
    """Networks to be trained on 20 points of a curve, each from a random start of its own.

    The start stands beside x, ``(*batch, points, 1 + numbers)``, the same for each point; phi is
    what training adds to it. Every point comes twice, first as support and then as query: what is
    optimised is what counts.
    """

    def sample_data(
        self, tasks: SineTasks, phi: Params | None, shots: int, *, generator: torch.Generator
    ) -> Data:
        """Draw the points, and the start."""
        batch = tuple(tasks.amplitude.shape)
        x, y = super().sample_data(tasks, phi, shots // 2, generator=generator)
        start = init_theta(self.model, generator=generator, runs=batch)
        flat = torch.cat([p.reshape(*batch, 1, -1) for p in start.values()], -1)
        x = torch.cat([x, flat.expand(*batch, shots // 2, -1)], -1)
        return Data(torch.cat([x, x], -2), torch.cat([y, y], -2))

    def loss(self, phi: Params, data: Data) -> Tensor:
        """Return the mean squared error of the start with phi added to it."""
        sizes = [p.numel() for p in self.model.parameters()]
        parts = zip(phi.items(), data.x[..., 0, 1:].split(sizes, -1))
        return super().loss({n: p + start.reshape(p.shape) for (n, p), start in parts},
                            Data(data.x[..., :1], data.y))


def still(model: nn.Module, runs: int) -> Params:
    """Return what is added to the start at first, zeros ``(runs, *shape)``."""
    return {n: torch.zeros(runs, *p.shape) for n, p in model.named_parameters()}


def learn_to_optimise(
    trial: Trial, *, seeds: int, iterations: int, record_every: int,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Iterator[Record]:
    """Train the LSTM on the loss after each of 20 steps; theta, what is added, stays at 0."""
    family = Optimisees()
    theta, rule = still(family.model, seeds), lstm(scale=trial.first)
    alpha = init_rule(rule, theta, runs=(seeds,), generator=generator(FIRST))
    return meta_train(
        family, theta, alpha, replace(LEARNS, rule=rule), iterations=iterations,
        meta_batch=lab.META_BATCH, shots=POINTS, query_shots=POINTS,
        generator=generator(TRAINING), lr=0.0, alpha_lr=trial.lr, final_lr=0.01, clip=10.0,
        skip=True, record_every=record_every, checkpoint=checkpoint,
    )


@torch.no_grad()
def walks(
    rule: Rule, alpha: Params, model: MLP, *, seed: int, steps: int = LONG, n_tasks: int = STARTS
) -> Tensor:
    """Return the training losses of test starts, ``(runs, steps + 1, n_tasks)``."""
    family, source, batch = Optimisees(model), generator(seed), (1, n_tasks)
    tasks = family.sample_tasks(*batch, generator=source)
    data = family.sample_data(tasks, None, 2 * POINTS, generator=source)
    theta, each = still(model, 1), []
    for run in range(len(next(iter(alpha.values())))):  # a memory for every number takes room
        losses: list[Tensor] = []

        def support(phi: Params, step: int, losses: list[Tensor] = losses) -> Data:
            losses.append(family.loss(phi, data))
            return data

        own = {n: a[run : run + 1] for n, a in alpha.items()}
        phi = adapt(family.loss, per_task(theta, batch), share_alpha(theta, own, batch, rule),
                    support, steps=steps, first_order=True, rule=rule)
        each.append(torch.stack([*losses, family.loss(phi, data)], dim=1))
    return torch.cat(each)


def work(job: Job) -> Stored:
    """Learn an optimiser, and walk with it, and with Adam at each of its rates."""
    iterations, starts = (2, 3) if job.quick else (800, STARTS)

    def validate(i: int) -> Tensor:
        trial, few = LSTM_TRIALS[i], max(1, iterations // 5)
        record, _ = trying(job, i).train(
            lambda checkpoint: learn_to_optimise(trial, seeds=1, iterations=few, record_every=few,
                                                 checkpoint=checkpoint),
            few,
        )
        return failed(walks(lstm(scale=trial.first), record.alpha, NETWORKS["40, ReLU"],
                            seed=VALIDATION, steps=HORIZON, n_tasks=starts)[:, -1])

    best, tried = choose(job, len(LSTM_TRIALS), validate)
    trial = LSTM_TRIALS[best]
    record, noted = chosen(job).train(
        lambda checkpoint: learn_to_optimise(trial, seeds=SEEDS, iterations=iterations,
                                             record_every=max(1, iterations // 40),
                                             checkpoint=checkpoint),
        iterations, timed(lambda record: {}),
    )
    tensors = {
        "trials": torch.tensor([[*trial] for trial in LSTM_TRIALS]), "tried": tried,
        "chosen": torch.tensor(best), "iteration": noted["iteration"], "loss": noted["loss"],
        "pace": pace(noted),
    }
    tensors |= {f"alpha.{n}": a for n, a in record.alpha.items()}
    for name, model in NETWORKS.items():
        steps = 3 if job.quick else LONG
        walk = partial(walks, model=model, steps=steps, n_tasks=starts)
        learned = walk(lstm(scale=trial.first), record.alpha, seed=TEST)
        tensors[f"{name}, learned"] = statistics(learned).float()
        rates = init_rule(adam(), still(model, len(RATES)), runs=(len(RATES),))
        rates = {n: torch.tensor(RATES).view(-1, *(1,) * (a.ndim - 1)) for n, a in rates.items()}
        for kind, seed in (("validated", VALIDATION), ("Adam", TEST)):
            found = statistics(walk(adam(), rates, seed=seed))
            tensors[f"{name}, {kind}"] = found.float()
    return Stored(tensors, {})


def summary(found: Stored) -> str:
    """Return the losses of the LSTM and of the best Adam, means over seeds and starts."""
    lines = []
    for name in NETWORKS:
        learned, adams = (found.tensors[f"{JOB}/{name}, {kind}"][..., -1]
                          for kind in ("learned", "Adam"))
        at = [k for k in (HORIZON, 100, LONG) if k < learned.shape[1]]
        lines.append(f"{name:10} " + "  ".join(
            f"{k}: LSTM {learned[:, k].mean():.3f}, Adam {adams[:, k].nan_to_num(inf).min():.3f}"
            for k in at
        ))
    return "\n".join(lines)


STUDIES = {
    "optimiser": Study(
        "chapter 11: a learned optimiser beside Adam", "30 minutes", (JOB,), work,
        summary,
    )
}
