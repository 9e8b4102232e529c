"""A network with a context among its inputs: what inner steps may adapt instead of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from metasgd_core.models.mlp import MLP
from metasgd_core.types import Params, check_count


class ContextMLP(nn.Module):
    r"""A fully connected network that sees, beside each x, a context, the same for all points.

    .. math:: f_{\theta, c}(x) = \text{MLP}_\theta(x, c)

    The context is a parameter. With a rate on it and a rate of 0 on all others, ``adapt`` is CAVIA:
    tasks differ in their contexts and share the weights. (The context is not an output of
    anything: what a model *reads* from its support is another way, in
    :class:`~metasgd_core.models.NeuralProcess`.)

    Parameters
    ----------
    sizes : sequence of int
        Widths from x to the output, as of :class:`MLP`.
    activation : {"relu", "tanh"}
        Likewise.
    context : int
        How many numbers it has. They begin at 0.

    References
    ----------
    Zintgraf et al. 2019 (arXiv:1810.03642). Differs from it in that the outer loop learns where
    the context begins, which a bias of the first layer could do as well.
    """

    def __init__(
        self, sizes: Sequence[int] = (1, 40, 40, 1), activation: Literal["relu", "tanh"] = "relu",
        context: int = 5,
    ) -> None:  # fmt: skip
        super().__init__()
        check_count("context", context)
        self.context = nn.Parameter(torch.zeros(context))
        self.net = MLP((sizes[0] + context, *sizes[1:]), activation)

    def first_parameter(self, name: str, generator: torch.Generator) -> Tensor:
        """Return the first context, zeros."""
        return torch.zeros_like(self.context)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., inputs)`` to ``(..., outputs)`` with the module's own parameters."""
        return self.net(torch.cat([x, self.context.expand(*x.shape[:-1], -1)], dim=-1))

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Map ``(*batch, shots, inputs)`` with parameters of their own for every task."""
        context = phi["context"].unsqueeze(-2).expand(*x.shape[:-1], -1)
        net = {n.removeprefix("net."): p for n, p in phi.items() if n != "context"}
        return self.net.run(net, torch.cat([x, context], dim=-1))
