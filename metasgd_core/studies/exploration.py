"""What the first episodes try: four meta-gradients on three arms (companion of chapter 15).

By symmetry all that matters of a start is how much it prefers the safe arm. So the return after one
step can be drawn as a curve. Its best place is known, and each estimator's meta-gradient can be
held to the curve's slope, and its trainings to the best place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.evaluation import t_interval
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import MAML, Method
from metasgd_core.objectives import meta_loss
from metasgd_core.policy_gradient import PolicyGradient
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.arms import Arms
from metasgd_core.types import Params

SEEDS, ITERATIONS, TASKS, EPISODES, ALPHA = 5, 1000, 40, 5, 3.0
#: Outer rates to choose among, on validation tasks, for each estimator.
RATES = (0.01, 0.03, 0.1)
#: A start that has learned the best arm of all and pulls nothing else, nearly.
FIRST = 2.0
#: How much the safe arm is preferred, where the curve and the meta-gradients are looked at.
PREFERRED = tuple(k / 4 for k in range(-16, 17))
LOOKS = (-1.0, 0.0, 1.0, 2.0)
TRAINING, VALIDATION, TEST, NOISE = 1, 1000, 2000, 3000
TEST_TASKS, BATCHES = 20_000, 400

#: The surrogate, and whether theta has credit for the episodes that it chooses.
ESTIMATORS: dict[str, tuple[Literal["lvc", "naive", "dice"], bool]] = {
    "lvc": ("lvc", False), "naive": ("naive", False), "DiCE": ("dice", False),
    "E-MAML": ("naive", True),
}  # fmt: skip
CURVE = "curve"


def family(name: str) -> Arms:
    """Return the arms with an estimator's surrogate."""
    estimator, _ = ESTIMATORS[name]
    return Arms(objective=PolicyGradient(estimator, discount=1.0, normalize=False))


def method(name: str) -> Method:
    """Return MAML, with or without the E-MAML term."""
    return replace(MAML, credit_sampling=ESTIMATORS[name][1])


def preferring(safe: Tensor) -> Params:
    """Return theta, leaves ``(*safe.shape, 3)``, whose logits are (safe, 0, 0)."""
    nothing = torch.zeros_like(safe)
    return {"logits": torch.stack([safe, nothing, nothing], dim=-1)}


def returns(theta: Params, *, n_tasks: int, seed: int) -> Tensor:
    """Return the expected reward of a pull before and after the step, ``(2, *runs)``.

    Of a policy the expectation is exact; over tasks and the episodes adapted to it is a mean.
    """
    arms, random = family("lvc"), generator(seed)
    runs = theta["logits"].shape[:-1]
    batch = (*runs, n_tasks)
    tasks = arms.sample_tasks(*batch, generator=random)
    start = per_task(theta, batch)
    support = arms.sample_data(tasks, start, EPISODES, generator=random)
    phi = adapt(arms.loss, start, ALPHA, support, first_order=True)
    brings = torch.stack([torch.full_like(tasks.good, arms.safe),
                          3 - 2 * tasks.good, 2 * tasks.good - 3], dim=-1)  # fmt: skip
    with torch.no_grad():
        return torch.stack([(p["logits"].softmax(-1) * brings).sum(-1).mean(-1)
                            for p in (start, phi)])  # fmt: skip


def by_curve(job: Job) -> Stored:
    """Draw the curve, and each estimator's meta-gradient at a few places of it.

    Stored are ``preferred`` and ``curve`` ``(2, places)``; ``looks``, and for each estimator its
    slopes there, one a meta-batch, ``(places, batches)``: of the return after the step, upwards.
    """
    places = torch.tensor(PREFERRED)
    n_tasks, batches = (200, 3) if job.quick else (TEST_TASKS, BATCHES)
    found = {"preferred": places, "looks": torch.tensor(LOOKS),
             "curve": returns(preferring(places), n_tasks=n_tasks, seed=TEST)}  # fmt: skip
    for name in ESTIMATORS:
        at = torch.tensor(LOOKS)[:, None].expand(-1, batches).contiguous().requires_grad_()
        random = generator(NOISE)
        tasks = family(name).sample_tasks(*at.shape, TASKS, generator=random)
        loss = meta_loss(
            family(name), preferring(at), ALPHA, tasks, method(name), shots=EPISODES,
            query_shots=EPISODES, generator=random,
        )
        (slope,) = torch.autograd.grad(loss.sum(), at)
        found[f"slope, {name}"] = -slope / family(name).horizon
    return Stored(found, {})


def work(job: Job) -> Stored:
    """Choose an estimator's outer rate, train five seeds, and test them; or draw the curve.

    Stored are ``tried`` ``(rates,)``; ``logits`` ``(seeds, 3)``; ``returns`` ``(2, seeds)``.
    """
    if job.name == CURVE:
        return by_curve(job)
    iterations, n_tasks = (4, 100) if job.quick else (ITERATIONS, TEST_TASKS)

    def trained(lr: float, seed: int) -> Iterator[Record]:
        return meta_train(
            family(job.name), preferring(torch.full((SEEDS,), FIRST)), ALPHA, method(job.name),
            iterations=iterations, meta_batch=TASKS, shots=EPISODES, query_shots=EPISODES,
            generator=generator(seed), lr=lr, final_lr=0.1, record_every=max(1, iterations // 10),
        )

    tried = []
    for lr in RATES:
        *_, record = trained(lr, VALIDATION)
        tried.append(returns(record.theta, n_tasks=n_tasks, seed=VALIDATION + 1)[1].mean())
    lr = RATES[int(torch.stack(tried).nan_to_num(-torch.inf).argmax())]
    *_, record = trained(lr, TRAINING)
    return Stored({
        "tried": torch.stack(tried), "chosen": torch.tensor(lr), "logits": record.theta["logits"],
        "returns": returns(record.theta, n_tasks=n_tasks, seed=TEST),
    }, {})  # fmt: skip


def summary(found: Stored) -> str:
    """Return the best place of the curve, and where each estimator's trainings have led."""
    curve, places = (found.tensors[f"{CURVE}/{key}"] for key in ("curve", "preferred"))
    best = int(curve[1].argmax())
    lines = [f"best: {float(curve[1][best]):.3f} where the safe arm has {float(places[best]):+.2f}"]
    for name in ESTIMATORS:
        logits, after = (found.tensors[f"{name}/{key}"] for key in ("logits", "returns"))
        safe = logits[:, 0] - logits[:, 1:].mean(-1)
        cells = ["{:.3f} ± {:.3f}".format(*t_interval(part.double())) for part in (*after, safe)]
        slopes = found.tensors[f"{CURVE}/slope, {name}"]
        noise = "  ".join(f"{float(s.mean()):+.3f} ({float(s.std()):.3f})" for s in slopes)
        lines.append(f"{name:8}" + "   ".join(cells) + f"   slopes {noise}")
    return "\n".join(lines)


STUDIES = {
    "exploration": Study(
        "chapter 15's companion: what the first episodes try, by four meta-gradients",
        "10 minutes", (*ESTIMATORS, CURVE), work, summary,
        lambda parts: {"exploration": together(parts)},
    )
}
