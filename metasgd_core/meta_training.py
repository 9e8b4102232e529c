r"""The outer loop: learn what adapts well.

.. math:: \min_{\theta\,(,\,\alpha)}\; \mathbb{E}_{\mathcal T}
          \big[ L_{\text{query}}(\theta - \alpha \circ \nabla L_{\text{support}}(\theta)) \big]
"""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from metasgd_core.methods import Method
from metasgd_core.training.compiled import check_compilable
from metasgd_core.training.draws import Draws
from metasgd_core.training.gradient import meta_step_of
from metasgd_core.training.learned import hold
from metasgd_core.training.outer import Outer
from metasgd_core.training.processes import check_same_start, check_shareable
from metasgd_core.training.saved import Saved
from metasgd_core.types import Params, TaskFamily, check_count


class Record(NamedTuple):
    """Where a meta-training stands.

    Attributes
    ----------
    iteration : int
        Meta-iterations done.
    loss : Tensor
        ``(*runs,)``: the meta-loss, averaged over the iterations since the last record. NaN if one
        of them was skipped.
    theta : Params
        A copy; training goes on without touching it. It fits ``adapt`` and ``evaluate``.
    alpha : Params
        Likewise, as the rates themselves (not their logarithms).
    diverged : Tensor
        ``(*runs,)``, True for a run that met a loss or a gradient that is not finite. It was
        frozen there, and its loss is NaN since.
    """

    iteration: int
    loss: Tensor
    theta: Params
    alpha: Params
    diverged: Tensor


