"""What a rule is, and the one of MAML and Meta-SGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from metasgd_core.types import Params


class Rule(NamedTuple):
    """An inner update.

    Attributes
    ----------
    name : str
        In error messages, and in what a checkpoint compares: let it say what is built in.
    first : callable
        ``first(theta, generator) -> alpha``: the numbers that the rule begins with, for the theta
        of one run. Under any names; only the shapes, dtype and device of theta are used.
    start : callable
        ``start(theta) -> state``: what the rule remembers before the first step; None if nothing.
    step : callable
        ``step(phi, grads, state, alpha) -> (phi, state)``: one step of every task.
    """

    name: str
    first: Callable[[Params, torch.Generator], Params]
    start: Callable[[Params], Any]
    step: Callable[[Params, Params, Any, Params], tuple[Params, Any]]


def descend(phi: Params, grads: Params, state: Any, alpha: Params) -> tuple[Params, Any]:
    """Return phi - alpha ∘ g."""
    return {name: p - alpha[name] * grads[name] for name, p in phi.items()}, state


def nothing(theta: Params) -> None:
    """Remember nothing."""


def constant(theta: Params, generator: torch.Generator) -> Params:
    """Return one rate an entry, 0.01 each."""
    return {name: torch.full_like(p, 0.01) for name, p in theta.items()}


#: phi <- phi - alpha ∘ g. Its alpha may be one number, one a tensor, or one an entry, and is made
#: by :func:`~metasgd_core.alpha.init_alpha`.
DESCENT = Rule("descent", constant, nothing, descend)
