"""A fully connected network, for one set of parameters or one a task."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from metasgd_core.types import Params, check_count

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


class MLP(nn.Module):
    """A fully connected network, for one set of parameters or one a task.

    A layer is ``h W^T + b`` with ``h`` of shape ``(*batch, shots, inputs)``, ``W`` of shape
    ``(*batch, outputs, inputs)`` and ``b`` of shape ``(*batch, outputs)``: with one set of weights
    a task, a whole meta-batch is one batched matrix product a layer.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output. ``(1, 40, 40, 1)`` is the network of both papers.
    activation : {"relu", "tanh"}
        Applied after every layer but the last.

    Raises
    ------
    ValueError
        If a width is not a positive whole number, there are fewer than two, or the activation has
        another name.

    References
    ----------
    Finn, Abbeel, Levine 2017 (arXiv:1703.03400), section 5.1.
    """

    def __init__(
        self, sizes: Sequence[int] = (1, 40, 40, 1), activation: Literal["relu", "tanh"] = "relu"
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes must be two or more widths, got {sizes!r}")
        for size in sizes:
            check_count("a width of sizes", size)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        self.activation = activation
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)
        )

    def extra_repr(self) -> str:
        """Name the activation where the module is printed (and in what a checkpoint compares)."""
        return f"activation={self.activation!r}"

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., inputs)`` to ``(..., outputs)`` with the module's own parameters."""
        for depth, layer in enumerate(self.layers):
            x = layer(ACTIVATIONS[self.activation](x) if depth else x)
        return x

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Map ``(*batch, shots, inputs)`` with parameters of their own for every task.

        The batch axes are flattened into one, so that a layer is a single operation
        (``baddbmm``) however many tasks and runs there are.
        """
        h = x.flatten(0, -3)  # (tasks, shots, inputs)
        for depth in range(len(self.layers)):
            weight = phi[f"layers.{depth}.weight"].flatten(0, -3)  # (tasks, outputs, inputs)
            bias = phi[f"layers.{depth}.bias"].flatten(0, -2).unsqueeze(-2)  # (tasks, 1, outputs)
            h = ACTIVATIONS[self.activation](h) if depth else h
            h = torch.baddbmm(bias, h, weight.mT)
        return h if x.ndim == 3 else h.unflatten(0, x.shape[:-2])
