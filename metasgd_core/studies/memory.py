"""Memory and attention beside gradient steps (chapter 10), on sinusoids.

Models that read their support, and methods that step on it, are trained by the same objective (the
mean query loss over every number of support points up to 20) and tested on the same tasks. Each row
gets about the same seconds of training; how many tasks that was is stored, and the errors on the
way. Outer rates are chosen on validation tasks, for each row among the same six, in trials a tenth
as long. Last, one linear attention layer stands beside a learned step on the last layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import init_alpha, init_rule, share_alpha
from metasgd_core.evaluation import evaluate
from metasgd_core.floor import best_step, one_point
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import MAML, META_SGD, Method, Style
from metasgd_core.models import (
    GRU,
    MLP,
    LinearAttention,
    MemoryNetwork,
    NeuralProcess,
    Transformer,
    init_theta,
    predict,
    step_as_attention,
)
from metasgd_core.readers import learner, read
from metasgd_core.rules import DESCENT, Rule, curvature
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.exploded import statistics
from metasgd_core.studies.jobs import Job, Study
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Data, Params, take

SEEDS, TRIAL_SEEDS = 5, 2
SHOTS = (1, 2, 5, 10, 20, 40)
#: Most support points in training, and the query points.
MOST, QUERY_SHOTS = 20, 40
META_BATCH = 16
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
CLIP, FINAL_LR = 1.0, 0.02
#: A trial has this part of the iterations.
TRIAL = 0.1
#: Inner steps in the test of a method that steps.
STEPS = 5
#: Seeds of the generators: the first theta, the training tasks, then tasks held out.
FIRST, TRAINING, VALIDATION, TEST = 0, 1, 1000, 2000
VALIDATION_TASKS, TEST_TASKS = 200, 1000

FAMILIES = {"fixed": Sinusoid(), "varying": Sinusoid.varying_frequency()}
#: Off the training tasks, one thing at a time, with 10 shots.
OFF: dict[str, dict[str, Any]] = {
    "amplitude 5 to 10": {"amplitude": (5.0, 10.0)},
    "frequency 1.2 to 2": {"frequency": (1.2, 2.0)},
    "x 5 to 10": {"x": (5.0, 10.0)},
}
OFF_SHOTS = 10

READS = Method("reads", "shots", reads=True)


@dataclass(frozen=True)
class Row:
    """One way to learn, and how long it is trained.

    Parameters
    ----------
    model : callable
        Makes the network.
    method : Method
        How it comes to its phi.
    iterations : int
        Meta-iterations; as many as take each row about the same time.
    family : {"fixed", "varying"}
        The frequency of the sinusoids.
    shots : int
        Most support points in training.
    """

    model: Callable[[], nn.Module]
    method: Method
    iterations: int
    family: Literal["fixed", "varying"] = "fixed"
    shots: int = MOST

    def tasks(self) -> Sinusoid:
        """Return the family, with the row's network."""
        return replace(FAMILIES[self.family], model=self.model())

    def begin(self, seeds: int) -> tuple[Params, Params]:
        """Return theta and alpha from which a training begins, ``(seeds, *shape)``."""
        runs, rule = (seeds,), self.method.rule
        theta = init_theta(self.model(), generator=generator(FIRST), runs=runs)
        if rule != DESCENT:
            return theta, init_rule(rule, theta, runs=runs)
        return theta, init_alpha(theta, self.method.alpha_shape, 0.01, runs=runs)


#: What stands for alpha where only the last layer is stepped.
Rates = Literal["one rate", "a rate an entry", "a matrix"]


