"""The outer step: an optimiser over all runs, its falling rate, the clip, and lost runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metasgd_core.objectives import objective_of
from metasgd_core.training.learned import Learned, copy
from metasgd_core.types import check_number

#: The outer optimisers that a row may name.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": torch.optim.SGD,
}


class Outer:
    """Takes the outer steps; freezes a run that met a number that is not finite, or skips the step.

    Parameters
    ----------
    learned : Learned
        What is stepped.
    lr, alpha_lr, optimizer, final_lr, clip, skip, iterations
        As in :func:`~metasgd_core.meta_training.meta_train`.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
        One group, or two where alpha has a rate of its own.
    default : bool
        Whether the optimizer is ours, and so the one that is known.
    diverged : Tensor
        ``(*runs,)``, True for the runs that are frozen.
    lost : bool
        Whether all of them are.
    """

    def __init__(
        self,
        learned: Learned,
        *,
        lr: float | None,
        alpha_lr: float | None,
        optimizer: Callable[..., torch.optim.Optimizer] | None,
        final_lr: float,
        clip: float | None,
        iterations: int,
        skip: bool = False,
    ) -> None:
        objective = objective_of(learned.method)
        if lr is None:  # the row's own is meant for the row's optimiser
            lr = objective.lr if optimizer is None else 1e-3
        check_number("lr", lr)
        check_number("final_lr", final_lr)
        if alpha_lr is not None:
            check_number("alpha_lr", alpha_lr)
        if clip is not None:
            check_number("clip", clip, positive=True)
        groups: list[dict[str, Any]] = [{"params": learned.all_leaves}]
        if learned.alpha_leaves and alpha_lr is not None:
            groups = [
                {"params": learned.leaves}, {"params": learned.alpha_leaves, "lr": alpha_lr}
            ]
        self.optimizer = (optimizer or OPTIMIZERS[objective.optimizer])(groups, lr=lr)
        self.default = optimizer is None
        self.learned, self.final_lr, self.clip, self.last = learned, final_lr, clip, iterations - 1
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        device = learned.leaves[0].device
        self.diverged = torch.zeros(learned.runs, dtype=torch.bool, device=device)
        self.skip, self.lost = skip, False

    def fraction(self, done: Any) -> Any:
        """Return what is left of the rates after `done` steps, a number or a tensor."""
        return 1 - (1 - self.final_lr) * done / max(1, self.last)

    def error(self, done: int) -> FloatingPointError:
        """Return what to raise when all runs are lost."""
        return FloatingPointError(
            f"{self.learned.method.name}: every run had diverged by meta-iteration {done} (a loss "
            f"or meta-gradient that is not finite); try a smaller lr (it is {self.rates[0]:g}), a "
            "smaller first alpha, or clip"
        )

    def step(self, done: int, loss: Tensor, norm: Tensor, grads: list[Tensor]) -> Tensor:
        """Take the step after `done` others; return the losses, NaN where a run is lost.

        Parameters
        ----------
        loss, norm : Tensor
            ``(*runs,)``: of the meta-batch, and of all the gradients together.
        grads : list of Tensor
            One for each of ``learned.all_leaves``.
        """
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.fraction(done)
        if self.clip is not None and bool((norm > self.clip).any()):
            scale = (self.clip / norm).clamp(max=1)
            grads = [g * fit(scale, g) for g in grads]
        leaves = self.learned.all_leaves
        alive = ~self.diverged & (norm + loss).isfinite()
        everyone = bool(alive.all())
        if not everyone:  # what Adam remembers of a run that skips this step must stay finite
            grads = [g.where(fit(alive, g), 0) for g in grads]
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = grad.contiguous()
        if everyone:
            self.optimizer.step()
        else:
            if not self.skip:
                self.diverged |= ~alive
                self.lost = bool(self.diverged.all())
            loss = loss.where(alive, torch.nan)
            # Zero gradients would not freeze a run: Adam moves on with its momentum.
            before = [copy(leaf) for leaf in leaves]
            self.optimizer.step()
            with torch.no_grad():
                for leaf, old in zip(leaves, before, strict=True):
                    leaf.copy_(torch.where(fit(alive, leaf), leaf, old))
        self.learned.keep_in_bounds()
        return loss


def fit(per_run: Tensor, leaf: Tensor) -> Tensor:
    """Give what is ``(*runs,)`` as many axes as the leaf has."""
    return per_run.reshape(per_run.shape + (1,) * (leaf.ndim - per_run.ndim))
