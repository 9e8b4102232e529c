"""Readers: what stands in the place of ``adapt`` for a model that reads its support.

A neural process, a recurrent network or attention takes no gradient step. It looks at the support
points and predicts. Here it returns, as ``adapt`` does, one phi for every task: theta, with what
the model has read put into a leaf of its own. The family's loss and score, training and
evaluation then need not know the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from metasgd_core.adaptation import adapt
from metasgd_core.methods import Method
from metasgd_core.models import Reader
from metasgd_core.types import Params, check_count


def read(
    loss: Callable[[Params, Any], Tensor],
    theta: Params,
    alpha: Params | float,
    support: Any,
    *,
    model: nn.Module,
    steps: int = 1,
    first_order: bool = False,
) -> Params:
    """Let the model read the support of every task, in the place of ``adapt``.

    Parameters
    ----------
    loss, alpha, first_order
        As in :func:`~metasgd_core.adaptation.adapt`; they play no part.
    theta : Params
        Leaves ``(*batch, *shape)``, one copy a task.
    support : data or callable
        As in :func:`~metasgd_core.adaptation.adapt`.
    model : nn.Module
        Has a method ``read(theta, support) -> Params``, the leaves to put in place of theta's:
        with as many axes as those, of which the model's own may be longer or shorter (a memory
        that grows with the shots).
    steps : int
        1, or 0 to read nothing.

    Returns
    -------
    Params
        phi, theta with what was read.

    Raises
    ------
    ValueError
        If the model cannot read, `steps` is neither 0 nor 1, or what was read has no place in
        theta.
    """
    check_count("steps", steps, least=0)
    if not hasattr(model, "read"):
        raise ValueError(
            f"a {type(model).__name__} cannot read its support: it needs a method "
            "read(theta, support), as NeuralProcess has"
        )
    if steps > 1:
        raise ValueError(f"a model reads its support once: steps must be 0 or 1, got {steps}")
    if not steps:
        return dict(theta)
    data = support(theta, 0) if callable(support) else support
    found = cast(Reader, model).read(theta, data)
    for name, leaf in found.items():
        if name not in theta or leaf.ndim != theta[name].ndim:
            raise ValueError(
                f"{type(model).__name__}.read gives {name!r} with shape {tuple(leaf.shape)}; it "
                "must be a parameter of the model, with as many axes as theta's "
                f"({', '.join(f'{n!r} {tuple(p.shape)}' for n, p in theta.items() if n == name)})"
            )
    return theta | found


def learner(model: nn.Module, method: Method) -> Callable[..., Params]:
    """Return how a method comes to its phi: ``adapt`` by its rule, or ``read``."""
    return partial(read, model=model) if method.reads else partial(adapt, rule=method.rule)
