"""2-D navigation as published: TRPO outside, and a bridge from there to chapter 16's settings.

Where the paper says nothing, as in MAML's published code: horizon, reach, radius, the baseline that
is fitted to the states, normalised advantages, the inner rate 0.5, halved after the first update of
the test. Meta-SGD's rates begin there too, and its trust region is around theta and alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import log, pi
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import init_alpha, share_alpha
from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.evaluation import evaluate, t_interval
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import MAML, META_SGD, Method
from metasgd_core.models import GaussianMLP, init_theta
from metasgd_core.policy_gradient import PolicyGradient
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.studies.navigation import STARTS, Start
from metasgd_core.tasks.navigation import Navigation, NavigationTasks
from metasgd_core.training.learned import hold, to_rates, views
from metasgd_core.trpo import trust_region_step
from metasgd_core.types import Params

#: Fresh ones: the book's present settings were chosen with others.
SEEDS = range(100, 105)
ITERATIONS, TASKS, TRAJECTORIES = 100, 20, 20
TEST_TASKS, TEST = 600, 5000
#: The factors on alpha.
SCHEDULE = (1.0, 0.5, 0.5)
#: How far the goals of two rings are from the origin: near and far ones.
NEAR, FAR = 0.15, 0.45


@dataclass(frozen=True)
class Setting:
    """One training, as published where nothing else is said.

    Parameters
    ----------
    method : Method
        MAML, or Meta-SGD.
    start : {"origin", "uniform"}
        Where episodes begin.
    estimator, baseline, discount, normalize
        As in :class:`~metasgd_core.policy_gradient.PolicyGradient`.
    reward : {"distance", "squared"}
        What is learned from; the distance is what is reported.
    spread : float
        The first standard deviation of an action.
    alpha : float
        The inner rate, or where the learned ones begin.
    outer : {"TRPO", "Adam"}
        The outer step.
    """

    method: Method = MAML
    start: Start = "origin"
    estimator: Literal["lvc", "naive"] = "naive"
    baseline: bool | Literal["states"] = "states"
    discount: float = 0.99
    normalize: bool = True
    reward: Literal["distance", "squared"] = "distance"
    spread: float = 0.1
    alpha: float = 0.5
    outer: Literal["TRPO", "Adam"] = "TRPO"

    def family(self) -> Navigation:
        """Return the tasks to train on."""
        objective = PolicyGradient(self.estimator, self.discount, self.baseline, self.normalize)
        model = GaussianMLP(log_std=log(self.spread))
        return Navigation(model, start=self.start, reward=self.reward, objective=objective)


PUBLISHED = {
    f"{method.name}, {start}": Setting(method, start)
    for method in (MAML, META_SGD) for start in STARTS
}  # fmt: skip
_LVC = Setting(estimator="lvc")
_ADAM = replace(_LVC, outer="Adam")
_OTHERS = replace(_ADAM, baseline=True)
_NEAR = replace(_OTHERS, discount=0.9)
_NARROW = replace(_NEAR, spread=0.022, alpha=0.11)
_SQUARED = replace(_NARROW, reward="squared")
#: From the published settings to those that the book began with, each row one change more: a rate
#: counts in units of the spread and of the advantages, and goes with them.
BRIDGE = {
    "LVC": _LVC,
    "Adam": _ADAM,
    "the others' mean": _OTHERS,
    "discount 0.9": _NEAR,
    "spread 0.022": _NARROW,
    "squared distance": _SQUARED,
    "advantages as they are": replace(_SQUARED, normalize=False, alpha=0.003),
}
ROWS = PUBLISHED | BRIDGE
JOBS = {f"{name}, seed {seed}": (row, seed) for seed in SEEDS for name, row in ROWS.items()}


def first(setting: Setting, family: Navigation, seed: int) -> tuple[Params, Params]:
    """Draw a first policy that moves little, and the first rates."""
    theta = init_theta(family.model, generator=generator(seed))
    theta = {name: 0.1 * p if name.startswith("layers.2.") else p for name, p in theta.items()}
    return theta, init_alpha(theta, setting.method.alpha_shape, setting.alpha)


def by_trpo(
    setting: Setting, seed: int, *, iterations: int, tasks: int, trajectories: int,
    checkpoint: Path,
) -> Iterator[Record]:
    """Train with a trust region around what is learned; a record each iteration.

    Its loss is minus the mean return after adaptation. A meta-gradient that is zero or not finite
    ends the training there, as diverged.
    """
    family, method = setting.family(), setting.method
    random = generator(seed)
    ours = hold(family.model, *first(setting, family, seed), method, packed=True)
    size = ours.leaves[0].numel()
    x = torch.cat([leaf.detach() for leaf in ours.all_leaves])

    def cut(x: Tensor) -> tuple[Params, Params]:
        held = views(x[size:], ours.held) if ours.alpha_leaves else ours.held
        return views(x[:size], ours.theta), to_rates(held, method)

    done, loss = 0, torch.tensor(torch.nan)
    if checkpoint.exists():
        tensors, _ = load_checkpoint(checkpoint)
        x, loss, done = tensors["x"], tensors["loss"], int(tensors["done"])
        random.set_state(tensors["generator"])

    def record(diverged: bool) -> Record:
        theta, alpha = cut(x)
        return Record(done, loss, theta, alpha, torch.tensor(diverged))

    if done:
        yield record(False)
    while done < iterations:
        try:
            x, loss = meta_iteration(family, cut, x, tasks, trajectories, random)
        except FloatingPointError:
            yield record(True)
            return
        done += 1
        state = {"x": x, "loss": loss, "done": torch.tensor(done), "generator": random.get_state()}
        save_checkpoint(checkpoint, state, {})
        yield record(False)


def meta_iteration(
    family: Navigation, cut: Callable[[Tensor], tuple[Params, Params]], x: Tensor, n_tasks: int,
    shots: int, random: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Play, adapt, play again, and step: return the new numbers, and minus the mean return."""
    batch = (n_tasks,)
    tasks = family.sample_tasks(*batch, generator=random)
    support = family.sample_data(tasks, per_task(cut(x)[0], batch), shots, generator=random)

    def adapted(x: Tensor) -> Params:
        theta, alpha = cut(x)
        rates = share_alpha(theta, alpha, batch)
        return adapt(family.loss, per_task(theta, batch), rates, support)

    phi = {name: p.detach() for name, p in adapted(x).items()}
    query = family.sample_data(tasks, phi, shots, generator=random)
    with torch.no_grad():
        played = family.log_prob(phi, query)
        gain = family.objective.advantages(query)
        score = family.score(phi, query).mean()

    def loss(x: Tensor) -> Tensor:
        ratio = (family.log_prob(adapted(x), query) - played).exp()
        return -((ratio * gain).sum((-2, -1)) / query.mask.sum((-2, -1))).mean()

    def divergence(x: Tensor) -> Tensor:
        return family.divergence(phi, adapted(x), query).mean()

    return trust_region_step(loss, divergence, x).x, -score


