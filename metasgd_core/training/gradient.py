"""A meta-iteration: its gradient by autograd, compiled, or shared over processes; its step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metasgd_core.objectives import meta_loss
from metasgd_core.training.compiled import (
    MetaGradient,
    compile_gradient,
    meta_gradient,
    norm_per_run,
)
from metasgd_core.training.draws import Draws
from metasgd_core.training.learned import Learned, to_rates, views
from metasgd_core.training.outer import Outer
from metasgd_core.training.processes import own_part, sum_over_processes, world
from metasgd_core.training.whole import whole_step
from metasgd_core.types import Params

#: (tasks, data) -> losses ``(*runs,)``, norms of the gradients ``(*runs,)``, gradients
Gradient = Callable[[Any, Any], tuple[Tensor, Tensor, list[Tensor]]]
#: (done, tasks, data) -> losses ``(*runs,)``, NaN where a run is lost
Step = Callable[[int, Any, Any], Tensor]


def meta_step_of(
    learned: Learned, outer: Outer, draws: Draws, shots: int, query_shots: int
) -> Step:
    """Return what takes a meta-iteration: in one compiled call, or the gradient and then the step.

    Compiled where the draws come in chunks; in one call, if the optimiser is the default one and
    no other process takes part.
    """
    alone = world()[1] == 1
    if draws.chunked and outer.default and alone:
        return in_one_call(learned, outer, draws, shots)
    gradient = (
        compiled(learned, draws, shots) if draws.chunked
        else eager(learned, draws, shots, query_shots)
    )
    if not alone:
        gradient = shared(gradient, len(learned.runs))
    return lambda done, tasks, data: outer.step(done, *gradient(tasks, data))


def eager(learned: Learned, draws: Draws, shots: int, query_shots: int) -> Gradient:
    """Return what gives a meta-batch's losses, the norms of the gradients, and the gradients."""

    @torch.enable_grad()
    def gradient(tasks: Any, data: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
        loss = meta_loss(
            draws.family, learned.theta, learned.rates(), tasks, learned.method,
            shots=shots, query_shots=query_shots, generator=draws.generator, data=data,
        )
        # Of the sum over runs, so that each gets the gradient of its own loss. What the loss does
        # not use, such as the place of a context that is read, stays as it is.
        grads = list(
            torch.autograd.grad(loss.sum(), learned.all_leaves, materialize_grads=True)
        )
        return loss.detach(), norm_per_run(grads, loss.ndim), grads

    return gradient


def formula_of(learned: Learned, draws: Draws, shots: int) -> MetaGradient:
    """Return the meta-gradient as a function of the packed leaves and the data, to be compiled."""
    method, runs = learned.method, len(learned.runs)
    fixed = learned.rates()

    def unpack(leaves: list[Tensor]) -> tuple[Params, Params]:
        alpha = to_rates(views(leaves[1], learned.held), method) if leaves[1:] else fixed
        return views(leaves[0], learned.theta), alpha

    return meta_gradient(draws.family, method, unpack, runs=runs, shots=shots)


def compiled(learned: Learned, draws: Draws, shots: int) -> Gradient:
    """Return what `eager` does, compiled for the shapes of the draws."""
    leaves, example = learned.all_leaves, own_part(draws.example[1], len(learned.runs))
    fast = compile_gradient(formula_of(learned, draws, shots), leaves, example)
    return lambda tasks, data: fast(leaves, data)


def in_one_call(learned: Learned, outer: Outer, draws: Draws, shots: int) -> Step:
    """Return the gradient and the step of Adam, compiled together."""
    formula, tensors = whole_step(formula_of(learned, draws, shots), outer)
    fast = compile_gradient(formula, tensors, draws.example[1])

    def step(done: int, tasks: Any, data: Any) -> Tensor:
        loss, lost = fast(tensors, data)
        outer.lost = bool(lost)
        return loss

    return step


def shared(gradient: Gradient, runs: int) -> Gradient:
    """Return the same for all processes together, each taking its part of the tasks."""

    def over_processes(tasks: Any, data: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
        loss, _, grads = gradient(own_part(tasks, runs), own_part(data, runs))
        share = own_part(data, runs)[0].shape[runs] / data[0].shape[runs]
        loss, *grads = sum_over_processes([share * t for t in (loss, *grads)])
        return loss, norm_per_run(grads, runs), grads

    return over_processes
