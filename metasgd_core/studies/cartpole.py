"""The families of CartPoles of chapter 15, and what the page's CartPole carries of them.

A row is five trainings at once, along the runs axis. Settings were chosen on validation tasks; the
figures are of test tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metasgd_core.alpha import init_alpha
from metasgd_core.evaluation import evaluate
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import JOINT, MAML, META_SGD, Method
from metasgd_core.models import init_theta
from metasgd_core.studies import Stored, generator, load
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.cartpole import CartPole
from metasgd_core.types import Params, Trajectories

SEEDS, TEST_TASKS, EPISODES = 5, 100, 10
#: Seeds of the generators: the first theta, the training tasks, then tasks held out.
FIRST, TRAINING, VALIDATION, TEST = 0, 1, 1000, 2000

#: Steps that policies have played in the environment since they were last noted.
_PLAYED = [0]


@dataclass(frozen=True)
class Counted(CartPole):
    """CartPole, with its steps counted."""

    def sample_data(self, *args: Any, **kwargs: Any) -> Trajectories:
        """Play, and count."""
        data = super().sample_data(*args, **kwargs)
        _PLAYED[0] += int(data.mask.sum())
        return data


def _played(record: Record) -> dict[str, Tensor]:
    steps, _PLAYED[0] = torch.tensor(_PLAYED[0]), 0
    return {"steps": steps}


LOG = replace(META_SGD, alpha_form="log")
SCALAR = replace(LOG, name="learned scalar", alpha_shape="scalar")
SETTINGS: dict[str, dict[str, Any]] = {
    "physics": {"iterations": 60, "lr": 1e-2},
    "swapped": {"iterations": 100, "lr": 3e-2},
    "secret": {"iterations": 200, "lr": 2e-2},
}
FAMILIES = {
    "physics": Counted(length=(0.25, 4.0), force=(5.0, 15.0), gravity=(5.0, 15.0), horizon=200),
    "swapped": Counted(swapped=True, horizon=200),
    "secret": Counted(secret_side=True, horizon=200),
}
#: Method, first alpha, and the outer rate of log alpha, if it is learned.
ROWS: dict[str, dict[str, tuple[Method, float, float]]] = {
    "physics": {"joint": (JOINT, 0.0, 0.0)},
    "swapped": {
        "maml-1": (MAML, 1.0, 0.0), "maml-3": (MAML, 3.0, 0.0), "metasgd-3": (LOG, 3.0, 0.05),
        "metasgd-0.1": (LOG, 0.1, 0.05), "maml-0.1": (MAML, 0.1, 0.0),
        "scalar-0.1": (SCALAR, 0.1, 0.05), "joint": (JOINT, 0.0, 0.0),
    },
    "secret": {
        "maml-3": (MAML, 3.0, 0.0), "metasgd-3": (LOG, 3.0, 0.1), "metasgd-0.1": (LOG, 0.1, 0.1),
        "maml-0.1": (MAML, 0.1, 0.0), "scalar-0.1": (SCALAR, 0.1, 0.1),
        # Here alpha grows too slowly: theta has picked a side before.
        "metasgd-0.1-slow": (LOG, 0.1, 0.05), "scalar-0.1-slow": (SCALAR, 0.1, 0.05),
        "joint": (JOINT, 0.0, 0.0),
    },
}
#: Rates among which fine-tuning chooses its own, by the return after three updates.
FINE_TUNING_RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def first_theta(family: CartPole, runs: tuple[int, ...] = ()) -> Params:
    """Return a policy that is all but undecided."""
    return init_theta(family.model, generator=generator(FIRST), runs=runs, output_scale=0.1)


def train(
    family: CartPole, theta: Params, alpha: Params, method: Method, job: Job, *,
    iterations: int, lr: float, alpha_lr: float = 0.0, seed: int = TRAINING,
) -> tuple[Record, dict[str, float]]:
    """Train some seeds at once; return the last record, and the seconds and steps (a seed).

    Parameters
    ----------
    theta, alpha : Params
        To begin with, leaves ``(seeds, ...)``.
    """
    iterations = 6 if job.quick else iterations
    _PLAYED[0] = 0
    record, noted = job.train(
        lambda checkpoint: meta_train(
            family, theta, alpha, method, iterations=iterations,
            meta_batch=2 if job.quick else 20, shots=EPISODES, query_shots=EPISODES,
            generator=generator(seed), lr=lr, alpha_lr=alpha_lr,
            final_lr=0.1, clip=1.0, record_every=1 if job.quick else 20, checkpoint=checkpoint,
        ),
        iterations, _played,
    )
    seeds = len(next(iter(theta.values())))
    return record, {
        "seconds": float(noted["seconds"].sum()), "steps": int(noted["steps"].sum()) / seeds
    }


def test(
    family: CartPole, theta: Params, alpha: Params | float, seed: int, n_tasks: int
) -> dict[str, Tensor]:
    """Return sampled and greedy returns after 0 to 3 updates, ``(seeds, 4, n_tasks)`` each."""
    family = replace(family, horizon=500)
    kinds = {"sampled": family, "greedy": replace(family, greedy=True)}
    return {
        kind: evaluate(
            family, theta, alpha, shots=EPISODES, query_shots=EPISODES, steps=3, n_tasks=n_tasks,
            generator=generator(seed), scorer=scorer,
        ).scores
        for kind, scorer in kinds.items()
    }


def fine_tuning_rates(name: str, theta: Params, n_tasks: int) -> dict[float, float]:
    """Return theta's return after three updates on validation tasks, by the rate."""
    family = replace(FAMILIES[name], horizon=500)
    return {
        rate: float(evaluate(
            family, theta, rate, shots=EPISODES, query_shots=EPISODES, steps=3, n_tasks=n_tasks,
            generator=generator(VALIDATION),
        ).scores[:, 3].mean())
        for rate in FINE_TUNING_RATES
    }


