"""A small convolutional network for images, for one set of parameters or one a task."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from metasgd_core.types import Data, Params, check_count

DEPTH = 4
#: What the variance is added to, as in MAML's published code.
EPS = 1e-3


class ConvNet(nn.Module):
    r"""Four 3 x 3 convolutions with stride 2, and a linear layer; made for characters.

    .. math:: h \leftarrow \max\big(0, \operatorname{norm}(W * h) + b\big)

    A convolution is a matrix product once every 3 x 3 patch is laid out as a row. With weights of
    their own for every task, that product is one batched product for a whole meta-batch.

    Parameters
    ----------
    ways : int
        Classes of a task: the outputs.
    filters : int
        Of every convolution; 64 in MAML's network for Omniglot.
    size : int
        Height and width of the images.
    norm : {"none", "layer", "batch"}
        Over what the responses of a filter get mean 0 and variance 1. ``"layer"``: over one image,
        all filters together. ``"batch"``: filter by filter over all the images on the same points
        axis of `x`, now and in testing. So an image's logits depend on its company, and the
        company is for you to choose: the queries of a task together make the prediction
        *transductive*, as in MAML's table;
        :func:`~metasgd_core.tasks.images.score_alone` gives each query the support for company.

    Raises
    ------
    ValueError
        If a count is not a positive whole number, or the norm has another name.

    References
    ----------
    Finn, Abbeel, Levine 2017 (arXiv:1703.03400), section 5.2 and appendix A.1. Differs from it in
    that the shift after the norm is a parameter like any other, and adapted too.
    """

    def __init__(
        self,
        ways: int = 5,
        filters: int = 64,
        size: int = 28,
        norm: Literal["none", "layer", "batch"] = "batch",
    ) -> None:
        super().__init__()
        for name, count in {"ways": ways, "filters": filters, "size": size}.items():
            check_count(name, count)
        if norm not in ("none", "layer", "batch"):
            raise ValueError(f'norm must be "none", "layer" or "batch", got {norm!r}')
        self.size, self.norm = size, norm
        # Of these only names and shapes are used. The bias is added after the norm: before it,
        # the mean would take it away again.
        self.convs = nn.ModuleList(
            nn.Conv2d(filters if depth else 1, filters, 3, stride=2, padding=1)
            for depth in range(DEPTH)
        )
        for _ in range(DEPTH):
            size = halved(size)
        self.head = nn.Linear(size * size * filters, ways)

    def extra_repr(self) -> str:
        """Name what the layers do not show (and what a checkpoint compares)."""
        return f"size={self.size}, norm={self.norm!r}"

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., points, 1, size, size)`` to ``(..., points, ways)``, with own parameters."""
        return self.run(dict(self.named_parameters()), x)

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Map images with parameters of their own for every task.

        Parameters
        ----------
        phi : Params
            Leaves ``(*batch, *shape)``.
        x : Tensor
            ``(*batch, points, 1, size, size)``, or with further axes before the points: then each
            group of points keeps its own company.

        Returns
        -------
        Tensor
            ``(*batch, points, ways)``, or with the same further axes.

        Raises
        ------
        ValueError
            If the images have another size.
        """
        h = self.features(phi, x)
        batch, points = phi["head.bias"].shape[:-1], h.shape[:-1]
        rows = h.reshape(*batch, -1, h.shape[-1])
        logits = rows @ phi["head.weight"].mT + phi["head.bias"].unsqueeze(-2)
        return logits.reshape(*points, -1)

    def features(self, phi: Params, x: Tensor) -> Tensor:
        """Return what the last layer sees of each image, ``(*batch, points, features)``."""
        if x.ndim < 4 or x.shape[-3:] != (1, self.size, self.size):
            raise ValueError(
                f"x has shape {tuple(x.shape)}, and the network takes (..., points, 1, "
                f"{self.size}, {self.size}): resize the images, or make it with another size"
            )
        batch, points = phi["convs.0.bias"].shape[:-1], x.shape[:-3]
        size, h = self.size, x.movedim(-3, -1).flatten(0, -4)  # (images, height, width, channels)
        for depth in range(DEPTH):
            kernel, bias = phi[f"convs.{depth}.weight"], phi[f"convs.{depth}.bias"]
            matrix = kernel.movedim(-3, -1).flatten(-3).mT  # (*batch, 9 channels, filters)
            rows = patches(h, size)  # (images, positions, 9 channels)
            h = rows.reshape(*batch, -1, rows.shape[-1]) @ matrix
            h = self._normalised(h.reshape(*points, -1, h.shape[-1]))
            h = torch.relu(h + bias.reshape(*batch, *(1,) * (h.ndim - bias.ndim), -1))
            size = halved(size)
            h = h.reshape(-1, size, size, h.shape[-1])
        return h.reshape(*points, -1)

    def _normalised(self, h: Tensor) -> Tensor:
        """Give responses ``(..., points, positions, filters)`` mean 0 and variance 1."""
        if self.norm == "none":
            return h
        over = (-2, -1) if self.norm == "layer" else (-3, -2)
        h = h - h.mean(over, keepdim=True)
        return h * torch.rsqrt(h.square().mean(over, keepdim=True) + EPS)


class PrototypeNet(ConvNet):
    r"""A :class:`ConvNet` that reads its support: a class is the mean of its features.

    .. math:: c_n = \frac1K \sum_k f(x_{nk}), \qquad
              -\lVert f(x) - c_n \rVert^2 = 2\, c_n \cdot f(x) - \lVert c_n \rVert^2 + \text{const}

    So the nearest prototype is a linear layer with the weights :math:`2 c_n` and the biases
    :math:`-\lVert c_n \rVert^2`, which :func:`~metasgd_core.readers.read` puts into the last one's
    place. Training, which always reads, leaves theta's own last layer as it began.

    References
    ----------
    Snell, Swersky, Zemel 2017 (arXiv:1703.05175).
    """

    def read(self, theta: Params, support: Data) -> Params:
        """Return the last layer of each task, ``(*batch, ways, features)`` and ``(*batch, ways)``.

        Parameters
        ----------
        theta : Params
            Leaves ``(*batch, *shape)``.
        support : Data
            ``x`` of shape ``(*batch, shots, ways, 1, size, size)``, a column a class.
        """
        axis = support.y.ndim - 2
        features = self.features(theta, support.x.flatten(axis, axis + 1))
        prototypes = features.unflatten(-2, support.y.shape[-2:]).mean(-3)
        return {"head.weight": 2 * prototypes, "head.bias": -prototypes.square().sum(-1)}


def halved(size: int) -> int:
    """Return how long a side is after a convolution with stride 2."""
    return (size + 1) // 2


def patches(h: Tensor, size: int) -> Tensor:
    """Return each 3 x 3 patch, two steps from the next, as a row.

    (images, size, size, channels) -> (images, positions, 9 channels), with zeros around the image.
    """
    side = 2 * torch.arange(halved(size), device=h.device)[:, None]
    side = side + torch.arange(3, device=h.device)  # (positions, 3) along one side
    where = side[:, None, :, None] * (size + 2) + side[None, :, None, :]
    around = pad(h, (0, 0, 1, 1, 1, 1)).flatten(1, 2)
    return around.index_select(1, where.flatten()).reshape(len(h), len(side) ** 2, -1)
