"""A conditional neural process: a model that reads its support instead of adapting to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metasgd_core.models.mlp import MLP
from metasgd_core.models.prediction import predict
from metasgd_core.types import Data, Params


class NeuralProcess(nn.Module):
    r"""A network that predicts from a summary of the support points, their mean encoding.

    .. math:: c = \frac1K \sum_k e(x_k, y_k), \qquad \hat y(x) = d(x, c)

    The context c has a place among the parameters, where :func:`~metasgd_core.readers.read` puts
    it. It is zero until something is read, and training, which always reads, leaves it so.

    Parameters
    ----------
    inputs, outputs : int
        Of the tasks.
    width : int
        Of the two hidden layers of the encoder and of the decoder.
    context : int
        How many numbers the summary has.

    References
    ----------
    Garnelo et al. 2018 (arXiv:1807.01613). Differs from it in that the decoder gives a mean and no
    variance.
    """

    def __init__(
        self, inputs: int = 1, outputs: int = 1, width: int = 64, context: int = 64
    ) -> None:
        super().__init__()
        self.context = nn.Parameter(torch.zeros(context))
        self.encoder = MLP((inputs + outputs, width, width, context))
        self.decoder = MLP((inputs + context, width, width, outputs))

    def first_parameter(self, name: str, generator: torch.Generator) -> Tensor:
        """Return the context of a model that has read nothing, zeros."""
        return self.context.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(shots, inputs)`` to ``(shots, outputs)`` with the module's own context."""
        return self.decoder(torch.cat([x, self.context.expand(*x.shape[:-1], -1)], dim=-1))

    def read(self, theta: Params, support: Data) -> Params:
        """Return the context of each task, ``(*batch, context)``, as the leaf to put into theta."""
        points = torch.cat([support.x, support.y], dim=-1)
        encoder = {
            name.removeprefix("encoder."): p
            for name, p in theta.items() if name.startswith("encoder.")
        }
        return {"context": predict(self.encoder, encoder, points).mean(dim=-2)}
