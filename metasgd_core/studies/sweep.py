"""The sweep behind the figure of chapter 8: each shape of alpha, ten starts and five seeds of each.

What is stored of seed 0, theta and alpha, is in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from metasgd_core.alpha import AlphaShape, LogUniform, Uniform
from metasgd_core.meta_training import Record
from metasgd_core.methods import META_SGD
from metasgd_core.studies import Stored, lab, load
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.studies.lab import Arms, Start
from metasgd_core.tasks.sinusoid import Sinusoid
from metasgd_core.types import Params

SEEDS, EVERY = 5, 500
#: Where alpha begins, by the name that the reader picks it with.
STARTS: dict[str, Start] = {
    "-0.01": -0.01, "0": 0.0, "0.00001": 1e-5, "0.0001": 1e-4, "0.001": 1e-3, "0.01": 0.01,
    "0.1": 0.1, "1": 1.0, "uniform": Uniform(0.005, 0.1), "log-uniform": LogUniform(1e-4, 0.1),
}
SHAPES: tuple[AlphaShape, ...] = ("entry", "tensor", "scalar")
SWEEP: dict[str, Arms] = {
    shape: Arms(replace(META_SGD, alpha_shape=shape), tuple(STARTS.values())) for shape in SHAPES
}


@dataclass(frozen=True)
class Trained:
    """What the figure shows of one arm.

    Parameters
    ----------
    shape, start : str
        How many numbers alpha has, and the name of its start.
    theta, alpha : Tensor
        Of one run, ``(1761,)`` and ``(1761,)``, ``(6,)`` or ``(1,)``.
    moved : Tensor
        Which numbers of alpha training has moved.
    iterations : list of int
        When the error was taken.
    curves : Tensor
        ``(seeds, iterations)``, the error on validation tasks after one inner step.
    test : Tensor
        ``(seeds, steps + 1)``, the mean error on test tasks after 0, 1, ... inner steps.
    """

    shape: str
    start: str
    theta: Tensor
    alpha: Tensor
    moved: Tensor
    iterations: list[int]
    curves: Tensor
    test: Tensor

    def leaves(self) -> tuple[Params, Params]:
        """Return theta and alpha by the names of the network's parameters, float32."""
        shapes = {name: p.shape for name, p in Sinusoid().model.named_parameters()}
        sizes = [shape.numel() for shape in shapes.values()]
        each = {"entry": sizes, "tensor": [1] * len(sizes)}.get(self.shape)
        theta, alpha = self.theta.float().split(sizes), self.alpha.float()
        rates = alpha.split(each) if each else [alpha] * len(sizes)
        return (
            {name: p.view(shapes[name]) for name, p in zip(shapes, theta)},
            {name: a.expand(size).view(shapes[name])
             for name, a, size in zip(shapes, rates, sizes)},
        )


def error_now(record: Record) -> Tensor:
    """Return the error on 100 validation tasks after one step, ``(arms, seeds)``."""
    return lab.held_out(
        record.theta, record.alpha, seed=lab.VALIDATION, n_tasks=100, steps=1
    )[..., 1, :].mean(-1)


def trained(
    shape: str, names: Sequence[str], first: Params, record: Record, curve: dict[int, Tensor],
    test: Tensor,
) -> list[Trained]:
    """Return what the figure shows of arms that were trained together; of seed 0, where of one.

    Parameters
    ----------
    shape : str
        That of alpha.
    names : sequence of str
        One an arm, of its start.
    first : Params
        The first alpha.
    record : Record
        The last one of the training, runs ``(arms, seeds)``.
    curve : dict
        Iteration to `error_now`.
    test : Tensor
        ``(arms, seeds, steps + 1)``, or ``(arms, seeds, 0)`` where it is not known yet.
    """
    def flat(params: Params, leaves: Sequence[str]) -> Tensor:
        return torch.cat([params[n][:, 0].reshape(len(names), -1) for n in leaves], dim=-1)

    every = list(record.theta)
    some = every[:1] if shape == "scalar" else every
    theta, alpha = flat(record.theta, every), flat(record.alpha, some)
    moved = ~alpha.isclose(flat(first, some), rtol=1e-4)
    curves = torch.stack(list(curve.values()), -1)
    return [
        Trained(shape, name, theta[k], alpha[k], moved[k], list(curve), curves[k], test[k])
        for k, name in enumerate(names)
    ]


@cache
def stored() -> tuple[Trained, ...]:
    """Return the sweep that is stored."""
    tensors, notes = load("figure-alpha-lab")
    arms = []
    for shape in SHAPES:
        part = {
            kind: tensors[f"{shape}/{kind}"]
            for kind in ("theta", "alpha", "moved", "validation", "test")
        }
        arms += [
            Trained(shape, start, part["theta"][k], part["alpha"][k], part["moved"][k],
                    notes["iteration"], part["validation"][k], part["test"][k])
            for k, start in enumerate(STARTS)
        ]
    return tuple(arms)


def error_soon(shape: AlphaShape) -> Tensor:
    """Train the arms of a shape for 20 meta-iterations, not compiled, and return the error.

    The stored sweep holds it too, so that it can be told in a second whether the sweep still is
    what this code trains.
    """
    return error_now(next(lab.train(SWEEP[shape], seeds=SEEDS, record_every=20)))


def work(job: Job) -> Stored:
    """Train the arms of a shape, all starts and seeds at once, and test them."""
    shape: AlphaShape = next(shape for shape in SHAPES if shape == job.name)
    arms, iterations = SWEEP[shape], 100 if job.quick else lab.ITERATIONS
    record, noted = job.train(
        lambda checkpoint: lab.train(
            arms, seeds=SEEDS, iterations=iterations, record_every=50 if job.quick else EVERY,
            checkpoint=checkpoint, compiled=not job.quick,
        ),
        iterations,
        lambda record: {"validation": error_now(record)},
    )
    _, first = lab.begin(arms, SEEDS)
    test = lab.held_out(record.theta, record.alpha, n_tasks=20 if job.quick else lab.TEST_TASKS)
    done = noted["iteration"].tolist()
    curve = dict(zip(done, noted["validation"].unbind(-1)))
    found = trained(shape, list(STARTS), first, record, curve, test.mean(-1))
    return Stored({
        "theta": torch.stack([arm.theta for arm in found]).half(),
        "alpha": torch.stack([arm.alpha for arm in found]).half(),
        "moved": torch.stack([arm.moved for arm in found]),
        "validation": noted["validation"], "test": test.mean(-1), "soon": error_soon(shape),
    }, {"iteration": done})


def results(parts: dict[str, Stored]) -> dict[str, Stored]:
    """Return the file of the figure."""
    iteration = parts[SHAPES[0]].notes["iteration"]
    return {"figure-alpha-lab": together(parts, iteration=iteration)}


def summary(found: Stored) -> str:
    """Return each arm's error after one step, its mean over the seeds."""
    lines = []
    for shape in SHAPES:
        after = found.tensors[f"{shape}/test"][..., 1].mean(1).tolist()
        cells = (f"{start}: {error:.3f}" for start, error in zip(STARTS, after))
        lines.append(f"{shape:8}" + "  ".join(cells))
    return "\n".join(lines)


STUDIES = {
    "figure-alpha-lab": Study(
        "the sweep that chapter 8's figure shows", "5 minutes", SHAPES, work, summary, results
    )
}