def by_adam(
    setting: Setting, seed: int, *, iterations: int, tasks: int, trajectories: int,
    checkpoint: Path,
) -> Iterator[Record]:
    """Train with chapter 16's outer step and as many episodes; a lost training ends as diverged."""
    family = setting.family()
    with suppress(FloatingPointError):  # the last record has said so
        yield from meta_train(
            family, *first(setting, family, seed), setting.method, iterations=iterations,
            meta_batch=tasks, shots=trajectories, query_shots=trajectories, lr=2e-3, clip=1.0,
            record_every=10, checkpoint=checkpoint, generator=generator(seed),
        )


def knowledge(
    family: Navigation, theta: Params, alpha: Params, n_tasks: int, random: torch.Generator,
    shots: int = 20,
) -> dict[str, Tensor]:
    """Return what a policy makes of one update: is its return noise, and does it know the place?

    Parameters
    ----------
    n_tasks : int
        Goals for the first three, and as many on each ring for the last.
    shots : int
        Episodes to adapt on in each task.

    Returns
    -------
    dict
        ``noisy`` and ``still``: the mean return with the noise of the actions and without.
        ``pull``: how much the mean velocity turns back at the goal for each unit beside it, a mean
        over both axes. ``ends`` ``(2,)``: how far from the origin a walk without noise ends that
        began there, for goals at ``NEAR`` and at ``FAR``.
    """
    world = replace(family, reward="distance")

    def adapted(tasks: NavigationTasks) -> Params:
        start = per_task(theta, tasks.x.shape)
        episodes = family.sample_data(tasks, start, shots, generator=random)
        rates = share_alpha(theta, alpha, tasks.x.shape)
        phi = adapt(family.loss, start, rates, episodes, first_order=True)
        return {name: p.detach() for name, p in phi.items()}

    def quiet(phi: Params) -> Params:
        return phi | {"log_std": torch.full_like(phi["log_std"], -torch.inf)}

    def played(phi: Params) -> Tensor:
        data = world.sample_data(tasks, phi, shots, generator=random)
        return world.score(phi, data).mean()

    tasks = family.sample_tasks(n_tasks, generator=random)
    phi = adapted(tasks)
    goal, beside = torch.stack(tasks, -1).unsqueeze(-2), 0.02 * torch.eye(2)
    turned = world.mean(phi, goal - beside) - world.mean(phi, goal + beside)
    pull = turned.diagonal(dim1=-2, dim2=-1).mean() / 0.04
    angle = 2 * pi * torch.arange(n_tasks) / n_tasks
    rings = NavigationTasks(
        *(torch.cat([NEAR * c, FAR * c]) for c in (angle.cos(), angle.sin()))
    )
    still = quiet(adapted(rings))
    walked = replace(world, start="origin").sample_data(rings, still, 1, generator=random)
    return {
        "noisy": played(phi), "still": played(quiet(phi)), "pull": pull,
        "ends": walked.observation[:, 0, -1].norm(dim=-1).view(2, -1).mean(-1),
    }  # fmt: skip


