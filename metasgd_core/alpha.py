"""The rates alpha: their shapes, their first values, and how they are fitted to theta."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metasgd_core.rules import DESCENT, Rule
from metasgd_core.types import Params

#: One rate for everything, one a tensor (a layer's weight, its bias), or one for every entry.
AlphaShape = Literal["scalar", "tensor", "entry"]


class Uniform(NamedTuple):
    """Draw a first alpha uniformly in ``[low, high]``."""

    low: float
    high: float


class LogUniform(NamedTuple):
    """Draw a first alpha log-uniformly in ``[low, high]``, both positive."""

    low: float
    high: float


def init_alpha(
    theta: Params,
    shape: AlphaShape,
    init: float | Tensor | Uniform | LogUniform,
    *,
    runs: tuple[int, ...] | None = None,
    each_entry: bool = False,
    generator: torch.Generator | None = None,
) -> Params:
    """Make the rates to start from.

    Parameters
    ----------
    theta : Params
        Leaves ``(*runs, *shape)``; alpha gets their names, dtype and device.
    shape : {"scalar", "tensor", "entry"}
        One rate in all (the same tensor stands under every name, so that an optimiser given the
        distinct tensors steps it once), one a tensor, or one an entry as in Meta-SGD.
    init : float, Tensor, Uniform or LogUniform
        A constant; one constant a run, of shape `runs`; or a range to draw from.
    runs : tuple of int, optional
        The run axes of theta; by default it has none.
    each_entry : bool
        Draw every number of alpha anew. By default a run draws one value and uses it everywhere,
        which is what the paper does, in [0.005, 0.1].
    generator : torch.Generator, optional
        Needed to draw.

    Returns
    -------
    Params
        Leaves of shape `runs`, `runs` or ``(*runs, *shape)``, for the three shapes in turn.

    Raises
    ------
    ValueError
        If the shape has another name, a range is empty or (log-uniform) not positive, there is no
        generator to draw with, or theta seems to have run axes and `runs` does not say which: all
        runs would share one draw.

    References
    ----------
    Li et al. 2017 (arXiv:1707.09835), section 3.
    """
    if shape not in ("scalar", "tensor", "entry"):
        raise ValueError(f'shape must be "scalar", "tensor" or "entry", got {shape!r}')
    like = next(iter(theta.values()))
    if runs is None:
        runs = ()
        first_axes = {p.shape[:1] for p in theta.values()}
        if isinstance(init, Uniform | LogUniform) and len(first_axes) == 1 and all(
            p.ndim >= 2 for p in theta.values()
        ):
            raise ValueError(
                f"every leaf of theta begins with an axis of length {like.shape[0]}: if these are "
                f"runs, say runs=({like.shape[0]},), else all of them share one draw; if not, say "
                "runs=()"
            )
    anew = each_entry and isinstance(init, Uniform | LogUniform)
    value = _first_value(init, runs, like, generator)

    def make(size: tuple[int, ...]) -> Tensor:
        if anew:
            return _first_value(init, size, like, generator)
        return value.reshape(runs + (1,) * (len(size) - len(runs))).expand(size).clone()

    if shape == "scalar":
        return dict.fromkeys(theta, make(runs))
    return {name: make(runs if shape == "tensor" else tuple(p.shape)) for name, p in theta.items()}


def _first_value(
    init: float | Tensor | Uniform | LogUniform,
    size: tuple[int, ...],
    like: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    if not isinstance(init, Uniform | LogUniform):
        if not isinstance(init, Tensor):
            init = like.new_full((), init)
        return init.to(like).expand(size)
    low, high = init
    if not low < high or (isinstance(init, LogUniform) and low <= 0):
        raise ValueError(f"{init} is not a range: low must be below high, and positive in the log")
    if generator is None:
        raise ValueError(f"drawing alpha from {init} needs a generator")
    u = torch.rand(size, generator=generator, dtype=like.dtype, device=like.device)
    if isinstance(init, Uniform):
        return low + (high - low) * u
    return low * (high / low) ** u


def align_alpha(theta: Params, alpha: Params | float) -> Params:
    """Line alpha's axes up with theta's from the left, so that a product broadcasts as meant.

    Without this, a rate a run of shape ``(runs,)`` would line up with theta's *last* axis, and
    sometimes broadcast with no error at all.

    Returns
    -------
    Params
        Leaves with as many axes as theta's.

    Raises
    ------
    ValueError
        Naming the entry that is missing, unknown or of the wrong shape, dtype or device.
    """
    if not isinstance(alpha, dict):
        alpha = {name: p.new_full((), float(alpha)) for name, p in theta.items()}
    if alpha.keys() != theta.keys():
        missing, unknown = theta.keys() - alpha.keys(), alpha.keys() - theta.keys()
        raise ValueError(
            f"alpha must have theta's names: missing {sorted(missing)}, unknown {sorted(unknown)}; "
            "init_alpha(theta, ...) makes one that fits"
        )
    aligned = {}
    for name, p in theta.items():
        a = alpha[name]
        fits = a.shape == p.shape or (
            a.ndim <= p.ndim
            and all(mine in (1, its) for mine, its in zip(a.shape, p.shape, strict=False))
        )
        if not fits:
            raise ValueError(
                f"alpha[{name!r}] has shape {tuple(a.shape)}, theta[{name!r}] has shape "
                f"{tuple(p.shape)}: from the left, each axis of alpha must equal theta's or be 1; "
                "init_alpha(theta, ...) makes one that fits"
            )
        if a.dtype != p.dtype or a.device != p.device:
            raise ValueError(
                f"alpha[{name!r}] is {a.dtype} on {a.device}, theta[{name!r}] is {p.dtype} on "
                f"{p.device}; convert one with .to(...)"
            )
        aligned[name] = a if a.ndim == p.ndim else a.reshape(a.shape + (1,) * (p.ndim - a.ndim))
    return aligned


def check_alpha(theta: Params, alpha: Params | float) -> Params:
    """Align alpha as :func:`align_alpha` does, and refuse NaN and infinite rates.

    The public doors (training, evaluation) call this once; the inner loop does not, because
    looking at values costs a wait on a GPU.
    """
    return _refuse_not_finite(align_alpha(theta, alpha))


def _refuse_not_finite(alpha: Params) -> Params:
    for name, a in alpha.items():
        if not a.isfinite().all():
            bad = int((~a.isfinite()).sum())
            raise ValueError(
                f"alpha[{name!r}] holds {bad} of {a.numel()} entries that are NaN or infinite; "
                "start again from init_alpha(theta, ...) or from a checkpoint before it diverged"
            )
    return alpha


def share_alpha(
    theta: Params, alpha: Params | float, batch: tuple[int, ...], rule: Rule = DESCENT
) -> Params:
    """Fit alpha to ``per_task(theta, batch)``: aligned, with an axis of length 1 for the tasks.

    All tasks of a run share the run's alpha, so it is broadcast and needs no copies. The numbers
    of a rule other than descent are broadcast likewise, and not aligned: see
    :mod:`metasgd_core.rules`.
    """
    axis = len(batch) - 1
    aligned = align_alpha(theta, alpha) if rule == DESCENT else rule_alpha(rule, alpha)
    return {name: a.unsqueeze(axis) for name, a in aligned.items()}


def init_rule(
    rule: Rule,
    theta: Params,
    *,
    runs: tuple[int, ...] = (),
    generator: torch.Generator | None = None,
) -> Params:
    """Make the numbers that a rule begins with: what :func:`init_alpha` is to plain descent.

    Parameters
    ----------
    rule : Rule
        From :mod:`metasgd_core.rules`, or your own.
    theta : Params
        Leaves ``(*runs, *shape)``.
    runs : tuple of int
        The run axes of theta.
    generator : torch.Generator, optional
        Source of the draws, for a rule that begins with random numbers: each run draws its own.

    Returns
    -------
    Params
        Leaves ``(*runs, *shape that the rule gives them)``.
    """
    device = next(iter(theta.values())).device
    source = generator or torch.Generator(device)
    one = {name: p.detach()[(0,) * len(runs)] for name, p in theta.items()}
    each = [rule.first(one, source) for _ in range(math.prod(runs))]
    return {
        name: torch.stack([first[name] for first in each]).view(*runs, *a.shape)
        for name, a in each[0].items()
    }


def check_rule(rule: Rule, theta: Params, alpha: Params | float, runs: tuple[int, ...]) -> Params:
    """Return the rule's numbers, and refuse what does not fit theta or is not finite.

    Raises
    ------
    ValueError
        Naming the rule and the entry that is missing, unknown, of another shape, dtype or device,
        or not finite.
    """
    if rule == DESCENT:
        return check_alpha(theta, alpha)
    alpha, wanted = rule_alpha(rule, alpha), init_rule(rule, theta, runs=runs)
    if alpha.keys() != wanted.keys():
        raise ValueError(
            f"alpha must have the names of the rule {rule.name!r}: missing "
            f"{sorted(wanted.keys() - alpha.keys())}, unknown "
            f"{sorted(alpha.keys() - wanted.keys())}; init_rule(rule, theta, runs=...) makes one"
        )
    for name, a in alpha.items():
        like = wanted[name]
        if a.shape != like.shape or a.dtype != like.dtype or a.device != like.device:
            raise ValueError(
                f"alpha[{name!r}] of the rule {rule.name!r} is {a.dtype} {tuple(a.shape)} on "
                f"{a.device} and must be {like.dtype} {tuple(like.shape)} on {like.device}; "
                "init_rule(rule, theta, runs=...) makes one that fits"
            )
    return _refuse_not_finite(alpha)


def rule_alpha(rule: Rule, alpha: Params | float) -> Params:
    """Return the numbers of a rule other than descent, and refuse a bare number."""
    if not isinstance(alpha, dict):
        raise ValueError(
            f"the rule {rule.name!r} has numbers of its own, and alpha is {alpha!r}; make them "
            "with init_rule(rule, theta, runs=...)"
        )
    return alpha
