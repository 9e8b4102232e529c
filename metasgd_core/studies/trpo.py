"""2-D navigation as published: TRPO outside, and a bridge from there to the book's first settings.

The settings are Li et al.'s (arXiv:1707.09835) where they say something: reward minus the distance,
20 tasks, 20 + 20 episodes, 100 iterations, 600 test tasks, a trust region around theta and alpha.
Where they do not, those of MAML's published code: the first network, horizon, reach, the baseline
fitted to the states, normalised advantages, the inner rate 0.5, halved after the first update of
the test, 40 episodes an update there. MAML's paper (arXiv:1703.03400) says otherwise in part:
squared distance, a rate of 0.1, the best of up to 500 iterations.

Known departures: 20 episodes a task, where that code fills 2000 steps; an episode ends within a
circle around its goal, there within a square; products with the Hessian are exact, there finite
differences; the divergence is a mean of the tasks' means, there of all steps; a meta-gradient that
is zero or not finite ends the training. A varying start is drawn for each episode.

Decided before the training: the papers' figure is met where the interval over seeds reaches it; two
methods count as the same where the paired interval lies within 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import log, pi
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import init_alpha, share_alpha
from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.evaluation import Evaluation, evaluate, t_interval
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import MAML, META_SGD, Method
from metasgd_core.models import GaussianMLP, init_theta
from metasgd_core.policy_gradient import PolicyGradient
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.studies.navigation import STARTS, Start
from metasgd_core.tasks.navigation import REACH, Navigation, NavigationTasks
from metasgd_core.training.learned import hold, to_rates, views
from metasgd_core.trpo import TrustRegionStep, trust_region_step
from metasgd_core.types import Params, Trajectories

#: Fresh ones: the book's first settings were chosen with others.
SEEDS = range(100, 105)
ITERATIONS, TASKS, TRAJECTORIES = 100, 20, 20
#: Of the generators, beyond the seed: of the training, the test; and on how many goals.
TRAINING, TEST, TEST_TASKS = 10_000, 20_000, 600
#: Of the goals on which a training is watched, as many as it has in an iteration.
VALIDATION = 30_000
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
    network : {"Xavier", "small"}
        The first network: uniform with the variance 2 / (inputs + outputs) and biases of zero, or
        the book's, which is uniform with 1 / (3 inputs), its last layer a tenth of that.
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
    network: Literal["Xavier", "small"] = "Xavier"
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
_ADAM = Setting(outer="Adam")
_LVC = replace(_ADAM, estimator="lvc")
_OTHERS = replace(_LVC, baseline=True)
_NEAR = replace(_OTHERS, discount=0.9)
_SMALL = replace(_NEAR, network="small")
_NARROW = replace(_SMALL, spread=0.022, alpha=0.11)
_SQUARED = replace(_NARROW, reward="squared")
_AS_IT_IS = replace(_SQUARED, normalize=False, alpha=0.003)
#: From the published settings to those that the book began with, each row one change more, inside
#: and outside at once; and from the last of these, back to the published reward. Two rows change
#: the rate, too: the gradient of a mean is as long as 1 / spread, and advantages as they are have
#: another size (the book's first rate, chosen for that row).
BRIDGE = {
    "Adam": _ADAM,
    "LVC": _LVC,
    "the others' mean": _OTHERS,
    "discount 0.9": _NEAR,
    "small first network": _SMALL,
    "spread 0.022": _NARROW,
    "squared distance": _SQUARED,
    "advantages as they are": _AS_IT_IS,
    "as they are, distance": replace(_AS_IT_IS, reward="distance"),
}
ROWS = PUBLISHED | BRIDGE
#: The last change in the trust region: it runs away, comes back, and then gets stuck. One seed.
STUCK = "TRPO again, seed 100"
JOBS = {f"{name}, seed {seed}": (row, seed) for seed in SEEDS for name, row in ROWS.items()} | {
    STUCK: (replace(_AS_IT_IS, outer="TRPO"), SEEDS[0])
}


def first(setting: Setting, family: Navigation, seed: int) -> tuple[Params, Params]:
    """Draw a first policy, and the first rates."""
    random = generator(seed)
    if setting.network == "small":
        theta = init_theta(family.model, generator=random, output_scale=0.1)
    else:
        theta = {name: p.detach().clone() for name, p in family.model.named_parameters()}
        for name, p in theta.items():
            if name.endswith("weight"):
                torch.nn.init.xavier_uniform_(p, generator=random)
            elif name.endswith("bias"):
                p.zero_()
    return theta, init_alpha(theta, setting.method.alpha_shape, setting.alpha)


class Iteration(NamedTuple):
    """Where a training by TRPO stands.

    Attributes
    ----------
    iteration : int
        Iterations done.
    theta, alpha : Params
        Afterwards.
    diverged : Tensor
        Whether the meta-gradient was zero or not finite, which ends the training.
    tries, divergence : Tensor
        Of its step: see :class:`~metasgd_core.trpo.TrustRegionStep`.
    """

    iteration: int
    theta: Params
    alpha: Params
    diverged: Tensor
    tries: Tensor
    divergence: Tensor


def by_trpo(
    setting: Setting, seed: int, *, iterations: int, tasks: int, trajectories: int,
    checkpoint: Path,
) -> Iterator[Iteration]:
    """Train with a trust region around what is learned; a lost training ends as diverged."""
    family, method = setting.family(), setting.method
    random = generator(TRAINING + seed)
    ours = hold(family.model, *first(setting, family, seed), method, packed=True)
    size = ours.leaves[0].numel()
    x = torch.cat([leaf.detach() for leaf in ours.all_leaves])

    def cut(x: Tensor) -> tuple[Params, Params]:
        held = views(x[size:], ours.held) if ours.alpha_leaves else ours.held
        return views(x[:size], ours.theta), to_rates(held, method)

    done, tries, divergence = 0, torch.tensor(0), torch.tensor(torch.nan)
    if checkpoint.exists():
        tensors, state = load_checkpoint(checkpoint)
        x, done, tries = tensors["x"], state["done"], tensors["tries"]
        divergence = tensors["divergence"]
        random.set_state(tensors["generator"])

    def record(diverged: bool) -> Iteration:
        return Iteration(done, *cut(x), torch.tensor(diverged), tries, divergence)

    if done:
        yield record(False)
    while done < iterations:
        try:
            step = meta_iteration(family, cut, x, tasks, trajectories, random)
        except FloatingPointError:
            yield record(True)
            return
        x, done, tries = step.x, done + 1, torch.tensor(step.tries)
        divergence = torch.tensor(step.divergence)
        save_checkpoint(checkpoint, {
            "x": x, "tries": tries, "divergence": divergence, "generator": random.get_state(),
        }, {"done": done})  # fmt: skip
        yield record(False)


def meta_iteration(
    family: Navigation, cut: Callable[[Tensor], tuple[Params, Params]], x: Tensor, n_tasks: int,
    shots: int, random: torch.Generator,
) -> TrustRegionStep:
    """Play, adapt, play again, and step."""
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

    def loss(x: Tensor) -> Tensor:
        ratio = (family.log_prob(adapted(x), query) - played).exp()
        return -((ratio * gain).sum((-2, -1)) / query.mask.sum((-2, -1))).mean()

    def divergence(x: Tensor) -> Tensor:
        return family.divergence(phi, adapted(x), query).mean()

    return trust_region_step(loss, divergence, x)


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
            record_every=10, checkpoint=checkpoint, generator=generator(TRAINING + seed),
        )


def knowledge(
    family: Navigation, theta: Params, alpha: Params, n_tasks: int, random: torch.Generator,
    shots: int = 20,
) -> dict[str, Tensor]:
    """Return how a policy looks around, and what it makes of one update.

    Is its return noise? Does its walk spread, does it hold its place? Does it find a direction, or
    the goal?

    Parameters
    ----------
    n_tasks : int
        Goals in the square, and as many on each ring.
    shots : int
        Episodes to adapt on in each task.

    Returns
    -------
    dict
        Before the update: ``first pull``, how much the mean velocity turns back at the origin for
        each unit beside it; ``walk``, the standard deviation of a place along an axis, between the
        episodes of a task, a mean over the steps (where they begin counts, too); ``arrived``, the
        share of episodes that end.
        After it: ``noisy`` and ``still``, the mean return with the noise of the actions and
        without; ``pull``, at the goal; ``sigma``, the noise.
        On the rings, ``(2,)`` for goals at ``NEAR`` and at ``FAR``: ``velocity``, how far the mean
        velocity at the origin has moved towards the goal; ``along`` and ``miss``, how far in that
        direction a walk from the origin without noise ends, and how far from its goal.
    """
    world = replace(family, reward="distance")

    def adapted(tasks: NavigationTasks) -> tuple[Params, Params, Trajectories]:
        start = per_task(theta, tasks.x.shape)
        data = family.sample_data(tasks, start, shots, generator=random)
        rates = share_alpha(theta, alpha, tasks.x.shape)
        phi = adapt(family.loss, start, rates, data, first_order=True)
        return start, {name: p.detach() for name, p in phi.items()}, data

    def quiet(phi: Params) -> Params:
        return phi | {"log_std": torch.full_like(phi["log_std"], -torch.inf)}

    def turned(phi: Params, place: Tensor) -> Tensor:
        beside = 0.02 * torch.eye(2)
        back = world.mean(phi, place - beside) - world.mean(phi, place + beside)
        return back.diagonal(dim1=-2, dim2=-1).mean() / 0.04

    def played(phi: Params) -> Tensor:
        return world.score(phi, world.sample_data(tasks, phi, shots, generator=random)).mean()

    tasks = family.sample_tasks(n_tasks, generator=random)
    start, phi, data = adapted(tasks)
    goal = torch.stack(tasks, -1).unsqueeze(-2)
    found = {
        "first pull": turned(start, torch.zeros_like(goal)),
        "walk": data.observation.std(1).mean(), "arrived": (~data.mask[..., -1]).float().mean(),
        "noisy": played(phi), "still": played(quiet(phi)), "pull": turned(phi, goal),
        "sigma": phi["log_std"].exp().mean(),
    }  # fmt: skip

    angle = 2 * pi * torch.arange(n_tasks) / n_tasks
    unit = torch.stack([angle.cos(), angle.sin()], -1).repeat(2, 1)
    goal = torch.tensor([NEAR, FAR]).repeat_interleave(n_tasks).unsqueeze(-1) * unit
    start, phi, _ = adapted(NavigationTasks(*goal.T))
    origin, still = torch.zeros(2 * n_tasks, 1, 2), quiet(phi)
    moved = world.mean(phi, origin) - world.mean(start, origin)
    walked = replace(world, start="origin").sample_data(
        NavigationTasks(*goal.T), still, 1, generator=random
    )
    last = walked.observation[:, 0, -1]
    end = last + walked.action[:, 0, -1].clamp(-REACH, REACH) * walked.mask[:, 0, -1:]
    on_rings = {
        "velocity": (moved[:, 0] * unit).sum(-1), "along": (end * unit).sum(-1),
        "miss": (end - goal).norm(dim=-1),
    }  # fmt: skip
    return found | {name: part.view(2, -1).mean(-1) for name, part in on_rings.items()}


def work(job: Job) -> Stored:
    """Train once, and test the last iterate.

    Stored are ``returns`` and ``returns, 40``, ``(4,)``, the mean over the test tasks after 0 to 3
    updates on 20 and on 40 episodes each; ``tasks`` ``(2, tasks)``, each task's before and after
    the first, on 20; ``curve`` ``(2, records)``, the same as a mean over a few other goals while it
    trained; of TRPO, ``tries`` and ``divergence`` of each step; ``iterations`` that were done, and
    whether it ``diverged``; ``spread``, the noise of theta; and what :func:`knowledge` finds.
    """
    setting, seed = JOBS[job.name]
    family = setting.family()
    world = replace(family, reward="distance")
    iterations, tasks, shots = (2, 2, 3) if job.quick else (ITERATIONS, TASKS, TRAJECTORIES)

    def tested(
        record: Record | Iteration, n_tasks: int, shots: int, steps: int, random: torch.Generator
    ) -> Evaluation:
        return evaluate(
            family, record.theta, record.alpha, shots=shots, query_shots=20, steps=steps,
            n_tasks=n_tasks, schedule=SCHEDULE[:steps], scorer=world, generator=random,
        )  # fmt: skip

    def note(record: Record | Iteration) -> dict[str, Tensor]:
        curve = tested(record, tasks, shots, 1, generator(VALIDATION)).mean
        if isinstance(record, Record):
            return {"curve": curve}
        return {"curve": curve, "tries": record.tries, "divergence": record.divergence}

    def records(path: Path) -> Iterator[Record | Iteration]:
        train = by_trpo if setting.outer == "TRPO" else by_adam
        return train(setting, seed, iterations=iterations, tasks=tasks, trajectories=shots,
                     checkpoint=path)  # fmt: skip

    last, noted = job.train(records, iterations, note)
    random, n_tasks = generator(TEST + seed), 4 if job.quick else TEST_TASKS
    found = tested(last, n_tasks, shots, len(SCHEDULE), random)
    tensors = {
        "returns": found.mean, "tasks": found.scores[:2],
        "returns, 40": tested(last, n_tasks, 2 * shots, len(SCHEDULE), random).mean,
        "iterations": torch.tensor(last.iteration), "diverged": last.diverged,
        "spread": last.theta["log_std"].exp(), "seconds": noted.pop("seconds").sum(),
        **knowledge(family, last.theta, last.alpha, n_tasks // 4, random), **noted,
    }  # fmt: skip
    del tensors["iteration"]
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
        "220 minutes", tuple(JOBS), work, summary,
        lambda parts: {"navigation-trpo": together(parts)},
    )
}