def work(name: str, job: Job) -> Stored:
    """Train and test a row of a family: theta, alpha, and the returns of every test task."""
    notes: dict[str, Any] = {"seconds": 0.0, "steps": 0.0}
    theta, alpha = first_theta(FAMILIES[name], runs=(SEEDS,)), {}
    if job.name != "random":
        method, rate, alpha_lr = ROWS[name][job.name]
        alpha = init_alpha(theta, method.alpha_shape, rate, runs=(SEEDS,))
        record, notes = train(
            FAMILIES[name], theta, alpha, method, job, alpha_lr=alpha_lr, **SETTINGS[name]
        )
        theta, alpha = record.theta, record.alpha
        notes |= {"first_alpha": rate, "alpha_lr": alpha_lr}
    if job.name in ("random", "joint"):
        tried = fine_tuning_rates(name, theta, 2 if job.quick else 20)
        notes["validation"] = {str(rate): round(found, 1) for rate, found in tried.items()}
        notes["rate"] = max(tried, key=lambda rate: tried[rate])
        alpha = init_alpha(theta, "scalar", notes["rate"], runs=(SEEDS,))
    tensors = {f"theta.{n}": p for n, p in theta.items()}
    one = len({id(a) for a in alpha.values()}) == 1
    rates = {"": next(iter(alpha.values()))} if one else alpha
    tensors |= {f"alpha.{n}": a for n, a in rates.items()}
    returns = test(FAMILIES[name], theta, alpha, TEST, 2 if job.quick else TEST_TASKS)
    return Stored(tensors | returns, notes)


def results(name: str, parts: dict[str, Stored]) -> dict[str, Stored]:
    """Return the file of a family."""
    return {f"cartpole-{name}": together(
        parts, seeds=SEEDS, test_tasks=TEST_TASKS, episodes=EPISODES, training=SETTINGS[name],
        rows={row: part.notes for row, part in parts.items()},
    )}


def summary(found: Stored) -> str:
    """Return each row's mean returns after 0 to 3 updates."""
    lines = []
    for row, notes in found.notes["rows"].items():
        cells = (
            f"{kind} {[round(m) for m in found.tensors[f'{row}/{kind}'].mean((0, -1)).tolist()]}"
            for kind in ("sampled", "greedy")
        )
        lines.append(f"{row:18}{'  '.join(cells)}  {notes['steps'] / 1e6:.1f} M steps")
    return "\n".join(lines)


#: What the page's figure shows: chapter 14's first policy, the first seed of three rows of the
#: secret side.
FIGURE = {"random": None, "MAML": "maml-3", "Meta-SGD": "metasgd-3", "joint": "joint"}


def copy(job: Job) -> Stored:
    """Take one start of the figure out of what ``cartpole-secret`` has stored."""
    model, row = CartPole().model, FIGURE[job.name]
    if row is None:  # undecided at first, and the rate that chapter 14 begins with
        theta = first_theta(CartPole())
        flat = torch.cat([p.flatten() for p in theta.values()])
        return Stored({"theta": flat, "alpha": torch.tensor([2.0])}, {})
    tensors, notes = load("cartpole-secret")

    def whole(kind: str) -> Tensor:
        return torch.cat([
            tensors[f"{row}/{kind}.{part}"][0].flatten() for part, _ in model.named_parameters()
        ])

    if "rate" in notes["rows"][row]:  # fine-tuning's, chosen on validation tasks
        alpha = torch.tensor([notes["rows"][row]["rate"]])
    else:
        one = tensors.get(f"{row}/alpha.")
        alpha = whole("alpha") if one is None else one[:1]
    return Stored({"theta": whole("theta"), "alpha": alpha}, {})


def figure(parts: dict[str, Stored]) -> dict[str, Stored]:
    """Return the file of the figure."""
    return {"figure-cartpole": together(parts, made_from=load("cartpole-secret").made)}


def figure_summary(found: Stored) -> str:
    """Return how many numbers each start has."""
    return "\n".join(f"{key:16} {len(value)}" for key, value in found.tensors.items())


STUDIES = {
    f"cartpole-{name}": Study(
        f"chapter 15: {about}", time, (*ROWS[name], "random"), partial(work, name), summary,
        partial(results, name),
    )
    for name, about, time in (
        ("physics", "poles, forces and gravity that vary", "5 minutes"),
        ("swapped", "left and right swapped, or not", "15 minutes"),
        ("secret", "one side pays, and no observation says which", "25 minutes"),
    )
} | {
    "figure-cartpole": Study(
        "the policies of the page's CartPole, out of cartpole-secret", "seconds", tuple(FIGURE),
        copy, figure_summary, figure,
    )
}
