r"""The algorithm: adapt parameters to a task by a few gradient steps on its support set.

Every method of the book is this one inner loop with another alpha,

.. math:: \theta' = \theta - \alpha \circ \nabla L_{\text{support}}(\theta).

MAML holds alpha at one fixed number. Meta-SGD learns an alpha of theta's own shape, entry by
entry, along with theta.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from metasgd_core.types import Params, check_count

#: One rate for everything, one a tensor (a layer's weight, its bias), or one for every entry.
AlphaShape = Literal["scalar", "tensor", "entry"]


def adapt(
    loss: Callable[[Params, Any], Tensor],
    theta: Params,
    alpha: Params | float,
    support: Any,
    *,
    steps: int = 1,
    first_order: bool = False,
) -> Params:
    r"""Take `steps` inner steps from `theta` on the support loss of every task at once.

    .. math:: \phi_0 = \theta, \qquad
              \phi_{k+1} = \phi_k - \alpha \circ \nabla_{\phi} L_{\text{support}}(\phi_k).

    Tasks share no numbers, so the gradient of the *sum* of their losses is each task's own
    gradient. (Of the sum, not the mean: a mean would divide alpha by the number of tasks.)
    Gradients flow through the result to theta and alpha.

    Parameters
    ----------
    loss : callable
        ``loss(phi, data) -> (*batch,)``: one loss a task, the mean over its shots.
    theta : Params
        Leaves ``(*batch, *shape)``, one copy a task: see :func:`per_task`. Left unchanged.
    alpha : Params or float
        The rates. A leaf's axes line up with theta's from the left, each as long as theta's or 1;
        missing ones count as 1. They are signed; nothing is clipped here.
    support : data or callable
        The support data, ``(*batch, shots, ...)`` leaves, the same at every step; or a function
        ``support(phi, step)`` that returns them (reinforcement learning collects afresh).
    steps : int
        0 returns theta itself.
    first_order : bool
        Treat each gradient as a constant when differentiating the result: the terms with second
        derivatives are dropped, and memory does not grow with what they need.

    Returns
    -------
    Params
        phi, leaves ``(*batch, *shape)``; the papers write theta'.

    Raises
    ------
    ValueError
        If alpha does not fit theta, a leaf of theta lacks the batch axes of the losses, or
        `steps` is negative.

    References
    ----------
    Finn et al. 2017 (arXiv:1703.03400), algorithm 1; Li et al. 2017 (arXiv:1707.09835),
    section 3. Differs from the latter in that it allows several steps.
    """
    check_count("steps", steps, least=0)
    alpha = align_alpha(theta, alpha)
    phi = {name: p if p.requires_grad else p.detach().requires_grad_() for name, p in theta.items()}
    for step in range(steps):
        data = support(phi, step) if callable(support) else support
        losses = loss(phi, data)
        for name, p in phi.items():
            if p.shape[: losses.ndim] != losses.shape:
                raise ValueError(
                    f"the losses have shape {tuple(losses.shape)}, but theta[{name!r}] has shape "
                    f"{tuple(p.shape)}: every task needs its own copy, per_task(theta, batch)"
                )
        grads = torch.autograd.grad(losses.sum(), list(phi.values()), create_graph=not first_order)
        phi = {
            name: p - alpha[name] * g for (name, p), g in zip(phi.items(), grads, strict=True)
        }
    return phi


def per_task(params: Params, batch: tuple[int, ...]) -> Params:
    """Give every task its own copy of the parameters, without using memory for it.

    Parameters
    ----------
    params : Params
        Leaves ``(*runs, *shape)``.
    batch : tuple of int
        ``(*runs, tasks)``.

    Returns
    -------
    Params
        Leaves ``(*runs, tasks, *shape)``, expanded views; their backward sums over the tasks.

    Raises
    ------
    ValueError
        If a leaf's leading axes are not the runs of `batch`.
    """
    *runs, tasks = batch
    for name, p in params.items():
        if list(p.shape[: len(runs)]) != runs:
            raise ValueError(
                f"{name!r} has shape {tuple(p.shape)}, which does not start with the run axes "
                f"{tuple(runs)} of the batch {tuple(batch)}"
            )
    if runs:
        axis = len(runs)
        params = {name: p.unsqueeze(axis) for name, p in params.items()}
        return {name: p.expand(*runs, tasks, *p.shape[axis + 1 :]) for name, p in params.items()}
    return {name: p.expand(tasks, *p.shape) for name, p in params.items()}


def share_alpha(theta: Params, alpha: Params | float, batch: tuple[int, ...]) -> Params:
    """Fit alpha to ``per_task(theta, batch)``: aligned, with an axis of length 1 for the tasks.

    All tasks of a run share the run's alpha, so it is broadcast and needs no copies.
    """
    axis = len(batch) - 1
    return {name: a.unsqueeze(axis) for name, a in align_alpha(theta, alpha).items()}


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
    runs: tuple[int, ...] = (),
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
    runs : tuple of int
        The run axes of theta.
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
        If the shape has another name, a range is empty or (log-uniform) not positive, or there is
        no generator to draw with.

    References
    ----------
    Li et al. 2017 (arXiv:1707.09835), section 3.
    """
    if shape not in ("scalar", "tensor", "entry"):
        raise ValueError(f'shape must be "scalar", "tensor" or "entry", got {shape!r}')
    like = next(iter(theta.values()))
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
    aligned = align_alpha(theta, alpha)
    for name, a in aligned.items():
        if not a.isfinite().all():
            bad = int((~a.isfinite()).sum())
            raise ValueError(
                f"alpha[{name!r}] holds {bad} of {a.numel()} entries that are NaN or infinite; "
                "start again from init_alpha(theta, ...) or from a checkpoint before it diverged"
            )
    return aligned
