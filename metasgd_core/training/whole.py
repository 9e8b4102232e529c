"""A whole meta-iteration as one function of tensors, to be compiled: for long trainings.

Compiled, the gradient of a few tasks takes less time than Python needs to *ask* for the rest of a
step. So the step that ``Outer.step`` takes with Adam is written here once more, in the same tensors
and without a question: every gradient is scaled by the clip, if only by one, and every run is
selected, new or frozen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metasgd_core.training.compiled import MetaGradient
from metasgd_core.training.outer import Outer, fit

#: What Adam keeps for each tensor, under PyTorch's names.
COUNT, MEAN, SQUARE = "step", "exp_avg", "exp_avg_sq"


def whole_step(gradient: MetaGradient, outer: Outer) -> tuple[Any, list[Tensor]]:
    """Return the function, and the tensors of the training that it changes in place.

    Parameters
    ----------
    gradient : callable
        The meta-gradient as a function of the leaves and the data.
    outer : Outer
        With Adam, whose state stays where a checkpoint looks for it.

    Returns
    -------
    step : callable
        (tensors, data) -> losses ``(*runs,)``, NaN where a run is lost, and whether all are.
    tensors : list of Tensor
        Who has diverged, the leaves, and Adam's counts, means and squares.
    """
    leaves, floors = outer.learned.all_leaves, outer.learned.floors()
    groups = [group for group in outer.optimizer.param_groups for _ in group["params"]]
    rates = [rate for rate, group in zip(outer.rates, outer.optimizer.param_groups, strict=True)
             for _ in group["params"]]  # fmt: skip
    slots = [outer.optimizer.state[leaf] for leaf in leaves]
    for leaf, slot in zip(leaves, slots, strict=True):
        if not slot:  # as Adam itself begins
            slot[COUNT] = torch.zeros((), device=leaf.device)
            slot |= {MEAN: torch.zeros_like(leaf), SQUARE: torch.zeros_like(leaf)}
    kept = [slot[name] for name in (COUNT, MEAN, SQUARE) for slot in slots]

    def step(tensors: list[Tensor], data: Any) -> tuple[Tensor, Tensor]:
        diverged, n = tensors[0], len(floors)
        leaves, counts, means, squares = (tensors[1 + i * n :][:n] for i in range(4))
        loss, norm, grads = gradient(leaves, data)
        alive = ~diverged & (norm + loss).isfinite()
        if outer.clip is not None:
            scale = (outer.clip / norm).clamp(max=1)
            grads = [grad * fit(scale, grad) for grad in grads]
        if outer.skip:
            grads = [grad.where(fit(alive, grad), 0) for grad in grads]
        for i, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
            (b1, b2), eps = groups[i]["betas"], groups[i]["eps"]
            t = counts[i].add_(1).double()
            rate = rates[i] * outer.fraction(t - 1) / (1 - b1**t)
            mean = means[i].lerp_(grad, 1 - b1)
            square = squares[i].mul_(b2).addcmul_(grad, grad, value=1 - b2)
            new = leaf - rate * mean / (square.sqrt() / (1 - b2**t).sqrt() + eps)
            if floors[i] is not None:
                new = new.clamp(min=floors[i])
            leaf.copy_(new.where(fit(alive, leaf), leaf))
        if not outer.skip:
            diverged |= ~alive
        return loss.where(alive, torch.nan), diverged.all()

    return step, [outer.diverged, *leaves, *kept]