def last_layer(rates: Rates) -> Rule:
    r"""Return a step of the last layer alone, with one rate, a rate an entry, or a matrix.

    .. math:: [w \mid b] \leftarrow [w \mid b] - g A

    with g the gradient of the one row that weights and bias are; A begins at 0.01 times the
    identity.
    """

    def first(theta: Params, generator: torch.Generator) -> Params:
        size = theta[_LAST[0]].shape[-1] + 1
        like = theta[_LAST[0]]
        if rates == "a matrix":
            return {"A": 0.01 * torch.eye(size, dtype=like.dtype, device=like.device)}
        return {"A": like.new_full((1, 1 if rates == "one rate" else size), 0.01)}

    def step(phi: Params, grads: Params, state: None, alpha: Params) -> tuple[Params, None]:
        g = torch.cat([grads[_LAST[0]], grads[_LAST[1]].unsqueeze(-1)], dim=-1)
        moved = g @ alpha["A"] if rates == "a matrix" else g * alpha["A"]
        return phi | {
            _LAST[0]: phi[_LAST[0]] - moved[..., :-1], _LAST[1]: phi[_LAST[1]] - moved[..., -1]
        }, state

    return Rule(f"last layer, {rates}", first, lambda theta: None, step)


_LAST = ("layers.2.weight", "layers.2.bias")
_RATES: tuple[Rates, ...] = ("one rate", "a rate an entry", "a matrix")

#: The ways, and meta-iterations in about five minutes for five seeds at once.
WAYS: dict[str, tuple[Callable[[], nn.Module], Method, int]] = {
    "neural process": (NeuralProcess, READS, 30_000),
    # As many numbers as Meta-SGD's theta and alpha together, or nearly.
    "small neural process": (lambda: NeuralProcess(width=28, context=28), READS, 60_000),
    "attention over the set": (lambda: Transformer(causal=False), READS, 6000),
    "causal transformer": (lambda: Transformer(causal=True), READS, 6000),
    "GRU": (GRU, READS, 17_000),
    "memory network": (MemoryNetwork, READS, 5000),
    "Meta-SGD": (MLP, replace(META_SGD, objective="shots"), 13_000),
    "MAML": (MLP, replace(MAML, objective="shots"), 15_000),
    "Meta-Curvature": (MLP, replace(META_SGD, objective="shots", rule=curvature()), 7500),
}
#: What those that read look like in pictures.
STYLES = {
    "neural process": Style("blue", "P", "-"),
    "attention over the set": Style("green", "s", "-"),
    "causal transformer": Style("green", "s", "--"),
    "memory network": Style("purple", "v", "-."),
    "GRU": Style("orange", "^", ":"),
}
#: One step on the last layer of a network that is learned with it, and attention in its place.
LINEAR = {
    f"last layer, {rates}": Row(
        MLP, replace(META_SGD, rule=last_layer(rates)), 25_000, shots=OFF_SHOTS
    )
    for rates in _RATES
} | {
    "linear attention": Row(LinearAttention, replace(READS, objective="query"), 25_000,
                            shots=OFF_SHOTS)
}
JOBS: dict[str, Row] = {
    f"{name}, {family}": Row(model, method, iterations, family)  # type: ignore[arg-type]
    for family in FAMILIES for name, (model, method, iterations) in WAYS.items()
} | LINEAR
#: What is done without training: the least possible errors, and fine-tuning from a random start.
FLOORS, RANDOM = "floors", "random start"
#: These go on after their step, or after reading, with an optimiser that is safe anywhere.
GO_ON = ("neural process, fixed", "Meta-SGD, fixed", "MAML, fixed", "Meta-Curvature, fixed")
SAFE_STEPS, SAFE_RATE, SAFE_TASKS = 100, 0.003, 100


