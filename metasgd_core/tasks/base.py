"""What supervised families have in common: how a loss and a score are made of predictions.

A family adds its model, how tasks are drawn, and how their data are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from metasgd_core.models import predict
from metasgd_core.types import Data, Params, check_like


class Supervised:
    """A :class:`~metasgd_core.types.TaskFamily` whose data do not depend on the parameters."""

    model: nn.Module
    on_policy = False
    one_draw = False


class Regression(Supervised):
    """The mean squared error, which is also what is reported."""

    score_name = "mean squared error"
    higher_is_better = False

    def loss(self, phi: Params, data: Data) -> Tensor:
        r"""Return the mean squared error of every task,
        :math:`\frac1K \sum_k (f_\phi(x_k) - y_k)^2`, of shape ``(*batch,)``.

        Raises
        ------
        ValueError
            If the predictions and `data.y` differ in shape (their difference would broadcast into
            a wrong loss without an error), in dtype or in device.
        """
        prediction = predict(self.model, phi, data.x)
        if prediction.shape != data.y.shape:
            raise ValueError(
                f"the predictions have shape {tuple(prediction.shape)} but y has shape "
                f"{tuple(data.y.shape)}: x and y must agree in all axes but the last, and y must "
                "have the network's outputs there"
            )
        check_like("y", data.y, prediction)
        return mse_loss(prediction, data.y, reduction="none").mean(dim=(-2, -1))

    def score(self, phi: Params, data: Data) -> Tensor:
        """Return what is reported of each task, its loss, ``(*batch,)``."""
        return self.loss(phi, data)


class Classification(Supervised):
    """The cross-entropy of N classes; what is reported is the accuracy.

    A shot is one sample of each class: ``x`` is ``(*batch, shots, ways, ...)``, and ``y`` holds the
    classes' numbers, ``(*batch, shots, ways)``, from 0 on.
    """

    score_name = "accuracy"
    higher_is_better = True

    def logits(self, phi: Params, data: Data) -> Tensor:
        """Return the model's logits, ``(*batch, shots, ways, classes)``."""
        shots, ways = data.y.shape[-2:]
        axis = data.y.ndim - 2
        flat = predict(self.model, phi, data.x.flatten(axis, axis + 1))
        return flat.unflatten(axis, (shots, ways))

    def loss(self, phi: Params, data: Data) -> Tensor:
        r"""Return the mean cross-entropy of every task,
        :math:`-\frac1{NK} \sum_k \log p_\phi(y_k \mid x_k)`, of shape ``(*batch,)``.

        Raises
        ------
        ValueError
            If `data.y` holds no whole numbers, or there are more ways than the model has outputs.
        """
        logits = self.logits(phi, data)
        self._check_classes(data.y, logits)
        losses = cross_entropy(logits.flatten(0, -2), data.y.flatten(), reduction="none")
        return losses.view(data.y.shape).mean(dim=(-2, -1))

    def score(self, phi: Params, data: Data) -> Tensor:
        """Return the fraction of samples whose likeliest class is theirs, ``(*batch,)``."""
        logits = self.logits(phi, data)
        self._check_classes(data.y, logits)
        return (logits.argmax(-1) == data.y).to(logits.dtype).mean(dim=(-2, -1))

    @staticmethod
    def _check_classes(y: Tensor, logits: Tensor) -> None:
        if y.dtype != torch.long or y.shape[-1] > logits.shape[-1]:
            raise ValueError(
                f"y must hold whole numbers of classes, with as many outputs as ways: it is "
                f"{y.dtype} with {y.shape[-1]} ways, and the model has {logits.shape[-1]} outputs"
            )
