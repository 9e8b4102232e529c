"""From simulated patients to twelve real ones (chapter 13).

Networks are trained on a simulated population and adapt to a few blood samples. Outer rate and
first inner rate are chosen on simulated patients, for each row among the same number of settings;
no choice looks at the real ones. Beside them stands the clinic's own method, which knows the
formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import init_alpha, share_alpha
from metasgd_core.evaluation import evaluate
from metasgd_core.meta_training import Record, meta_train
from metasgd_core.methods import FINE_TUNING, JOINT, MAML, META_SGD, Method
from metasgd_core.models import init_theta, predict
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.patients import HOURS, UNIT, Patients, PatientTasks
from metasgd_core.theophylline import fitted, measured, patients, typical
from metasgd_core.types import Data, Params

SEEDS, TRIAL_SEEDS = 5, 2
SHOTS = (1, 2, 3, 4)
ITERATIONS, TRIAL_ITERATIONS, META_BATCH = 6000, 1000, 16
#: Inner steps after which the test looks: after each.
STEPS = 3
OUTER, INNER = (1e-3, 3e-3, 1e-2), (0.01, 0.02, 0.05, 0.1)
#: Fine-tuning looks back from as many steps.
FINE_STEPS, FINE_RATES = 20, (0.003, 0.01, 0.03, 0.1)
#: Seeds of the generators: the first theta, the training patients, patients held out, and which of
#: a real patient's samples are known.
FIRST, TRAINING, VALIDATION, TEST, CHOICE = 0, 1, 1000, 2000, 3000
TASKS, CHOICES = 500, 10
#: A poisoned sample's level is so many times what it was: a slip of the decimal point.
SLIP = 10.0
#: A bounded step lets no residual count for more than this, in units of 5 mg/L.
BOUND = 0.5

POPULATIONS = {"plain": Patients(), "some late": Patients(late=(0.0, 0.6))}
#: The simulation that is wrong: every patient absorbs two fifths of the dose three hours late.
WRONG = Patients(late=(0.4, 0.4))


@dataclass(frozen=True)
class Row:
    """One training.

    Parameters
    ----------
    method : Method
        How.
    shots : int
        Samples that are known, in training and in the test.
    population : str
        A key of `POPULATIONS`.
    """

    method: Method
    shots: int
    population: str = "plain"


METHODS = (JOINT, MAML, META_SGD)
JOBS = {f"{method.name}, {shots} known": Row(method, shots)
        for method in METHODS for shots in SHOTS} | {
    f"{method.name}, some late": Row(method, 3, "some late") for method in (MAML, META_SGD)
}  # fmt: skip
#: The clinic's method, and the curve of the typical patient.
FORMULA = "formula"


def train(
    row: Row, lr: float, rate: float, *, seeds: int, iterations: int,
    checkpoint: Path | None = None,
) -> Iterator[Record]:
    """Train a row with several seeds at once."""
    family = POPULATIONS[row.population]
    theta = init_theta(family.model, generator=generator(FIRST), runs=(seeds,))
    alpha = init_alpha(theta, row.method.alpha_shape, rate, runs=(seeds,))
    return meta_train(
        family, theta, alpha, row.method, iterations=iterations, meta_batch=META_BATCH,
        shots=row.shots, query_shots=len(HOURS) - row.shots, generator=generator(TRAINING), lr=lr,
        final_lr=0.1, clip=1.0, record_every=max(1, iterations // 10), checkpoint=checkpoint,
    )


def validated(row: Row, theta: Params, alpha: Params | float, steps: int, n_tasks: int) -> Tensor:
    """Return the errors on simulated patients held out, ``(seeds, steps + 1)``."""
    found = evaluate(
        POPULATIONS[row.population], theta, alpha, shots=row.shots, steps=steps, n_tasks=n_tasks,
        query_shots=len(HOURS) - row.shots, generator=generator(VALIDATION), method=FINE_TUNING,
    )
    return found.mean


def choose(row: Row, job: Job) -> tuple[float, float, Tensor]:
    """Return the outer rate and first inner rate with the least validation error, and all errors.

    A joint training has as many trials: its inner rate is that of its fine-tuning.
    """
    joint, iterations = row.method is JOINT, 2 if job.quick else TRIAL_ITERATIONS
    pairs = [(lr, rate) for lr in OUTER for rate in (FINE_RATES if joint else INNER)]
    errors = []
    for lr, rate in pairs:
        *_, record = train(row, lr, rate, seeds=TRIAL_SEEDS, iterations=iterations)
        steps, alpha = (FINE_STEPS, rate) if joint else (1, record.alpha)
        means = validated(row, record.theta, alpha, steps, 10 if job.quick else TASKS).mean(0)
        errors.append(means[1:].min().nan_to_num(inf))
    best = int(torch.stack(errors).argmin())
    return *pairs[best], torch.stack(errors)


def samples(shots: int, *, slip: float = 1.0) -> tuple[Data, Data]:
    """Return what is known and what is asked of the real patients, ``(patients, choices, ...)``.

    Parameters
    ----------
    shots : int
        Samples that are known; the others are asked.
    slip : float
        The first of the known samples is multiplied by it.
    """
    known, asked = [], []
    for patient, which in zip(patients(), choices(shots)):
        whole = measured(patient.hours, patient.level, patient.dose)
        x, y = (leaf[0][which] for leaf in whole)  # (choices, samples, ...)
        known.append(Data(x[:, :shots], y[:, :shots]))
        asked.append(Data(x[:, shots:], y[:, shots:]))
    support, query = (Data(*map(torch.stack, zip(*part))) for part in (known, asked))
    poisoned = support.y.clone()
    poisoned[..., 0, :] *= slip
    return Data(support.x, poisoned), query


def choices(shots: int) -> Tensor:
    """Return orders of each patient's ten samples, ``(patients, choices, 10)``: known ones first.

    Known and asked are in the order of time.
    """
    random = torch.rand(len(patients()), CHOICES, len(HOURS), generator=generator(CHOICE + shots))
    order = random.argsort(-1)
    first, rest = order[..., :shots].sort(-1).values, order[..., shots:].sort(-1).values
    return torch.cat([first, rest], dim=-1)


def bounded(family: Patients, phi: Params, data: Data) -> Tensor:
    r"""Return the loss of a bounded step, ``(*batch,)``: no residual pulls harder than `BOUND`.

    Twice Huber's: the squared error up to the bound, and a straight line beyond.
    """
    told = predict(family.model, phi, data.x)
    return 2 * huber_loss(told, data.y, reduction="none", delta=BOUND).mean((-2, -1))


def on_real(
    row: Row, theta: Params, alpha: Params | float, *, steps: int = STEPS, slip: float = 1.0,
    loss: Callable[[Patients, Params, Data], Tensor] = Patients.loss,
) -> Tensor:
    """Return the squared errors on real patients after no step, one, and `steps`, in (mg/L)².

    ``(seeds, 3, patients, choices)``, each the mean over the samples that are asked.
    """
    family, seeds = POPULATIONS[row.population], len(next(iter(theta.values())))
    support, query = (Data(*(leaf.flatten(0, 1).expand(seeds, -1, -1, -1) for leaf in part))
                      for part in samples(row.shots, slip=slip))  # fmt: skip
    batch = (seeds, support.x.shape[1])
    phi, rates, found = per_task(theta, batch), share_alpha(theta, alpha, batch), []
    with torch.no_grad():
        found.append(family.score(phi, query))
        for _ in range(steps):
            phi = adapt(partial(loss, family), phi, rates, support, first_order=True)
            found.append(family.score(phi, query))
    return torch.stack([found[i] for i in (0, 1, -1)], 1).unflatten(-1, (-1, CHOICES))


def work(job: Job) -> Stored:
    """Choose a row's rates, train it, and test it; or do what the formula does.

    Stored are, in (mg/L)²: ``real`` ``(seeds, 3, patients, choices)``; ``poisoned`` and
    ``bounded``, the same with one sample poisoned, by the plain and by the bounded step; ``safe``,
    the bounded step without poison; ``simulated`` and ``wrong`` ``(seeds, steps + 1)``; and of
    Meta-SGD with three samples theta and alpha.
    """
    if job.name == FORMULA:
        return Stored(by_formula(job), {})
    row = JOBS[job.name]
    lr, rate, errors = choose(row, job)
    iterations = 4 if job.quick else ITERATIONS
    record, noted = job.train(
        lambda path: train(row, lr, rate, seeds=SEEDS, iterations=iterations, checkpoint=path),
        iterations, lambda record: {"loss": record.loss},
    )
    theta, alpha, steps = record.theta, record.alpha, STEPS
    tasks = 10 if job.quick else TASKS
    if row.method is JOINT:
        means = validated(row, theta, rate, FINE_STEPS, tasks).mean(0)
        alpha, steps = init_alpha(theta, "scalar", rate, runs=(SEEDS,)), 1 + int(means[1:].argmin())
    tensors = {"errors": errors, "chosen": torch.tensor([lr, rate, steps], dtype=torch.float64),
               "loss": noted["loss"], "real": on_real(row, theta, alpha, steps=steps)}  # fmt: skip
    for name, slip, loss in (("poisoned", SLIP, Patients.loss), ("bounded", SLIP, bounded),
                             ("safe", 1.0, bounded)):  # fmt: skip
        tensors[name] = on_real(row, theta, alpha, steps=steps, slip=slip, loss=loss)
    for name, family in {"simulated": POPULATIONS["plain"], "wrong": WRONG}.items():
        tensors[name] = evaluate(
            family, theta, alpha, shots=row.shots, steps=steps, n_tasks=tasks,
            query_shots=len(HOURS) - row.shots, generator=generator(TEST), method=FINE_TUNING,
        ).mean
    if job.name == "Meta-SGD, 3 known":
        tensors |= {f"theta.{n}": p for n, p in theta.items()}
        tensors |= {f"alpha.{n}": a for n, a in alpha.items()}
    return Stored(tensors, {})


def by_formula(job: Job) -> dict[str, Tensor]:
    """Return the errors of the likeliest patient and of the typical one.

    By the number of known samples: ``3 known``, ``3 poisoned`` and ``3 robust`` (poisoned, by the
    robust fit), ``3 typical``, each ``(patients, choices)``; ``3 simulated`` and ``3 wrong``, of
    simulated patients who absorb at once or late, each ``(tasks,)``.
    """
    family, found = Patients(), {}
    for shots in SHOTS[2:3] if job.quick else SHOTS:
        for name, slip in {"known": 1.0, "poisoned": SLIP, "robust": SLIP}.items():
            support, query = samples(shots, slip=slip)
            parts = zip(patients(), _hours(support), support.y, _hours(query), query.y)
            fit = partial(fitted, family, robust=name == "robust")
            errors = [[_error(fit(*_sorted(t, c), patient.dose), asked, truth)
                       for t, c, asked, truth in zip(hours, known, others, levels)]
                      for patient, hours, known, others, levels in parts]  # fmt: skip
            found[f"{shots} {name}"] = torch.tensor(errors)
        support, query = samples(shots)
        found[f"{shots} typical"] = torch.tensor([
            [_error(typical(family, patient.dose), asked, truth)
             for asked, truth in zip(others, levels)]
            for patient, others, levels in zip(patients(), _hours(query), query.y)
        ])
        for name, truth in {"simulated": family, "wrong": WRONG}.items():
            found[f"{shots} {name}"] = _of(truth, family, shots, 10 if job.quick else TASKS)
    return found


def _of(truth: Patients, family: Patients, shots: int, n_tasks: int) -> Tensor:
    random = generator(TEST)
    tasks = truth.sample_tasks(n_tasks, generator=random)
    drawn = truth.sample_data(tasks, None, len(HOURS), generator=random)
    hours, level = _hours(drawn), drawn.y
    return torch.tensor([
        _error(fitted(family, *_sorted(t[:shots], c[:shots]), float(dose)), t[shots:], c[shots:])
        for t, c, dose in zip(hours, level, tasks.dose)
    ])


def _hours(data: Data) -> Tensor:
    return 12 * data.x[..., 1]


def _sorted(hours: Tensor, level: Tensor) -> tuple[list[float], list[float]]:
    order = hours.argsort()
    return hours[order].tolist(), (UNIT * level[order, 0]).clamp(min=0).tolist()


def _error(patient: PatientTasks, hours: Tensor, level: Tensor) -> float:
    told = patient(hours.double())
    return float((told - UNIT * level[:, 0]).square().mean())


def summary(found: Stored) -> str:
    """Return the root mean squared errors on the real patients, mean over seeds, by shots."""
    lines = [f"{'mg/L, known samples':24}" + "".join(f"{shots:8}" for shots in SHOTS)]

    def line(name: str, errors: list[Tensor]) -> str:
        each = [e.mean(-1).sqrt().mean(-1).mean() for e in errors]  # a patient's root, then means
        return f"{name:24}" + "".join(f"{float(e):8.2f}" for e in each)

    for method in METHODS:
        for step in (0, 1, -1):
            real = [found.tensors[f"{method.name}, {k} known/real"][:, step] for k in SHOTS]
            lines.append(line(f"{method.name}, {'last' if step < 0 else step}", real))
    for name in ("typical", "known"):
        lines.append(line(name, [found.tensors[f"{FORMULA}/{k} {name}"][None] for k in SHOTS]))
    return "\n".join(lines)


STUDIES = {
    "patients": Study(
        "chapter 13: from simulated patients to twelve real ones", "15 minutes",
        (*JOBS, FORMULA), work, summary, lambda parts: {"patients": together(parts)},
    )
}
