r"""The outer loop: learn what adapts well.

.. math:: \min_{\theta\,(,\,\alpha)}\; \mathbb{E}_{\mathcal T}
          \big[ L_{\text{query}}(\theta - \alpha \circ \nabla L_{\text{support}}(\theta)) \big]
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from metasgd_core.alpha import align_alpha, check_alpha
from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.compiled import (
    check_compilable,
    compile_gradient,
    meta_gradient,
    norm_per_run,
)
from metasgd_core.methods import Method
from metasgd_core.models import run_axes
from metasgd_core.objectives import meta_loss
from metasgd_core.processes import check_same_start, own_part, sum_over_processes, world
from metasgd_core.types import Params, TaskFamily, check_count

#: (tasks, data) -> losses ``(*runs,)``, norms of the gradients ``(*runs,)``, gradients
Gradient = Callable[[Any, Any], tuple[Tensor, Tensor, list[Tensor]]]
#: Compiled training draws the data of so many meta-iterations at once.
CHUNK = 64


class Record(NamedTuple):
    """Where a meta-training stands.

    Attributes
    ----------
    iteration : int
        Meta-iterations done.
    loss : Tensor
        ``(*runs,)``: the meta-loss, averaged over the iterations since the last record.
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
    lr: float = 1e-3,
    alpha_lr: float | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    final_lr: float = 1.0,
    clip: float | None = None,
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
    lr, alpha_lr : float
        Outer learning rate, and alpha's own if it is to differ. With Reptile `lr` is the paper's
        epsilon.
    optimizer : callable, optional
        ``optimizer(groups, lr=...)``. By default fused Adam, and plain SGD for Reptile, whose
        update theta <- theta + epsilon (phi - theta) it is; under Adam it is another method.
    final_lr : float
        Both rates fall linearly to this fraction of themselves at the last iteration.
    clip : float, optional
        Greatest Euclidean norm of the meta-gradient (theta's and alpha's together), for each run.
    record_every : int
        Iterations between records. The last iteration is always recorded.
    checkpoint : path, optional
        A file for the whole state, written at every record. If it exists when training begins,
        training goes on from there, and ends as the unbroken run would have: bit for bit on the
        same build, machine, number of threads and mode (`compiled` or not).
    compiled : bool
        Compile the meta-gradient first, which takes seconds and makes each meta-iteration some
        times faster: for long trainings of supervised tasks by the objective ``"query"``. The
        equation is the same, the last bits are not, and the data are drawn 64 meta-iterations at
        a time: other curves from the same generator. See :mod:`metasgd_core.compiled`.

    Yields
    ------
    Record
        The fine-tuning row, which has nothing to learn, yields one at iteration 0.

    Raises
    ------
    ValueError
        If a count is not positive, theta is not the model's, alpha does not fit or is not finite
        (or not positive, in the log), the checkpoint is damaged or belongs to another training,
        the tasks or the objective cannot be compiled, or processes cannot share the training.
    FloatingPointError
        When every run has diverged; the last record has been yielded by then.
    RuntimeError
        If the meta-gradient cannot be compiled here, or another process has gone.

    Notes
    -----
    Inside ``torch.distributed``, as under ``torchrun``, each process takes its part of the tasks
    of every meta-batch (supervised tasks only), the first writes the checkpoint, and all yield the
    same records: see :mod:`metasgd_core.processes`.

    References
    ----------
    Finn et al. 2017 (arXiv:1703.03400), algorithm 1; Li et al. 2017 (arXiv:1707.09835),
    algorithm 1; Nichol et al. 2018 (arXiv:1803.02999), algorithm 1. Differs from the first two in
    that the meta-loss is the mean over tasks, not the sum (under Adam they are the same).
    """
    for name, count in {"iterations": iterations, "meta_batch": meta_batch, "shots": shots,
                        "query_shots": query_shots, "record_every": record_every}.items():
        check_count(name, count)
    if compiled:
        check_compilable(family, method)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"the checkpoint {path} needs the folder {path.parent}; make it first")
    runs = run_axes(family.model, theta)
    theta = _each(theta, lambda p: _copy(p).requires_grad_())
    held = _hold(theta, alpha, method, runs)
    first = list(theta.values())
    if compiled:  # all of theta, and all of alpha, in one tensor: fewer and larger operations
        packed, theta = _pack(theta, runs)
        first, learned = [packed], []
        if method.learn_alpha:
            packed, held = _pack(held, runs)
            learned = [packed]
    distinct = list({id(a): a for a in held.values()}.values())
    if not compiled:
        learned = distinct if method.learn_alpha else []
    leaves = [*first, *learned]

    make = optimizer or (
        torch.optim.SGD if method.objective == "reptile" else partial(torch.optim.Adam, fused=True)
    )
    groups: list[dict[str, Any]] = [{"params": leaves}]
    if method.learn_alpha and alpha_lr is not None:
        groups = [{"params": first}, {"params": learned, "lr": alpha_lr}]
    outer = make(groups, lr=lr)
    rates = [group["lr"] for group in outer.param_groups]

    settings = {
        "method": asdict(method), "family": re.sub(r" at 0x[0-9a-f]+", "", repr(family)),
        "iterations": iterations, "meta_batch": meta_batch, "shots": shots,
        "query_shots": query_shots, "final_lr": final_lr, "clip": clip,
        "record_every": record_every, "optimizer": repr(outer), "compiled": compiled,
    }
    done, diverged = 0, torch.zeros(runs, dtype=torch.bool, device=leaves[0].device)
    numbers = {f"theta.{i}": p for i, p in enumerate(theta.values())}
    numbers |= {f"alpha.{i}": a for i, a in enumerate(distinct)} | {"diverged": diverged}
    if path is not None and path.exists():
        done = _restore(path, settings, numbers, method.learn_alpha, outer, generator)
    state = generator.get_state()
    if world()[1] > 1:
        if family.on_policy or world()[1] > meta_batch:
            raise ValueError(
                f"{world()[1]} processes cannot share out meta-batches of {meta_batch} tasks of "
                f"{type(family).__name__}: the tasks must be supervised, and at least as many"
            )
        check_same_start([*numbers.values(), state], done)

    def record(loss: Tensor) -> Record:
        return Record(
            done, loss, _each(theta, _copy), _each(_rates(held, method), _copy), diverged.clone()
        )

    def lost() -> FloatingPointError:
        return FloatingPointError(
            f"{method.name}: every run had diverged by meta-iteration {done} (a loss or "
            f"meta-gradient that is not finite); try a smaller lr (it is {lr}), a smaller "
            "first alpha, or clip"
        )

    if method.objective == "none" or done == iterations or diverged.all():
        yield record(torch.full(runs, torch.nan, device=leaves[0].device))
        if diverged.all():
            raise lost()
        return
    chunk, drawn = (CHUNK if compiled else 1), None

    def draw(source: torch.Generator) -> tuple[Any, Any]:
        several = (chunk,) if compiled else ()
        tasks = family.sample_tasks(*several, *runs, meta_batch, generator=source)
        if family.on_policy:
            return tasks, None
        data = family.sample_data(tasks, theta, shots + query_shots, generator=source)
        return (_one_by_one(tasks), _one_by_one(data)) if compiled else (tasks, data)

    if compiled:
        example = own_part(draw(torch.Generator(generator.device))[1][0], len(runs))
        gradient = _compiled(family, method, theta, held, leaves, shots, example)
    else:
        gradient = _eager(
            family, method, theta, held, leaves, shots, query_shots, generator
        )
    if world()[1] > 1:
        gradient = _shared(gradient, len(runs))
    total, since = torch.zeros(runs, device=leaves[0].device), 0
    while done < iterations:
        for group, rate in zip(outer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - (1 - final_lr) * done / max(1, iterations - 1))
        if drawn is None or done % chunk == 0:
            state = generator.get_state()  # a run resumed within the chunk draws it again
            drawn = draw(generator)
        tasks, data = (part[done % chunk] for part in drawn) if compiled else drawn
        loss, norm, grads = gradient(tasks, data)
        alive = ~diverged & (norm + loss).isfinite()
        over = False
        if not alive.all():
            diverged |= ~alive
            loss, over = loss.where(alive, torch.nan), not alive.any()
        _step(outer, leaves, grads, norm, alive, clip)
        if method.learn_alpha and method.alpha_form == "nonnegative":
            for a in distinct:
                a.data.clamp_(min=0)
        done, since = done + 1, since + 1
        total = total + loss
        if done % record_every == 0 or done == iterations or over:
            if path is not None and world()[0] == 0:
                if done % chunk == 0 or done == iterations:
                    state = generator.get_state()
                _store(path, settings, numbers, outer, state, done)
            yield record(total / since)
            total, since = torch.zeros_like(total), 0
        if over:
            raise lost()


def _eager(
    family: TaskFamily, method: Method, theta: Params, held: Params, leaves: list[Tensor],
    shots: int, query_shots: int, generator: torch.Generator,
) -> Gradient:
    """Return what gives a meta-batch's losses, the norms of the gradients, and the gradients."""

    def gradient(tasks: Any, data: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
        loss = meta_loss(
            family, theta, _rates(held, method), tasks, method,
            shots=shots, query_shots=query_shots, generator=generator, data=data,
        )
        # Of the sum over runs, so that each gets the gradient of its own loss.
        grads = list(torch.autograd.grad(loss.sum(), leaves))
        return loss.detach(), norm_per_run(grads, loss.ndim), grads

    return gradient


def _compiled(
    family: TaskFamily, method: Method, theta: Params, held: Params, leaves: list[Tensor],
    shots: int, example: Any,
) -> Gradient:
    """Return the same, compiled for the shapes of the example; the leaves are packed."""
    runs = leaves[0].ndim - 1
    rates = align_alpha(theta, held)

    def unpack(learned: list[Tensor]) -> tuple[Params, Params]:
        alpha = _rates(_views(learned[1], held), method) if method.learn_alpha else rates
        return _views(learned[0], theta), alpha

    formula = meta_gradient(family, method, unpack, runs=runs, shots=shots)
    fast = compile_gradient(formula, leaves, example)
    return lambda tasks, data: fast(leaves, data)


def _shared(gradient: Gradient, runs: int) -> Gradient:
    """Return the same for all processes together, each taking its part of the tasks."""

    def over_processes(tasks: Any, data: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
        loss, _, grads = gradient(own_part(tasks, runs), own_part(data, runs))
        share = own_part(data, runs)[0].shape[runs] / data[0].shape[runs]
        loss, *grads = sum_over_processes([share * t for t in (loss, *grads)])
        return loss, norm_per_run(grads, runs), grads

    return over_processes


def _pack(params: Params, runs: tuple[int, ...]) -> tuple[Tensor, Params]:
    """Lay the numbers side by side in one tensor; return it, and views in the old ones' place."""
    distinct = {id(p): p for p in params.values()}.values()
    flat = torch.cat([p.detach().reshape(*runs, -1) for p in distinct], dim=-1)
    return flat, _views(flat, params)


def _views(flat: Tensor, like: Params) -> Params:
    """Cut a packed tensor, ``(*runs, numbers)``, into the shapes of `like`."""
    distinct = {id(p): p for p in like.values()}
    sizes = [p.shape[flat.ndim - 1 :].numel() for p in distinct.values()]
    parts = zip(flat.split(sizes, dim=-1), distinct.values(), strict=True)
    views = dict(zip(distinct, (part.view(p.shape) for part, p in parts), strict=True))
    return {name: views[id(p)] for name, p in like.items()}


def _one_by_one(drawn: Any) -> list[Any]:
    """Return what was drawn for several meta-iterations as one NamedTuple for each."""
    return [type(drawn)(*leaves) for leaves in zip(*(leaf.unbind() for leaf in drawn), strict=True)]


def _step(
    outer: torch.optim.Optimizer,
    leaves: list[Tensor],
    grads: list[Tensor],
    norm: Tensor,
    alive: Tensor,
    clip: float | None,
) -> None:
    """Take one outer step in every run that is alive."""
    if clip is not None and bool((norm > clip).any()):
        scale = (clip / norm).clamp(max=1)
        grads = [g * _fit(scale, g) for g in grads]
    for leaf, grad in zip(leaves, grads, strict=True):
        leaf.grad = grad.contiguous()
    if alive.all():
        outer.step()
        return
    # Zero gradients would not freeze a run: Adam moves on with its momentum.
    before = [_copy(leaf) for leaf in leaves]
    outer.step()
    with torch.no_grad():
        for leaf, old in zip(leaves, before, strict=True):
            leaf.copy_(torch.where(_fit(alive, leaf), leaf, old))


def _fit(per_run: Tensor, leaf: Tensor) -> Tensor:
    return per_run.reshape(per_run.shape + (1,) * (leaf.ndim - per_run.ndim))


def _copy(p: Tensor) -> Tensor:
    # Contiguous, because fused Adam walks through parameter and gradient in memory's own order.
    return p.detach().clone(memory_format=torch.contiguous_format)


def _each(params: Params, change: Callable[[Tensor], Tensor]) -> Params:
    """Change every distinct tensor once, so that what shares a tensor still does."""
    changed = {id(p): change(p) for p in params.values()}
    return {name: changed[id(p)] for name, p in params.items()}


def _hold(
    theta: Params, alpha: Params | float, method: Method, runs: tuple[int, ...]
) -> Params:
    """Copy alpha into the numbers that the outer loop holds: alpha, or its logarithm."""
    aligned = check_alpha(theta, alpha)
    if not method.learn_alpha:
        return _each(alpha if isinstance(alpha, dict) else aligned, _copy)
    entry = method.alpha_shape == "entry"
    distinct = 1 if method.alpha_shape == "scalar" else len(theta)
    if (
        not isinstance(alpha, dict)
        or any(alpha[name].shape != (p.shape if entry else runs) for name, p in theta.items())
        or len({id(a) for a in alpha.values()}) != distinct
    ):
        raise ValueError(
            f"{method.name} learns alpha with the shape {method.alpha_shape!r}, and the alpha "
            "given has another; make it with "
            f"init_alpha(theta, {method.alpha_shape!r}, 0.01, runs={runs})"
        )
    for name, a in alpha.items():
        if method.alpha_form == "log" and not (a > 0).all():
            raise ValueError(
                f"alpha[{name!r}] holds entries that are not positive (least: {float(a.min()):g}) "
                'and have no logarithm; start from positive rates, or use alpha_form="raw"'
            )
        if method.alpha_form == "nonnegative" and not (a >= 0).all():
            raise ValueError(
                f"alpha[{name!r}] holds negative entries (least: {float(a.min()):g}); start from "
                'rates of at least zero, or use alpha_form="raw"'
            )
    log = method.alpha_form == "log"
    return _each(alpha, lambda a: (_copy(a).log() if log else _copy(a)).requires_grad_())


def _rates(held: Params, method: Method) -> Params:
    log = method.learn_alpha and method.alpha_form == "log"
    return _each(held, torch.exp) if log else held


def _store(
    path: Path, settings: dict[str, Any], numbers: Params, outer: torch.optim.Optimizer,
    state: Tensor, done: int,
) -> None:
    tensors = numbers | {"generator": state}
    for i, slots in outer.state_dict()["state"].items():
        tensors |= {f"outer.{i}.{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
    save_checkpoint(path, tensors, {"settings": settings, "done": done})


def _restore(
    path: Path, settings: dict[str, Any], numbers: Params, learn_alpha: bool,
    outer: torch.optim.Optimizer, generator: torch.Generator,
) -> int:
    """Put a checkpoint's numbers where they were; return the iterations done."""
    tensors, state = load_checkpoint(path)
    theirs = state.get("settings", {})
    differing = [
        f"{name}: {_only(theirs.get(name), mine)} there, {_only(mine, theirs.get(name))} here"
        for name, mine in settings.items() if theirs.get(name) != mine
    ]
    for name, mine in numbers.items():
        saved = tensors.get(name)
        if saved is None or saved.shape != mine.shape or saved.dtype != mine.dtype:
            differing.append(f"shape or dtype of {name}")
        elif name.startswith("alpha") and not learn_alpha and not saved.equal(mine.cpu()):
            differing.append("the fixed alpha")
    if differing:
        raise ValueError(
            f"{path} belongs to another training ({'; '.join(differing)}); name another file, or "
            "delete it to train from the start"
        )
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("outer."):
            _, i, slot = key.split(".")
            slots.setdefault(int(i), {})[slot] = value
    outer.load_state_dict(outer.state_dict() | {"state": slots})
    with torch.no_grad():
        for name, mine in numbers.items():
            mine.copy_(tensors[name])
    generator.set_state(tensors["generator"])
    return int(state["done"])


def _only(text: Any, other: Any) -> str:
    """Return the lines of a long setting that the other lacks, or a short one whole."""
    lacking = set(str(text).splitlines()) - set(str(other).splitlines())
    return ", ".join(line.strip() for line in str(text).splitlines() if line in lacking)


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
