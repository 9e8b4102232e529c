r"""The meta-gradient of supervised tasks, compiled: for long trainings.

The same equation as :func:`~metasgd_core.objectives.meta_loss`, written for *one* task in the
terms of ``torch.func`` and carried over tasks and runs by ``vmap``:

.. math:: \nabla_{\theta,\alpha}\; \frac1n \sum_{i=1}^n L^{(i)}_{\text{query}}
          \big(\theta - \alpha \circ \nabla L^{(i)}_{\text{support}}(\theta)\big)

In eager PyTorch this form is the slower one, because every operation passes through the layers of
``torch.func``. Compiled, nothing of that is left, and theta stays what it is in the equation: one
set of weights that all the tasks of a run share, so that their first pass through the network is
one large matrix product instead of many small ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from metasgd_core.alpha import align_alpha
from metasgd_core.methods import Method
from metasgd_core.types import Params, TaskFamily

#: (what is learned, what is held fixed, data) -> losses ``(*runs,)``, a gradient for each learned
MetaGradient = Callable[[list[Tensor], list[Tensor], Any], tuple[Tensor, list[Tensor]]]


def meta_gradient(
    family: TaskFamily,
    method: Method,
    unpack: Callable[[list[Tensor], list[Tensor]], tuple[Params, Params]],
    *,
    runs: int,
    shots: int,
) -> MetaGradient:
    r"""Return the function to compile: the losses of a meta-batch, and their gradients.

    Parameters
    ----------
    family : TaskFamily
        Supervised; its loss must accept one task without a batch axis.
    method : Method
        With the objective ``"query"``: MAML, FOMAML, Meta-SGD and their variants.
    unpack : callable
        ``unpack(learned, fixed)`` returns theta and alpha, leaves ``(*runs, ...)``.
    runs : int
        How many run axes there are.
    shots : int
        The first `shots` points of a task are its support set, the rest its query set.

    Raises
    ------
    ValueError
        If the data depend on the parameters, or the method has another objective.
    """
    if family.on_policy or method.objective != "query":
        what = type(family).__name__ if family.on_policy else method.name
        raise ValueError(
            f"compiled=True is for supervised tasks and the objective 'query' (MAML, FOMAML, "
            f"Meta-SGD), not for {what}; leave it out"
        )

    def task_loss(theta: Params, alpha: Params, data: Any) -> Tensor:
        support = type(data)(*(leaf[:shots] for leaf in data))
        query = type(data)(*(leaf[shots:] for leaf in data))
        phi = theta
        for _ in range(method.inner_steps):
            grads = grad(family.loss)(phi, support)
            if method.first_order:
                grads = {name: g.detach() for name, g in grads.items()}
            phi = {name: p - alpha[name] * grads[name] for name, p in phi.items()}
        return family.loss(phi, query)

    losses = vmap(task_loss, in_dims=(None, None, 0))
    for _ in range(runs):
        losses = vmap(losses)

    def total(learned: list[Tensor], fixed: list[Tensor], data: Any) -> tuple[Tensor, Tensor]:
        theta, alpha = unpack(learned, fixed)
        alpha = {name: a.expand_as(theta[name]) for name, a in align_alpha(theta, alpha).items()}
        loss = losses(theta, alpha, data).mean(dim=-1)
        # Of the sum over runs, so that each gets the gradient of its own loss.
        return loss.sum(), loss

    def gradient(
        learned: list[Tensor], fixed: list[Tensor], data: Any
    ) -> tuple[Tensor, list[Tensor]]:
        grads, loss = grad(total, has_aux=True)(learned, fixed, data)
        return loss, grads

    return gradient


def compile_gradient(
    gradient: MetaGradient, learned: list[Tensor], fixed: list[Tensor], data: Any
) -> MetaGradient:
    """Trace the function on these inputs and compile it; shapes and dtypes are theirs from then on.

    Takes seconds, and a C++ compiler on a CPU.

    Raises
    ------
    RuntimeError
        If PyTorch cannot compile it here; with the reason's first line.
    """
    example = [p.detach() for p in learned], fixed, data
    compiled = torch.compile(
        make_fx(gradient)(*example), fullgraph=True, options={"cpp_wrapper": True}
    )
    try:
        compiled(*example)
    except Exception as error:
        raise RuntimeError(
            f"compiled=True: PyTorch could not compile the meta-gradient here "
            f"({str(error).strip().splitlines()[0]}). It needs a C++ compiler, such as Debian's "
            "g++; without one, leave compiled out"
        ) from error

    def run(learned: list[Tensor], fixed: list[Tensor], data: Any) -> tuple[Tensor, list[Tensor]]:
        return compiled([p.detach() for p in learned], fixed, data)

    return run
