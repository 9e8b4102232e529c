"""A context vector on the secret side (chapter 15): a step that moves a few numbers and no weight.

Beside the state the policy sees some numbers that begin at 0, and the inner step moves those alone
(CAVIA; Zintgraf et al. 2019). All else is as for the rows of ``cartpole-secret``. How many numbers
there are, and the rate, are chosen on validation tasks, after trainings with seeds of their own.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from metasgd_core.alpha import init_alpha
from metasgd_core.evaluation import evaluate, t_interval
from metasgd_core.meta_training import Record
from metasgd_core.methods import MAML
from metasgd_core.models import ContextMLP, init_theta
from metasgd_core.studies import Stored, cartpole, generator
from metasgd_core.studies.jobs import Job, Study
from metasgd_core.studies.relatives import choose, chosen, trying
from metasgd_core.tasks.cartpole import CartPole
from metasgd_core.types import Params

#: How many numbers, and their rate: as many settings as fine-tuning has rates to choose from.
TRIALS = tuple(product((1, 5), (3.0, 10.0, 30.0)))
#: Returns as near as this to the best one are as good: the first such setting has fewest numbers.
CLOSE = 5.0
SEEDS, TRIAL_SEEDS = 5, 2
#: The first theta and the training tasks of the trials; the row itself has those of its table.
TRIAL_FIRST, TRIAL_TRAINING = 10, 11


def family(numbers: int) -> CartPole:
    """Return the secret side, for a policy with a context of so many numbers."""
    return replace(cartpole.FAMILIES["secret"], model=ContextMLP((4, 64, 2), "tanh", numbers))


def begin(numbers: int, rate: float, seeds: int, seed: int) -> tuple[Params, Params]:
    """Return the first theta, a policy all but undecided, and alpha: 0 but for the context.

    The context begins at 0. Its weights must not: they and the context would wait for each other.
    """
    theta = init_theta(
        family(numbers).model, generator=generator(seed), runs=(seeds,), output_scale=0.1
    )
    alpha = init_alpha(theta, "tensor", 0.0, runs=(seeds,))
    return theta, alpha | {"context": torch.full_like(alpha["context"], rate)}


def train(
    job: Job, numbers: int, rate: float, *, seeds: int, first: int, training: int
) -> tuple[Record, dict[str, float]]:
    """Train some seeds at once; return the last record, and the seconds and steps (a seed)."""
    theta, alpha = begin(numbers, rate, seeds, first)
    return cartpole.train(
        family(numbers), theta, alpha, MAML, job, seed=training, **cartpole.SETTINGS["secret"]
    )


def on_both_sides(returns: Tensor, seed: int) -> Tensor:
    """Return the means over test tasks, ``(..., n_tasks)`` to ``(...)``: each side counts half."""
    tasks = family(1).sample_tasks(returns.shape[-1], generator=generator(seed))
    right = tasks.side > 0
    return (returns[..., right].mean(-1) + returns[..., ~right].mean(-1)) / 2


def first_of_the_best(returns: Tensor) -> int:
    """Return the first setting that is `CLOSE` to the best; ``(settings,)``."""
    return int((returns >= returns.max() - CLOSE).int().argmax())


def work(job: Job) -> Stored:
    """Choose numbers and rate; train and test."""

    def validate(i: int) -> Tensor:
        numbers, rate = TRIALS[i]
        record, _ = train(
            trying(job, i), numbers, rate, seeds=TRIAL_SEEDS, first=TRIAL_FIRST,
            training=TRIAL_TRAINING,
        )
        found = evaluate(
            replace(family(numbers), horizon=500), record.theta, record.alpha,
            shots=cartpole.EPISODES, query_shots=cartpole.EPISODES, steps=1,
            n_tasks=4 if job.quick else 20, generator=generator(cartpole.VALIDATION),
        )
        return -on_both_sides(found.scores[:, 1], cartpole.VALIDATION)

    _, tried = choose(job, len(TRIALS), validate)
    best = first_of_the_best(-tried)
    numbers, rate = TRIALS[best]
    record, notes = train(
        chosen(job), numbers, rate, seeds=SEEDS, first=cartpole.FIRST, training=cartpole.TRAINING
    )
    tensors = {f"theta.{n}": p for n, p in record.theta.items()}
    return Stored(tensors | {
        "trials": torch.tensor(TRIALS), "validation": -tried, "chosen": torch.tensor(best),
        **{what: torch.tensor(value) for what, value in notes.items()},
        **cartpole.test(family(numbers), record.theta, record.alpha, cartpole.TEST,
                        4 if job.quick else cartpole.TEST_TASKS),
    }, {})  # fmt: skip


def summary(found: Stored) -> str:
    """Return what the trials came to, and the row's mean returns after 0 to 3 updates."""
    tensors = {key.partition("/")[2]: t for key, t in found.tensors.items()}
    lines = [
        f"numbers {numbers:.0f}, rate {rate:g}: {value:.0f} on validation tasks"
        for (numbers, rate), value in zip(tensors["trials"].tolist(), tensors["validation"])
    ]
    numbers, rate = tensors["trials"][tensors["chosen"]].tolist()
    lines.append(f"chosen: numbers {numbers:.0f}, rate {rate:g}")
    for kind in ("sampled", "greedy"):
        mean, half = t_interval(on_both_sides(tensors[kind], cartpole.TEST), dim=0)
        lines.append(f"{kind:8} " + "  ".join(f"{m:.0f} ± {h:.0f}" for m, h in zip(mean, half)))
    return "\n".join(lines)


STUDIES = {
    "cartpole-context": Study(
        "chapter 15: the secret side, with a context for a step to move", "20 minutes",
        ("context",), work, summary,
    )
}
