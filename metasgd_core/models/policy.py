"""Policies with continuous actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from metasgd_core.models.mlp import MLP


class GaussianMLP(MLP):
    """A policy with continuous actions: a network for their mean, one number each for their spread.

    The network is as in :class:`MLP`; ``log_std`` is the logarithm of the standard deviation of
    each action, the same in all states, and a parameter like any other: it is adapted too.

    Parameters
    ----------
    sizes, activation
        As in :class:`MLP`. ``(2, 100, 100, 2)`` and ReLU for the navigation of both papers.
    log_std : float
        Where all the logarithms start.

    References
    ----------
    Duan et al. 2016 (arXiv:1604.06778); Finn et al. 2017 (arXiv:1703.03400), section 5.3.
    """

    def __init__(
        self,
        sizes: Sequence[int] = (2, 100, 100, 2),
        activation: Literal["relu", "tanh"] = "relu",
        log_std: float = 0.0,
    ) -> None:
        super().__init__(sizes, activation)
        self.log_std = nn.Parameter(torch.full((sizes[-1],), log_std))

    def first_parameter(self, name: str, generator: torch.Generator) -> Tensor:
        """Return ``log_std`` as it was asked for: nothing is drawn."""
        return self.log_std.detach()
