"""The starts of the figure "Adapt to a sine": one step each, as in chapter 6; Reptile as in 5.

All come from the same first theta and, but for Reptile's and those with nothing to learn, meet the
same number of tasks: five shots of the curves of fixed frequency.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from metasgd_core.alpha import init_alpha
from metasgd_core.meta_training import meta_train
from metasgd_core.methods import FOMAML, JOINT, MAML, META_SGD, REPTILE, Method
from metasgd_core.models import init_theta
from metasgd_core.studies import Stored, generator, lab
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Params

#: Seeds of the first theta and of the training tasks.
FIRST, TRAINING = 0, 1


class Start(NamedTuple):
    """How one start is trained."""

    method: Method
    alpha: float = 0.01
    lr: float = 1e-3


JOBS: dict[str, Start | None] = {
    "random": None,
    "joint": Start(JOINT),
    "MAML": Start(MAML),
    "FOMAML": Start(FOMAML),
    "Reptile": Start(replace(REPTILE, inner_steps=10), alpha=0.015, lr=1.0),
    "Meta-SGD": Start(META_SGD),
}
#: Rates at test of the starts that were not made for one, chosen on validation tasks after ten
#: steps, as in chapter 4.
RATES = (0.001, 0.003, 0.01, 0.03)


def _flat(params: Params) -> Tensor:
    return torch.cat([p.flatten() for p in params.values()])


def chosen_rate(theta: Params) -> float:
    """Return the rate that is best on validation tasks after ten steps."""

    def error(rate: float) -> float:
        alpha = init_alpha(theta, "scalar", rate)
        errors = lab.held_out(theta, alpha, seed=lab.VALIDATION, n_tasks=200)
        return float(errors[-1].mean().nan_to_num(torch.inf))

    return min(RATES, key=error)


def work(job: Job) -> Stored:
    """Make one start: theta, alpha (one number where one serves all), errors on held-out curves."""
    family, start = Sinusoid(), JOBS[job.name]
    theta = init_theta(family.model, generator=generator(FIRST))
    if start is not None:
        first, iterations = theta, 100 if job.quick else lab.ITERATIONS
        begun = init_alpha(first, start.method.alpha_shape, start.alpha)
        record, _ = job.train(
            lambda checkpoint: meta_train(
                family, first, begun, start.method, iterations=iterations,
                meta_batch=lab.META_BATCH, shots=lab.SHOTS, query_shots=lab.QUERY_SHOTS,
                generator=generator(TRAINING), lr=start.lr, final_lr=0.01, clip=10.0,
                record_every=1000, checkpoint=checkpoint,
                compiled=start.method.objective == "query" and not job.quick,
            ),
            iterations,
        )
        theta, alpha = record.theta, record.alpha
    notes = {}
    if job.name in ("random", "joint"):
        notes["rate"] = chosen_rate(theta)
        alpha = init_alpha(theta, "scalar", notes["rate"])
    rates = _flat({n: a.expand_as(theta[n]) for n, a in alpha.items()})
    return Stored({
        "theta": _flat(theta), "alpha": rates[:1] if (rates == rates[0]).all() else rates,
        "errors": lab.held_out(theta, alpha).mean(-1),
    }, notes)


def results(parts: dict[str, Stored]) -> dict[str, Stored]:
    """Return the file of the figure."""
    rates = {name: part.notes["rate"] for name, part in parts.items() if part.notes}
    notes = {"shots": lab.SHOTS, "iterations": lab.ITERATIONS, "first": FIRST, "training": TRAINING}
    return {"figure-sine": together(parts, **notes, **{"chosen rates": rates})}


def summary(found: Stored) -> str:
    """Return each start's errors after 0, 1, ... steps."""
    return "\n".join(
        f"{name:10}" + " ".join(f"{e:8.3g}" for e in found.tensors[f"{name}/errors"].tolist())
        for name in JOBS
    )


STUDIES = {
    "figure-sine": Study(
        "the starts of \"Adapt to a sine\", chapters 1 and 3 to 6", "2 minutes", tuple(JOBS), work,
        summary, results,
    )
}
