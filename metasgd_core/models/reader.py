"""What models share that read their support: see :mod:`metasgd_core.readers`.

Such a model has two methods. ``read(theta, support)`` looks at a task's points and returns the
leaves to put in place of theta's; ``run(phi, x)`` predicts from theta with those leaves in it. Both
take leading axes, ``(*batch, ...)``, as they come. The weights are the same for all tasks; only
what was read is a task's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metasgd_core.types import Data, Params


class Reader(nn.Module):
    """The base of models that read.

    A leaf of the model's own, such as a context or a state, is the place for what is read. It
    begins at the module's own value. A model that reads point by point may also have a method
    ``read_each(theta, support)``, which returns those leaves after 1, 2, ... K points,
    ``(*batch, K, *shape)``: training over every number of points then takes one pass.
    """

    def first_parameter(self, name: str, generator: torch.Generator) -> Tensor:
        """Return a leaf of the model that has read nothing."""
        value: Tensor = getattr(self, name)
        return value.detach()

    def read(self, theta: Params, support: Data) -> Params:
        """Return the leaves of theta that hold what was read, a task's own.

        Here: the last that ``read_each`` returns.
        """
        each: Params = getattr(self, "read_each")(theta, support)  # noqa: B009
        return {name: leaf.select(support.x.ndim - 2, -1) for name, leaf in each.items()}

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Predict ``(*batch, points, outputs)`` from what was read."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Predict ``(points, outputs)`` with the module's own parameters."""
        return self.run({n: p.unsqueeze(0) for n, p in self.named_parameters()}, x.unsqueeze(0))[0]


def shared(params: Params, tasks: int) -> Params:
    """Take what all tasks share once: leaves with an axis of length 1 in place of the tasks'.

    ``per_task`` gives every task the same weights again, without using memory for it. Read off
    once, they make one large product of all the tasks' points, instead of many small ones.

    Parameters
    ----------
    params : Params
        Leaves ``(*runs, tasks, *shape)``.
    tasks : int
        The axis of the tasks.
    """
    return {
        name: p.narrow(tasks, 0, 1) if p.stride(tasks) == 0 else p for name, p in params.items()
    }


def affine(weights: Params, layer: str, h: Tensor) -> Tensor:
    r"""Apply a linear layer, :math:`h W^\top + b`, to the points of every task.

    Parameters
    ----------
    weights : Params
        From :func:`shared`.
    layer : str
        Its name.
    h : Tensor
        ``(*batch, points, inputs)``.
    """
    weight, bias = weights[f"{layer}.weight"], weights.get(f"{layer}.bias")
    shape = h.shape[:-1]
    while weight.ndim > 2 and weight.shape[-3] == 1:  # shared along that axis: its points are one
        weight, h = weight.squeeze(-3), h.flatten(-3, -2)
        bias = None if bias is None else bias.squeeze(-2)
    h = h @ weight.mT
    return (h if bias is None else h + bias.unsqueeze(-2)).reshape(*shape, -1)


def network(weights: Params, name: str, h: Tensor) -> Tensor:
    """Apply an :class:`~metasgd_core.models.mlp.MLP` with ReLUs, a part of the model."""
    depth = 0
    while (layer := f"{name}.layers.{depth}") + ".weight" in weights:
        h = affine(weights, layer, torch.relu(h) if depth else h)
        depth += 1
    return h