def meta_train(
    family: TaskFamily,
    theta: Params,
    alpha: Params | float,
    method: Method,
    *,
    iterations: int,
    meta_batch: int,
    shots: int,
    query_shots: int,
    generator: torch.Generator,
    lr: float | None = None,
    alpha_lr: float | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    final_lr: float = 1.0,
    clip: float | None = None,
    skip: bool = False,
    record_every: int = 100,
    checkpoint: str | os.PathLike[str] | None = None,
    compiled: bool = False,
) -> Iterator[Record]:
    r"""Learn theta (and alpha, if the method does) by gradient descent on the meta-loss.

    An iterator: it trains from one record to the next, so a notebook can draw, compare or stop at
    any of them. With run axes in theta, all the runs are trained at once; each draws tasks of its
    own, and no run's numbers touch another's.

    Parameters
    ----------
    family, theta, alpha, method, shots, query_shots, generator
        As in :func:`~metasgd_core.objectives.meta_loss`; theta and alpha are left unchanged.
    iterations : int
        Meta-iterations in all.
    meta_batch : int
        Tasks a meta-iteration (and a run).
    lr, alpha_lr : float, optional
        Outer learning rate, by default 0.001, and alpha's own if it is to differ (without effect
        where the method does not learn alpha, so that one set of settings serves several methods).
        With Reptile `lr` is the paper's epsilon, by default 1 (with its own optimiser).
    optimizer : callable, optional
        ``optimizer(groups, lr=...)``. By default fused Adam, and plain SGD for Reptile, whose
        update theta <- theta + epsilon (phi - theta) it is; under Adam it is another method. It
        must work entry by entry, as those do, for runs to leave each other alone.
    final_lr : float
        Both rates change linearly to this multiple of themselves at the last iteration.
    clip : float, optional
        Greatest Euclidean norm of the meta-gradient (theta's and alpha's together), for each run.
    skip : bool
        Leave out the outer step of a run whose loss or gradient is not finite, and go on, instead
        of freezing the run there. Several inner steps that are learned come to tasks on which they
        explode; what they learn from the others, they may learn nevertheless.
    record_every : int
        Iterations between records. The last iteration is always recorded.
    checkpoint : path, optional
        A file for the whole state, written at every record. If it exists when training begins,
        training goes on from there, and ends as the unbroken run would have: bit for bit on the
        same build, machine, number of threads and mode (`compiled` or not). The file belongs to
        one training: its method, family, settings, first theta and alpha, and seed. With more
        `iterations` it is prolonged, unless the rates fall towards the last of them.
    compiled : bool
        Compile the meta-iteration first (with an `optimizer` of one's own, its gradient), which
        takes seconds and makes each some times faster: for long trainings of supervised tasks by
        the objectives ``"query"`` and ``"steps"``. The equation is the same, the last bits are not,
        and the data are drawn 64 meta-iterations at a time: other curves from the same generator.
        See :mod:`metasgd_core.training.compiled`.

    Yields
    ------
    Record
        The fine-tuning row, which has nothing to learn, yields one at iteration 0.

    Raises
    ------
    ValueError
        At the call: if a count is not positive, a rate negative or `clip` not positive, theta is
        not the model's, alpha does not fit or is not finite (or not positive, in the log), the
        method's objective is unknown or contradicts it, the checkpoint is damaged or belongs to
        another training, the tasks or the objective cannot be compiled, or processes cannot share
        the training.
    FloatingPointError
        When every run has diverged; the last record has been yielded by then.
    RuntimeError
        If the meta-gradient cannot be compiled here, or another process has gone.

    Notes
    -----
    Inside ``torch.distributed``, as under ``torchrun``, each process takes its part of the tasks
    of every meta-batch (supervised tasks only), the first writes the checkpoint, and all yield the
    same records: see :mod:`metasgd_core.training.processes`.

    References
    ----------
    Finn et al. 2017 (arXiv:1703.03400), algorithm 1; Li et al. 2017 (arXiv:1707.09835),
    algorithm 1; Nichol et al. 2018 (arXiv:1803.02999), algorithm 1. Differs from the first two in
    that the meta-loss is the mean over tasks, not the sum (under Adam they are the same).
    """
    counts = {"meta_batch": meta_batch, "shots": shots, "query_shots": query_shots,
              "record_every": record_every}  # fmt: skip
    for name, count in ({"iterations": iterations} | counts).items():
        check_count(name, count)
    if compiled:
        check_compilable(family, method)
    ours = hold(family.model, theta, alpha, method, packed=compiled)
    outer = Outer(ours, lr=lr, alpha_lr=alpha_lr, optimizer=optimizer, final_lr=final_lr,
                  clip=clip, skip=skip, iterations=iterations)  # fmt: skip
    draws = Draws(family, ours.theta, (*ours.runs, meta_batch), shots + query_shots, generator,
                  chunked=compiled)  # fmt: skip
    path = None if checkpoint is None else Path(checkpoint)
    saved = Saved(path, counts | {"compiled": compiled}, ours, outer, draws)
    check_shareable(family, meta_batch)
    end = 0 if method.objective == "none" else iterations
    asked: list[bool] = []

    def record(done: int, loss: Tensor) -> Record:
        return Record(done, loss, *ours.copy(), outer.diverged.clone())

    def records() -> Iterator[Record]:
        asked.append(True)
        done = saved.restore()
        check_same_start([*saved.numbers.values(), generator.get_state()], done)
        nothing = torch.zeros(ours.runs, device=outer.diverged.device)
        if done >= end or outer.lost:
            yield record(done, torch.full_like(nothing, torch.nan))
        else:
            step = meta_step_of(ours, outer, draws, shots, query_shots)
        total, since = nothing, 0
        while done < end and not outer.lost:
            tasks, data = draws.at(done)             # algorithm 1: a batch of tasks, adapted to;
            total = total + step(done, tasks, data)  # their query loss, and a step down it of
            done, since = done + 1, since + 1        # theta (and alpha)
            if done % record_every == 0 or done == end or outer.lost:
                saved.write(done)
                yield record(done, total / since)
                total, since = nothing, 0
        if outer.lost:
            raise outer.error(done)

    training = records()
    weakref.finalize(training, _say_if_unused, asked).atexit = False
    return training


def _say_if_unused(asked: list[bool]) -> None:
    if not asked:
        warnings.warn(
            "meta_train trained nothing: it returns an iterator, and nobody asked it for a record; "
            "write for record in meta_train(...), or *_, record = meta_train(...)",
            RuntimeWarning, stacklevel=2,
        )  # fmt: skip


def progress(records: Iterator[Record], *, iterations: int, label: str = "") -> Iterator[Record]:
    """Pass records on, with a bar for a person who waits: in a terminal or a running notebook.

    The bar leaves nothing behind. It is not drawn where nobody looks (output to a file or a pipe),
    nor where the environment variable ``TQDM_DISABLE`` is set.
    """
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    silent = not watched or bool(os.environ.get("TQDM_DISABLE"))
    with tqdm(total=iterations, desc=label, leave=False, disable=silent) as bar:
        for record in records:
            bar.update(record.iteration - bar.n)
            yield record
