"""What the outer loop learns: theta, and alpha as it is held (itself, or its logarithm)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metasgd_core.alpha import check_rule
from metasgd_core.methods import Method
from metasgd_core.models import run_axes
from metasgd_core.rules import DESCENT
from metasgd_core.types import Params


@dataclass
class Learned:
    """Copies of theta and alpha that a training may change.

    Attributes
    ----------
    method : Method
        Whose they are.
    runs : tuple of int
        Their run axes.
    theta, held : Params
        In the order of the model's parameters, whatever the order of the dicts they came from.
    leaves, alpha_leaves : list of Tensor
        What the optimiser steps: theta's tensors and the distinct ones of alpha (none, where it is
        fixed). Packed, each is one tensor, and `theta` and `held` are views of it.
    """

    method: Method
    runs: tuple[int, ...]
    theta: Params
    held: Params
    leaves: list[Tensor]
    alpha_leaves: list[Tensor]

    @property
    def all_leaves(self) -> list[Tensor]:
        return [*self.leaves, *self.alpha_leaves]

    def rates(self) -> Params:
        """Return alpha itself, with a graph to what is held."""
        return to_rates(self.held, self.method)

    def copy(self) -> tuple[Params, Params]:
        """Return copies of theta and of the rates."""
        return each(self.theta, copy), each(self.rates(), copy)

    def named(self) -> dict[str, Tensor]:
        """Return every tensor once, by a name that does not depend on any order."""
        alphas: dict[int, tuple[str, Tensor]] = {}
        for name, a in self.held.items():
            alphas.setdefault(id(a), (f"alpha.{name}", a))
        return {f"theta.{name}": p for name, p in self.theta.items()} | dict(alphas.values())

    def floors(self) -> list[float | None]:
        """Return the least that each of `all_leaves` may be, None where it may be anything."""
        bounded = self.method.learn_alpha and self.method.alpha_form == "nonnegative"
        return [None] * len(self.leaves) + [0.0 if bounded else None] * len(self.alpha_leaves)

    def keep_in_bounds(self) -> None:
        """Set what an outer step made negative back to zero, where alpha may not be."""
        for leaf, floor in zip(self.all_leaves, self.floors(), strict=True):
            if floor is not None:
                leaf.data.clamp_(min=floor)


def hold(
    model: nn.Module, theta: Params, alpha: Params | float, method: Method, *, packed: bool
) -> Learned:
    """Copy theta and alpha for a training, and refuse what does not fit the model or the method.

    Parameters
    ----------
    packed : bool
        All of theta in one tensor, and all of alpha: fewer and larger operations.

    Raises
    ------
    ValueError
        If theta is not the model's, or alpha does not fit, is not finite, or (in the log) not
        positive.
    """
    runs = run_axes(model, theta)
    theta = {name: theta[name] for name, _ in model.named_parameters()}
    held = _held(theta, alpha, method, runs)
    theta = each(theta, lambda p: copy(p).requires_grad_())
    leaves = list(theta.values())
    alpha_leaves = list({id(a): a for a in held.values()}.values()) if method.learn_alpha else []
    if packed:
        flat, theta = pack(theta, runs)
        leaves = [flat]
        if alpha_leaves:
            flat, held = pack(held, runs)
            alpha_leaves = [flat]
    return Learned(method, runs, theta, held, leaves, alpha_leaves)


def _held(
    theta: Params, alpha: Params | float, method: Method, runs: tuple[int, ...]
) -> Params:
    """Copy alpha into the numbers that the outer loop holds: alpha, or its logarithm."""
    aligned = check_rule(method.rule, theta, alpha, runs)
    if isinstance(alpha, dict):
        names = theta if method.rule == DESCENT else aligned
        alpha = {name: alpha[name] for name in names}
    if not method.learn_alpha:
        return each(alpha if isinstance(alpha, dict) else aligned, copy)
    if method.rule != DESCENT:
        return each(aligned, lambda a: copy(a).requires_grad_())
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
    return each(alpha, lambda a: (copy(a).log() if log else copy(a)).requires_grad_())


def to_rates(held: Params, method: Method) -> Params:
    """Return the rates that are held as they are, or as their logarithms."""
    log = method.learn_alpha and method.alpha_form == "log"
    return each(held, torch.exp) if log else held


def pack(params: Params, runs: tuple[int, ...]) -> tuple[Tensor, Params]:
    """Lay the numbers side by side in one tensor; return it, and views in the old ones' place."""
    distinct = {id(p): p for p in params.values()}.values()
    flat = torch.cat([p.detach().reshape(*runs, -1) for p in distinct], dim=-1)
    return flat, views(flat, params)


def views(flat: Tensor, like: Params) -> Params:
    """Cut a packed tensor, ``(*runs, numbers)``, into the shapes of `like`."""
    distinct = {id(p): p for p in like.values()}
    sizes = [p.shape[flat.ndim - 1 :].numel() for p in distinct.values()]
    parts = zip(flat.split(sizes, dim=-1), distinct.values(), strict=True)
    cut = dict(zip(distinct, (part.view(p.shape) for part, p in parts), strict=True))
    return {name: cut[id(p)] for name, p in like.items()}


def copy(p: Tensor) -> Tensor:
    # Contiguous, because fused Adam walks through parameter and gradient in memory's own order.
    return p.detach().clone(memory_format=torch.contiguous_format)


def each(params: Params, change: Callable[[Tensor], Tensor]) -> Params:
    """Change every distinct tensor once, so that what shares a tensor still does."""
    changed = {id(p): change(p) for p in params.values()}
    return {name: changed[id(p)] for name, p in params.items()}
