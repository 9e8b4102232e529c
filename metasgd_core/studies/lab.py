"""The alpha lab: what Meta-SGD's rates need, arm by arm, on sinusoids of fixed frequency.

An *arm* is one way to train: a method, where alpha begins, an outer optimiser. All arms with the
same seed begin from the same theta and meet the same tasks, so that they can be compared seed by
seed; two arms differ in what their names say and in nothing else. Arms that differ only in the
first alpha are trained together, along a runs axis of ``(arms, seeds)``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from metasgd_core.alpha import AlphaShape, LogUniform, Uniform, init_alpha
from metasgd_core.evaluation import evaluate
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import MAML, META_SGD, Method
from metasgd_core.models import init_theta
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study
from metasgd_core.tasks.sinusoid import SineTasks, Sinusoid
from metasgd_core.types import Data, Params

#: The first half of the seeds is the study, the second half its repetition.
SEEDS = 10
ITERATIONS = 20_000
META_BATCH, SHOTS, QUERY_SHOTS = 4, 5, 10
#: Seeds of the generators: the first theta, the training tasks, then tasks held out.
FIRST, TRAINING, VALIDATION, TEST = 10, 11, 1010, 2010
TEST_TASKS, TEST_STEPS = 500, 10

#: Where one arm's alpha begins: a number, or a range from which each of its numbers is drawn.
Start = float | Uniform | LogUniform


@dataclass(frozen=True)
class Arms:
    """Arms that are trained together: they differ in where alpha begins.

    Parameters
    ----------
    method : Method
        What they share.
    starts : tuple
        One first alpha an arm.
    optimizer : {"Adam", "momentum", "SGD"}
        The outer optimiser; momentum is SGD's, 0.9.
    lr : float
        Its rate, which falls linearly to a hundredth of itself.
    """

    method: Method
    starts: tuple[Start, ...] = (0.01,)
    optimizer: str = "Adam"
    lr: float = 1e-3


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer] | None] = {
    "Adam": None,  # the default of meta_train
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "SGD": torch.optim.SGD,
}
_SHAPES: tuple[AlphaShape, ...] = ("scalar", "tensor", "entry")
_FORMS: tuple[Literal["raw", "log", "nonnegative"], ...] = ("raw", "log", "nonnegative")
_THREE = (0.001, 0.01, 0.1)

LAB: dict[str, Arms] = {
    # Where alpha begins.
    "start": Arms(META_SGD, (
        0.0, -0.01, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0,
        Uniform(0.005, 0.1), Uniform(-0.1, 0.1),
    )),
    # How many numbers alpha has, and how they are held.
    **{
        f"{shape}, {form}": Arms(replace(META_SGD, alpha_shape=shape, alpha_form=form), _THREE)
        for shape in _SHAPES for form in _FORMS
    },
    # Not learned: one rate, or a random one for every entry.
    "fixed": Arms(MAML, (0.001, 0.003, 0.01, 0.03, 0.1, Uniform(0.005, 0.1), Uniform(0.0, 0.02))),
    # First-order or exact, trained for one step or several; signed rates, and rates kept positive.
    **{
        ", ".join([name, f"{steps} step{'s' * (steps > 1)}", *["first-order"] * first_order]): Arms(
            replace(method, inner_steps=steps, first_order=first_order), starts)
        for name, method, starts in (
            ("Meta-SGD", META_SGD, (0.01,)),
            ("nonnegative Meta-SGD", replace(META_SGD, alpha_form="nonnegative"), (0.01,)),
            ("MAML", MAML, (0.01, 0.03, 0.1)),
        )
        for steps in (1, 2, 5) for first_order in (False, True)
        if (steps, first_order) != (1, False)
    },
    # The outer optimiser; the rate of each was chosen on validation tasks from these.
    **{
        f"{optimizer} {lr:g}": Arms(META_SGD, _THREE, optimizer, lr)
        for optimizer, rates in (
            ("Adam", (3e-4, 3e-3, 1e-2)), ("momentum", (1e-3, 3e-3, 1e-2, 3e-2)),
            ("SGD", (3e-3, 1e-2, 3e-2, 1e-1)),
        )
        for lr in rates
    },
}


@dataclass(frozen=True)
class SharedSines(Sinusoid):
    """Curves and points that all arms share: axes ``(..., arms, seeds, tasks)``."""

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> SineTasks:
        """Draw curves for one arm, and give all the same."""
        *front, arms, seeds, n = batch
        drawn = super().sample_tasks(*front, 1, seeds, n, generator=generator)
        return SineTasks(*(part.expand(*front, arms, seeds, n) for part in drawn))

    def sample_data(
        self, tasks: SineTasks, phi: Params | None, shots: int, *, generator: torch.Generator
    ) -> Data:
        """Draw points for one arm, and give all the same."""
        arms = tasks.amplitude.shape[-3]
        one = SineTasks(*(part.narrow(-3, 0, 1) for part in tasks))
        drawn = super().sample_data(one, phi, shots, generator=generator)
        return Data(*(leaf.repeat_interleave(arms, dim=-5) for leaf in drawn))


def begin(arms: Arms, seeds: int = SEEDS, *, draw: int = 0) -> tuple[Params, Params]:
    """Return the first theta and alpha, leaves ``(arms, seeds, ...)``; all arms share theta."""
    model, first = Sinusoid().model, generator(FIRST + 10_000 * draw)
    one = init_theta(model, generator=first, runs=(seeds,))
    theta = {
        name: p.expand(len(arms.starts), *p.shape).clone() for name, p in one.items()
    }
    shape = arms.method.alpha_shape
    if not arms.method.learn_alpha and any(not isinstance(start, float) for start in arms.starts):
        shape = "entry"  # fixed rates that are drawn need not be as few as learned ones
    parts = [
        init_alpha(one, shape, start, runs=(seeds,), each_entry=True, generator=first)
        for start in arms.starts
    ]
    if shape == "scalar":
        alpha = torch.stack([next(iter(part.values())) for part in parts])
        return theta, dict.fromkeys(theta, alpha)
    return theta, {name: torch.stack([part[name] for part in parts]) for name in theta}


def train(
    arms: Arms,
    *,
    seeds: int = SEEDS,
    iterations: int = ITERATIONS,
    record_every: int = 500,
    checkpoint: str | os.PathLike[str] | None = None,
    compiled: bool = False,
    draw: int = 0,
) -> Iterator[Record]:
    """Train all arms with several seeds at once, runs ``(arms, seeds)``.

    Another `draw` is another set of seeds; the study's is 0.
    """
    theta, alpha = begin(arms, seeds, draw=draw)
    return meta_train(
        SharedSines(), theta, alpha, arms.method, iterations=iterations, meta_batch=META_BATCH,
        shots=SHOTS, query_shots=QUERY_SHOTS, generator=generator(TRAINING + 10_000 * draw),
        lr=arms.lr, final_lr=0.01, optimizer=OPTIMIZERS[arms.optimizer], clip=10.0,
        record_every=record_every, checkpoint=checkpoint, compiled=compiled,
    )


def held_out(
    theta: Params, alpha: Params, *, seed: int = TEST, n_tasks: int = TEST_TASKS,
    steps: int = TEST_STEPS,
) -> Tensor:
    """Return the errors after 0, 1, … inner steps, ``(arms, seeds, steps + 1, n_tasks)``."""
    return evaluate(
        Sinusoid(), theta, alpha, shots=SHOTS, steps=steps, n_tasks=n_tasks,
        generator=generator(seed),
    ).scores


def what_alpha_became(alpha: Params, moved: Params) -> dict[str, Tensor]:
    """Return a few numbers on the rates of each run, ``(arms, seeds)`` each.

    Parameters
    ----------
    alpha : Params
        Leaves ``(arms, seeds, *shape)``.
    moved : Params
        True for the entries that training has moved; the others (behind dead ReLUs) are left out.
    """
    every, alive = _flat(alpha), _flat(moved)
    some = every.where(alive, torch.nan)
    return {
        "median": some.nanmedian(dim=-1).values,
        "largest": some.abs().nan_to_num(0.0).amax(dim=-1),
        "negative": (some < 0).sum(-1) / alive.sum(-1).clamp(min=1),
        "moved": alive.double().mean(-1).float(),
    }


def _flat(params: Params) -> Tensor:
    """Lay all numbers of a run side by side, ``(arms, seeds, numbers)``."""
    return torch.cat([p.reshape(*p.shape[:2], -1) for p in params.values()], dim=-1)


#: Arms whose theta and alpha are stored whole, so that their figures can be computed again.
_WHOLE = {"start": 4, "fixed": 2}


def work(job: Job) -> Stored:
    """Train a group of arms and test it.

    Stored are, for every arm and seed, the error on validation tasks during training, the mean
    error on test tasks after 0 to 10 inner steps, and what alpha became.
    """
    arms, iterations = LAB[job.name], 20 if job.quick else ITERATIONS
    tasks = 20 if job.quick else TEST_TASKS

    def records(checkpoint: os.PathLike[str]) -> Iterator[Record]:
        with suppress(FloatingPointError):  # that all runs of a group are lost is a result, too
            yield from train(
                arms, iterations=iterations, record_every=iterations // (2 if job.quick else 40),
                checkpoint=checkpoint, compiled=not job.quick,
            )

    record, noted = job.train(records, iterations, lambda record: {
        "validation": held_out(
            record.theta, record.alpha, seed=VALIDATION, n_tasks=min(tasks, 100), steps=1
        )[..., 1, :].mean(-1)
    })
    tensors = {
        "iteration": noted["iteration"], "validation": noted["validation"],
        "test": held_out(record.theta, record.alpha, n_tasks=tasks).mean(-1),
        "diverged": record.diverged,
    }
    if arms.method.learn_alpha:
        _, first = begin(arms)
        moved = {n: ~a.isclose(first[n], rtol=1e-4) for n, a in record.alpha.items()}
        became = what_alpha_became(record.alpha, moved)
        tensors |= {f"alpha {what}": value for what, value in became.items()}
        if job.name == "start":
            tensors["alpha of seed 0"] = _flat(record.alpha)[:, 0]
            tensors["moved of seed 0"] = _flat(moved)[:, 0]
    if job.name in _WHOLE:
        arm = _WHOLE[job.name]
        tensors |= {f"theta.{n}": p[arm] for n, p in record.theta.items()}
        tensors |= {f"alpha.{n}": a[arm] for n, a in record.alpha.items()}
    return Stored(tensors, {})


def summary(found: Stored) -> str:
    """Return each arm's error after one step, its mean over the seeds."""
    lines = []
    for name, arms in LAB.items():
        after = found.tensors[f"{name}/test"][..., 1].mean(1).tolist()
        cells = (f"{start}: {error:.3f}" for start, error in zip(arms.starts, after))
        lines.append(f"{name:32} " + "  ".join(cells))
    return "\n".join(lines)


STUDIES = {
    "alpha-lab": Study(
        "chapter 8: what Meta-SGD's rates need, arm by arm", "40 minutes", tuple(LAB), work, summary
    )
}
