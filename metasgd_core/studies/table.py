"""The table of the Meta-SGD paper: sinusoids, trained on 5, 10 or 20 shots and tested on each.

Li et al. 2017 (arXiv:1707.09835), section 4.1. Chapter 9 lists where this leaves the paper's
protocol, and what it took where the paper leaves something open.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from metasgd_core.alpha import Uniform, init_alpha
from metasgd_core.evaluation import evaluate
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import MAML, META_SGD, Method
from metasgd_core.models import init_theta
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.sinusoid import SineTasks, Sinusoid
from metasgd_core.types import Params, check_count

FAMILY = Sinusoid.varying_frequency()
SHOTS = (5, 10, 20)
SEEDS = 10
ITERATIONS = 60_000
META_BATCH = 4
QUERY_SHOTS = 10
QUICK_ITERATIONS = 200
CURVES, REDRAWS, TEST_POINTS = 100, 100, 100
#: Seeds of the generators: the first theta and alpha, the training tasks, then tasks held out.
FIRST, TRAINING, VALIDATION, TEST = 0, 1, 1000, 2000

#: The paper's means and 95 % intervals: method, shots in training -> tested on 5, 10, 20 shots.
PAPER = {
    ("MAML", 5): ((1.13, 0.18), (0.85, 0.14), (0.71, 0.12)),
    ("Meta-SGD", 5): ((0.90, 0.16), (0.63, 0.12), (0.50, 0.10)),
    ("MAML", 10): ((1.17, 0.16), (0.77, 0.11), (0.56, 0.08)),
    ("Meta-SGD", 10): ((0.88, 0.14), (0.53, 0.09), (0.35, 0.06)),
    ("MAML", 20): ((1.29, 0.20), (0.76, 0.12), (0.48, 0.08)),
    ("Meta-SGD", 20): ((1.01, 0.17), (0.54, 0.08), (0.31, 0.05)),
}


@dataclass(frozen=True)
class Setting:
    """One training of the table, or one of its variants.

    Parameters
    ----------
    method : Method
        MAML or Meta-SGD.
    shots : int
        Support points a task in training.
    family : Sinusoid
        The curves, in training and in the test.
    std : float, optional
        Of the first weights, truncated normal; None takes ``nn.Linear``'s own initialisation.
    alpha : float or Uniform
        MAML's fixed rate, or where Meta-SGD's rates begin.
    each_entry : bool
        Whether every rate is drawn anew, instead of one for a whole run.
    lr, final_lr : float
        Outer rate of Adam, and the fraction of it that is left at the end.
    """

    method: Method
    shots: int = 10
    family: Sinusoid = FAMILY
    std: float | None = 0.01
    alpha: float | Uniform = 0.01
    each_entry: bool = False
    lr: float = 1e-3
    final_lr: float = 1.0


PROTOCOL = {
    "MAML": Setting(MAML, alpha=0.01),
    "Meta-SGD": Setting(META_SGD, alpha=Uniform(0.005, 0.1)),
}
TABLE = {
    f"{name}, {shots} shots": replace(setting, shots=shots)
    for shots in SHOTS
    for name, setting in PROTOCOL.items()
}
#: One assumption changed at a time, trained on 10 shots.
VARIANTS = {
    f"{name}, {change}": replace(PROTOCOL[name], **changes)
    for change, names, changes in (
        ("frequency fixed at 1", ("MAML", "Meta-SGD"), {"family": Sinusoid()}),
        ("nn.Linear's initialisation", ("MAML", "Meta-SGD"), {"std": None}),
        ("inner rate 0.1", ("MAML",), {"alpha": 0.1}),
        ("alpha begins at 0.01", ("Meta-SGD",), {"alpha": 0.01}),
        ("alpha drawn entry by entry", ("Meta-SGD",), {"each_entry": True}),
    )
    for name in names
}
#: Outer rates and what is left of them at the end, tried on validation tasks with half the seeds.
CHOICES = {
    f"{name}, rate {lr:g} to {lr * final:g}": replace(setting, lr=lr, final_lr=final)
    for name, setting in PROTOCOL.items()
    for lr in (1e-3, 3e-3)
    for final in (1.0, 0.01)
}
JOBS = TABLE | VARIANTS | CHOICES


@dataclass(frozen=True)
class Redrawn(Sinusoid):
    """Curves that come several times each, so that each meets several draws of its points."""

    redraws: int = REDRAWS

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> SineTasks:
        """Draw curves, and repeat each `redraws` times along the last axis."""
        *front, n = batch
        curves = super().sample_tasks(*front, n // self.redraws, generator=generator)
        return SineTasks(*(part.repeat_interleave(self.redraws, dim=-1) for part in curves))


def train(
    setting: Setting,
    *,
    seeds: int = SEEDS,
    iterations: int = ITERATIONS,
    record_every: int = 1000,
    checkpoint: str | os.PathLike[str] | None = None,
    compiled: bool = False,
) -> Iterator[Record]:
    """Train one setting with several seeds at once, along the runs axis.

    Seed by seed, settings with the same `std` begin from the same first weights, and settings with
    the same `shots` meet the same tasks and points (compiled or not; not between the two).
    """
    check_count("seeds", seeds)
    first = generator(FIRST)
    theta = init_theta(setting.family.model, generator=first, runs=(seeds,), std=setting.std)
    alpha = init_alpha(
        theta, setting.method.alpha_shape, setting.alpha, runs=(seeds,),
        each_entry=setting.each_entry, generator=first,
    )
    return meta_train(
        setting.family, theta, alpha, setting.method, iterations=iterations,
        meta_batch=META_BATCH, shots=setting.shots, query_shots=QUERY_SHOTS,
        generator=generator(TRAINING), lr=setting.lr, final_lr=setting.final_lr,
        record_every=record_every, checkpoint=checkpoint, compiled=compiled,
    )


def held_out(
    setting: Setting,
    theta: Params,
    alpha: Params,
    shots: int,
    *,
    curves: int = CURVES,
    redraws: int = REDRAWS,
    seed: int = TEST,
) -> Tensor:
    """Return each curve's error after one inner step, its mean over redraws: ``(seeds, curves)``.

    The curves are the units of an interval: the redraws of one curve are not independent of each
    other.
    """
    own = {field.name: getattr(setting.family, field.name) for field in fields(Sinusoid)}
    family = Redrawn(**own, redraws=redraws)
    found = evaluate(
        family, theta, alpha, shots=shots, steps=1, n_tasks=curves * redraws,
        generator=generator(seed), query_shots=TEST_POINTS,
    ).scores[..., 1, :]
    return found.unflatten(-1, (curves, redraws)).mean(dim=-1)


def work(job: Job) -> Stored:
    """Train one setting and test it.

    Stored are the last theta and alpha, the meta-loss on the way, and each test curve's error.
    """
    setting, choosing = JOBS[job.name], job.name in CHOICES
    iterations = QUICK_ITERATIONS if job.quick else ITERATIONS
    record, noted = job.train(
        lambda checkpoint: train(
            setting, seeds=SEEDS // 2 if choosing else SEEDS, iterations=iterations,
            record_every=max(1, iterations // 60), checkpoint=checkpoint, compiled=not job.quick,
        ),
        iterations,
        lambda record: {"losses": record.loss},
    )
    tensors = {f"theta.{n}": p for n, p in record.theta.items()}
    if setting.method.learn_alpha:
        tensors |= {f"alpha.{n}": a for n, a in record.alpha.items()}
    tensors |= {"losses": noted["losses"], "diverged": record.diverged}
    for shots in (setting.shots,) if choosing else SHOTS:
        tensors[f"tested on {shots}"] = held_out(
            setting, record.theta, record.alpha, shots, redraws=10 if job.quick else REDRAWS,
            seed=VALIDATION if choosing else TEST,
        )
    return Stored(tensors, {})


def results(parts: dict[str, Stored]) -> dict[str, Stored]:
    """Return the one file."""
    return {"table": together(parts, seeds=SEEDS)}


def summary(found: Stored) -> str:
    """Return the errors, each the mean over seeds, with the standard deviation of the seeds."""
    lines = []
    for name in JOBS:
        cells = []
        for shots in SHOTS:
            if f"{name}/tested on {shots}" in found.tensors:
                by_seed = found.tensors[f"{name}/tested on {shots}"].mean(dim=-1)
                cells.append(f"{shots}: {by_seed.mean():.3f} (seeds {by_seed.std():.3f})")
        lines.append(f"{name:45} " + "  ".join(cells))
    return "\n".join(lines)


STUDIES = {
    "table": Study(
        "chapter 9: the paper's table, its variants, and the choice of its outer rate",
        "15 minutes", tuple(JOBS), work, summary, results,
    )
}