def work(job: Job) -> Stored:
    """Train once, and test the last iterate.

    Stored are ``returns`` ``(4,)``, the mean over the test tasks after 0 to 3 updates; ``tasks``
    ``(2, tasks)``, each task's before and after the first; ``training``, of TRPO, the mean return
    after adaptation in each iteration; ``iterations`` that were done, and whether it ``diverged``;
    and what :func:`knowledge` finds.
    """
    setting, seed = JOBS[job.name]
    train = by_trpo if setting.outer == "TRPO" else by_adam
    iterations, tasks, shots = (2, 2, 3) if job.quick else (ITERATIONS, TASKS, TRAJECTORIES)
    last, noted = job.train(
        lambda path: train(setting, seed, iterations=iterations, tasks=tasks, trajectories=shots,
                           checkpoint=path),
        iterations, lambda record: {"loss": record.loss},
    )  # fmt: skip
    family = setting.family()
    random, n_tasks = generator(TEST + seed), 4 if job.quick else TEST_TASKS
    found = evaluate(
        family, last.theta, last.alpha, shots=shots, steps=len(SCHEDULE), query_shots=shots,
        n_tasks=n_tasks, schedule=SCHEDULE, scorer=replace(family, reward="distance"),
        generator=random,
    )
    tensors = {
        "returns": found.mean, "tasks": found.scores[:2],
        "iterations": torch.tensor(last.iteration), "diverged": last.diverged,
        "spread": last.theta["log_std"].exp(), "seconds": noted["seconds"].sum(),
        **knowledge(family, last.theta, last.alpha, n_tasks // 4, random),
    }  # fmt: skip
    if setting.outer == "TRPO":
        tensors["training"] = -noted["loss"]
    if name_of(job.name) in PUBLISHED and seed == SEEDS[0]:
        tensors |= {f"theta.{name}": p for name, p in last.theta.items()}
        tensors |= {f"alpha.{name}": a for name, a in last.alpha.items()
                    if setting.method.learn_alpha}  # fmt: skip
    return Stored({key: part.clone() for key, part in tensors.items()}, {})


def name_of(job: str) -> str:
    """Return the row of a job."""
    return job.rpartition(", seed ")[0]


def summary(found: Stored) -> str:
    """Return each row's mean returns after 0 to 3 updates, with their intervals over seeds."""
    lines = []
    for name in ROWS:
        each = torch.stack([found.tensors[f"{name}, seed {seed}/returns"] for seed in SEEDS])
        lost = sum(bool(found.tensors[f"{name}, seed {seed}/diverged"]) for seed in SEEDS)
        mean, half = t_interval(each.double(), dim=0)
        cells = "  ".join(f"{m:7.2f} ± {h:5.2f}" for m, h in zip(mean, half))
        lines.append(f"{name:28}{cells}" + f"  ({lost} diverged)" * bool(lost))
    return "\n".join(lines)


STUDIES = {
    "navigation-trpo": Study(
        "chapter 16: navigation as published, with TRPO outside, and one change a row from there",
        "240 minutes", tuple(JOBS), work, summary,
        lambda parts: {"navigation-trpo": together(parts)},
    )
}
