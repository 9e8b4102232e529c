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
from metasgd_core.rules import DESCENT
from metasgd_core.types import Params, TaskFamily

#: (tensors, data) -> what is made of them
Formula = Callable[[list[Tensor], Any], Any]
#: (what is learned, data) -> losses ``(*runs,)``, norms ``(*runs,)``, a gradient for each learned
MetaGradient = Callable[[list[Tensor], Any], tuple[Tensor, Tensor, list[Tensor]]]


def check_compilable(family: TaskFamily, method: Method) -> None:
    """Refuse data that depend on the parameters, and objectives other than those of inner steps.

    Raises
    ------
    ValueError
        Naming what cannot be compiled.
    """
    if family.on_policy or method.objective not in ("query", "steps") or method.reads:
        what = type(family).__name__ if family.on_policy else method.name
        raise ValueError(
            "compiled=True is for supervised tasks and the objectives 'query' and 'steps' by inner "
            f"steps (MAML, FOMAML, Meta-SGD), not for {what}; leave it out"
        )


def meta_gradient(
    family: TaskFamily,
    method: Method,
    unpack: Callable[[list[Tensor]], tuple[Params, Params]],
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
        With the objective ``"query"`` (MAML, FOMAML, Meta-SGD and their variants) or ``"steps"``.
    unpack : callable
        Turns the learned tensors, ``(*runs, ...)`` each, into theta and the rates alpha.
    runs : int
        How many run axes there are.
    shots : int
        The first `shots` points of a task are its support set, the rest its query set.
    """

    def task_loss(theta: Params, alpha: Params, data: Any) -> Tensor:
        support = type(data)(*(leaf[:shots] for leaf in data))
        query = type(data)(*(leaf[shots:] for leaf in data))
        phi, state = theta, method.rule.start(theta)
        walked = []
        for _ in range(method.inner_steps):
            grads = grad(family.loss)(phi, support)
            if method.first_order:
                grads = {name: g.detach() for name, g in grads.items()}
            phi, state = method.rule.step(phi, grads, state, alpha)
            walked.append(phi)
        if method.objective == "steps":
            return torch.stack([family.loss(phi, query) for phi in walked]).mean(0)
        return family.loss(phi, query)

    losses = vmap(task_loss, in_dims=(None, None, 0))
    for _ in range(runs):
        losses = vmap(losses)

    def total(learned: list[Tensor], data: Any) -> tuple[Tensor, Tensor]:
        theta, alpha = unpack(learned)
        if method.rule == DESCENT:
            aligned = align_alpha(theta, alpha)
            alpha = {name: a.expand_as(theta[name]) for name, a in aligned.items()}
        loss = losses(theta, alpha, data).mean(dim=-1)
        # Of the sum over runs, so that each gets the gradient of its own loss.
        return loss.sum(), loss

    def gradient(learned: list[Tensor], data: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
        grads, loss = grad(total, has_aux=True)(learned, data)
        return loss, norm_per_run(grads, runs), grads

    return gradient


def norm_per_run(grads: list[Tensor], runs: int) -> Tensor:
    """Return the Euclidean norm of all gradients together, one a run, ``(*runs,)``."""
    rows = (*grads[0].shape[:runs], -1)
    return torch.cat([g.reshape(rows) for g in grads], dim=-1).norm(dim=-1)


def compile_gradient(formula: Formula, tensors: list[Tensor], data: Any) -> Formula:
    """Trace the function on these inputs and compile it; shapes and dtypes are theirs from then on.

    Takes seconds, and on a CPU a C++ compiler. What the function changes in place is left as it is.

    Raises
    ------
    RuntimeError
        If PyTorch cannot compile it here; with the reason's first line.
    """
    tensors = [tensor.clone() for tensor in tensors]
    traced = make_fx(formula)(tensors, data)
    try:
        options: Any = {"cpp_wrapper": tensors[0].is_cpu}
        # Guards would check in every step that the shapes are still those of the trace, which takes
        # as long as a third of the arithmetic on a few tasks. Older PyTorch cannot leave them out.
        if skip := getattr(torch.compiler, "skip_all_guards_unsafe", None):
            options["guard_filter_fn"] = skip
        compiled = torch.compile(traced.forward, fullgraph=True, options=options)
        compiled(tensors, data)
    except Exception as error:
        raise RuntimeError(
            "compiled=True: PyTorch could not compile the meta-gradient here "
            f"({(str(error).strip() or type(error).__name__).splitlines()[0]}). It needs a recent "
            "PyTorch and a C++ compiler, such as Debian's g++; without them, leave compiled out"
        ) from error
    return compiled
