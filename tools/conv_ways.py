"""Other ways to compute what :class:`metasgd_core.models.ConvNet` computes, by ``conv2d``.

A way takes a model, phi with an axis for the tasks, and x ``(tasks, points, 1, size, size)``, and
returns logits. The tests hold the network to them; ``omniglot_gpu.py`` times them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import conv2d, linear

from metasgd_core.models import ConvNet, predict
from metasgd_core.models.convnet import DEPTH, EPS
from metasgd_core.tasks.images import Images
from metasgd_core.types import Data, Params

Way = Callable[[ConvNet, Params, Tensor], Tensor]


def rectified(model: ConvNet, h: Tensor, bias: Tensor) -> Tensor:
    """Normalise, shift and rectify responses ``(..., points, filters, height, width)``."""
    if model.norm != "none":
        over = (-3, -2, -1) if model.norm == "layer" else (-4, -2, -1)
        variance, mean = torch.var_mean(h, over, correction=0, keepdim=True)
        h = (h - mean) / (variance + EPS).sqrt()
    return (h + bias[..., None, :, None, None]).clamp(min=0)


def last(h: Tensor) -> Tensor:
    """Lay out ``(..., filters, height, width)`` as the head takes it, filters last."""
    return h.movedim(-3, -1).flatten(-3)


def one(model: ConvNet, phi: Params, x: Tensor) -> Tensor:
    """A task by itself: neither phi nor x has an axis for tasks."""
    for depth in range(DEPTH):
        h = conv2d(x, phi[f"convs.{depth}.weight"], stride=2, padding=1)
        x = rectified(model, h, phi[f"convs.{depth}.bias"])
    return linear(last(x), phi["head.weight"], phi["head.bias"])


def loop(model: ConvNet, phi: Params, x: Tensor) -> Tensor:
    """Task by task."""
    each = [one(model, {n: p[task] for n, p in phi.items()}, x[task]) for task in range(len(x))]
    return torch.stack(each)


def mapped(model: ConvNet, phi: Params, x: Tensor) -> Tensor:
    """By ``vmap``."""
    return vmap(lambda phi, x: one(model, phi, x))(phi, x)


def grouped(model: ConvNet, phi: Params, x: Tensor) -> Tensor:
    """One convolution with a group a task."""
    tasks = len(x)
    for depth in range(DEPTH):
        channels, kernel = x.transpose(0, 1).flatten(1, 2), phi[f"convs.{depth}.weight"]
        h = conv2d(channels, kernel.flatten(0, 1), stride=2, padding=1, groups=tasks)
        h = h.unflatten(1, (tasks, -1)).transpose(0, 1)
        x = rectified(model, h, phi[f"convs.{depth}.bias"])
    return last(x) @ phi["head.weight"].mT + phi["head.bias"].unsqueeze(-2)


WAYS: dict[str, Way] = {"ours": predict, "grouped": grouped, "vmap": mapped, "loop": loop}


@dataclass(frozen=True, eq=False, repr=False)
class By(Images):
    """A family whose logits are computed in one of the ways."""

    way: Way = predict

    def logits(self, phi: Params, data: Data) -> Tensor:
        """Return the logits, ``(*batch, shots, ways, classes)``, for one batch axis."""
        logits = self.way(self.model, phi, data.x.flatten(1, 2))
        return logits.unflatten(1, data.y.shape[-2:])