def trained(
    row: Row, lr: float, seeds: int, iterations: int, checkpoint: Path | None = None
) -> Iterator[Record]:
    """Train a row with one outer rate."""
    theta, alpha = row.begin(seeds)
    return meta_train(
        row.tasks(), theta, alpha, row.method, iterations=iterations, meta_batch=META_BATCH,
        shots=row.shots, query_shots=QUERY_SHOTS, generator=generator(TRAINING), lr=lr,
        final_lr=FINAL_LR, clip=CLIP, record_every=max(1, iterations // 12), checkpoint=checkpoint,
    )


def errors(
    row: Row, theta: Params, alpha: Params, shots: int, *, seed: int, n_tasks: int, steps: int = 1,
    **change: Any,
) -> Tensor:
    """Return each task's error after 0, 1, ... steps, ``(seeds, steps + 1, n_tasks)``.

    The curves are the same for all rows and every number of shots.
    """
    return evaluate(
        replace(row.tasks(), **change), theta, alpha, shots=shots,
        steps=1 if row.method.reads else steps, n_tasks=n_tasks, generator=generator(seed),
        method=row.method,
    ).scores


def choose(row: Row, job: Job) -> tuple[float, Tensor]:
    """Return the outer rate with the least validation error, and what the trials found.

    The error is the geometric mean over the numbers of shots of the mean over seeds and tasks, so
    that few shots, where nobody can be good, do not decide alone; infinite where all diverged.
    """
    found, iterations = [], 4 if job.quick else int(TRIAL * row.iterations)
    for lr in RATES:
        trial = job._replace(name=f"{job.name}, {lr:g}", tell=lambda fraction: None)
        try:
            record, _ = trial.train(partial(trained, row, lr, TRIAL_SEEDS, iterations), iterations)
        except FloatingPointError:
            found.append(torch.tensor(inf, dtype=torch.float64))
            continue
        means = torch.stack([
            errors(row, record.theta, record.alpha, shots, seed=VALIDATION,
                   n_tasks=10 if job.quick else VALIDATION_TASKS)[:, 1].double().mean()
            for shots in ((row.shots,) if row.shots != MOST else SHOTS[:-1])
        ])
        found.append(means.nan_to_num(inf, inf).log().mean().exp())
    trials = torch.stack(found)
    return RATES[int(trials.argmin())], trials


def learn(row: Row, lr: float, job: Job) -> tuple[Record, dict[str, Tensor]]:
    """Train with the chosen rate, and note seconds of the processor and errors on the way."""
    iterations = 12 if job.quick else row.iterations
    began = time.process_time()

    def note(record: Record) -> dict[str, Tensor]:
        nonlocal began
        spent = time.process_time() - began
        found = torch.stack([
            errors(row, record.theta, record.alpha, shots, seed=VALIDATION,
                   n_tasks=10 if job.quick else VALIDATION_TASKS)[:, 1].mean(-1)
            for shots in (5, 10)
        ])
        began = time.process_time()
        return {"processor": torch.tensor(spent, dtype=torch.float64), "way": found}

    record, noted = job.train(partial(trained, row, lr, SEEDS, iterations), iterations, note)
    return record, {key: noted[key] for key in ("iteration", "processor", "way")}


def work(job: Job) -> Stored:
    """Choose the outer rate, train five seeds, and test them.

    Stored of a training, by name:

    - ``errors`` ``(numbers of shots, seeds, steps + 1, 4)`` and ``off`` ``(changes, seeds,
      steps + 1, 4)``: the statistics of :mod:`metasgd_core.studies.exploded`; ``on``
      ``(sets, seeds, 4)``: those after the safe steps, on the training's own tasks and on the
      changed ones;
    - ``trials`` ``(rates,)``, and ``chosen``, the rate; ``diverged`` ``(seeds,)``;
    - ``iteration``, ``processor`` ``(records,)`` and ``way`` ``(2, seeds, records)``: the errors
      after 5 and 10 shots on the way, and the processor's seconds since the record before;
    - ``theta.…``, ``alpha.…`` of the first seed, in half precision, for fixed frequency;
    - for the last layer and for attention ``curves`` ``(seeds, tasks, points)``, what is predicted
      on a grid, and ``by hand``, how far the hand-written attention is from it.
    """
    n_tasks = 10 if job.quick else TEST_TASKS
    if job.name == FLOORS:
        return Stored(floors(n_tasks), {})
    if job.name == RANDOM:
        row = replace(JOBS["MAML, fixed"], method=MAML)
        theta, _ = row.begin(SEEDS)
        return Stored({"on": go_on(row, theta, init_alpha(theta, "scalar", 0.0), job)}, {})
    row = JOBS[job.name]
    lr, trials = choose(row, job)
    record, tensors = learn(row, lr, job)
    theta, alpha = record.theta, record.alpha
    tensors |= {"trials": trials, "chosen": torch.tensor(lr, dtype=torch.float64),
                "diverged": record.diverged}  # fmt: skip
    settings = {"seed": TEST, "n_tasks": n_tasks, "steps": STEPS}
    tensors["errors"] = torch.stack([
        statistics(errors(row, theta, alpha, shots, **settings)) for shots in SHOTS
    ])
    tensors["off"] = torch.stack([
        statistics(errors(row, theta, alpha, OFF_SHOTS, **settings, **change))
        for change in OFF.values()
    ])
    if job.name in GO_ON:
        tensors["on"] = go_on(row, theta, alpha, job)
    if row.family == "fixed":
        tensors |= {f"theta.{n}": p[0].half() for n, p in theta.items()}
        if row.method.learn_alpha:
            tensors |= {f"alpha.{n}": a[0].half() for n, a in alpha.items()}
    if job.name in LINEAR:
        tensors |= curves(row, theta, alpha)
    return Stored(tensors, {})


def first_seed(tensors: dict[str, Tensor], name: str, part: str = "theta") -> Params:
    """Return theta or alpha of a stored training's first seed, from half precision."""
    start = f"{name}/{part}."
    return {key.removeprefix(start): leaf.float() for key, leaf in tensors.items()
            if key.startswith(start)}  # fmt: skip


def floors(n_tasks: int) -> dict[str, Tensor]:
    """Return what nobody can do better on fixed frequency, on the tasks of the test.

    ``Bayes``: the error of the posterior mean of one point (two points tell the curve); ``step``
    ``(numbers of shots,)``: of the best additive step.
    """
    family, step = FAMILIES["fixed"], []
    for shots in SHOTS:
        random = generator(TEST)
        tasks = family.sample_tasks(n_tasks, generator=random)
        support = family.sample_data(tasks, None, shots, generator=random)
        query = family.sample_data(tasks, None, 100, generator=random)
        x, y, asked, truth = (part[..., 0].double() for part in (*support, *query))
        step.append((best_step(x, y, asked) - truth).square().mean())
        if shots == 1:
            bayes = (one_point(x[:, 0], y[:, 0], asked) - truth).square().mean()
    return {"Bayes": bayes, "step": torch.stack(step)}


def go_on(row: Row, theta: Params, alpha: Params, job: Job) -> Tensor:
    """Take Adam's steps after the method's own, and return the statistics, ``(sets, seeds, 4)``.

    A method that steps goes on from its phi, by the support loss. A model that reads has its
    weights adapted, for each task, to predict every support point from the others.
    """
    family, n_tasks, sets = row.tasks(), 3 if job.quick else SAFE_TASKS, []
    seeds = len(next(iter(theta.values())))
    for change in ({}, *OFF.values()):
        changed, random = replace(family, **change), generator(TEST)
        tasks = changed.sample_tasks(n_tasks, generator=random)
        support, query = (
            Data(*(part.expand(seeds, *part.shape) for part in
                   changed.sample_data(tasks, None, count, generator=random)))
            for count in (OFF_SHOTS, 100)
        )
        batch = (seeds, n_tasks)
        start = per_task(theta, batch)
        if not row.method.reads:
            rates = share_alpha(theta, alpha, batch, row.method.rule)
            start = adapt(family.loss, start, rates, support, first_order=True,
                          rule=row.method.rule)
        phi = {n: p.detach().clone().requires_grad_() for n, p in start.items()}
        loss = _left_out if row.method.reads else _plain
        safe = torch.optim.Adam(phi.values(), lr=SAFE_RATE)
        for _ in range(2 if job.quick else SAFE_STEPS):
            safe.zero_grad()
            loss(family, phi, support).sum().backward()
            safe.step()
        with torch.no_grad():
            if row.method.reads:
                phi = read(family.loss, phi, 0.0, support, model=family.model)
            sets.append(statistics(family.loss(phi, query)))
    return torch.stack(sets)


def _plain(family: Sinusoid, phi: Params, support: Data) -> Tensor:
    return family.loss(phi, support)


def _left_out(family: Sinusoid, phi: Params, support: Data) -> Tensor:
    """Return the mean error on each support point, when only the others were read."""
    losses = []
    for k in range(OFF_SHOTS):
        others = take(support, 2, k + 1, OFF_SHOTS - 1)  # begins again at the end
        known = read(family.loss, phi, 0.0, others, model=family.model)
        losses.append(family.loss(known, take(support, 2, k, 1)))
    return torch.stack(losses).mean(0)


def curves(row: Row, theta: Params, alpha: Params, *, n_tasks: int = 100) -> dict[str, Tensor]:
    """Return what is predicted after reading, or after the step, on 50 evenly spaced points.

    And for a step, how far the hand-written attention is from it at most.
    """
    family, random = row.tasks(), generator(TEST)
    tasks = family.sample_tasks(n_tasks, generator=random)
    batch = (len(next(iter(theta.values()))), n_tasks)
    support = family.sample_data(tasks, None, row.shots, generator=random)
    support = Data(*(part.expand(*batch[:1], *part.shape) for part in support))
    grid = (((torch.arange(50) + 0.5) / 5 - 5)[:, None]).expand(*batch, -1, -1)
    with torch.no_grad():
        phi = learner(family.model, row.method)(
            family.loss, per_task(theta, batch),
            share_alpha(theta, alpha, batch, row.method.rule), support, first_order=True,
        )
        found = {"curves": predict(family.model, phi, grid)[..., 0]}
        if not row.method.reads:
            model, by_hand = LinearAttention(), per_task(hand_written(theta, alpha), batch)
            known = read(family.loss, by_hand, 0.0, support, model=model)
            gap = predict(model, known, grid)[..., 0] - found["curves"]
            found["by hand"] = gap.abs().max()
    return found | {"curves": found["curves"].half()}


def hand_written(theta: Params, alpha: Params) -> Params:
    """Return the linear attention that is the step of a rule `last_layer`."""
    size = theta[_LAST[0]].shape[-1] + 1
    rates = alpha["A"]
    matrix = rates if rates.shape[-2] == size else rates * torch.eye(size, device=rates.device)
    return step_as_attention(theta, matrix)


def summary(found: Stored) -> str:
    """Return the errors after one step or after reading, mean over seeds and tasks, by shots."""
    lines = [f"{'':34}" + "".join(f"{shots:8}" for shots in SHOTS) + "   after 1; tasks, seconds"]
    for name in JOBS:
        part = found.tensors[f"{name}/errors"][:, :, 1, 0].mean(-1)
        seen = META_BATCH * int(found.tensors[f"{name}/iteration"][-1])
        seconds = float(found.tensors[f"{name}/processor"].sum())
        lines.append(f"{name:34}" + "".join(f"{float(e):8.3f}" for e in part)
                     + f"   {seen}, {seconds:.0f}")
    lines.append(f"{'best additive step':34}"
                 + "".join(f"{float(e):8.3f}" for e in found.tensors[f"{FLOORS}/step"]))
    lines.append(f"{'Bayes, one point':34}{float(found.tensors[f'{FLOORS}/Bayes']):8.3f}")
    return "\n".join(lines)


STUDIES = {
    "memory": Study(
        "chapter 10: models that read beside methods that step, on sinusoids", "90 minutes",
        (*JOBS, FLOORS, RANDOM), work, summary,
    )
}
