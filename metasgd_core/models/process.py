"""A conditional neural process: a model that reads its support instead of adapting to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metasgd_core.models.mlp import MLP
from metasgd_core.models.reader import Reader, network, shared
from metasgd_core.types import Data, Params


class NeuralProcess(Reader):
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

    def read_each(self, theta: Params, support: Data) -> Params:
        """Return the context of each task after 1, 2, … K points, ``(*batch, K, context)``."""
        codes = network(shared(theta, support.x.ndim - 3), "encoder", torch.cat(support, dim=-1))
        count = torch.arange(1, codes.shape[-2] + 1, dtype=codes.dtype, device=codes.device)
        return {"context": codes.cumsum(dim=-2) / count[:, None]}

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Map ``(*batch, points, inputs)`` to ``(*batch, points, outputs)`` by the context."""
        context = phi["context"].unsqueeze(-2).expand(*x.shape[:-1], -1)
        known = torch.cat([x, context], dim=-1)
        return network(shared(phi, x.ndim - 3), "decoder", known)
