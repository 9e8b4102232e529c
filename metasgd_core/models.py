"""Architectures, their first parameters, and predictions from any parameters.

A module here is architecture only. The numbers live in a ``Params`` dict, and
:func:`predict` runs the module with whichever numbers it is given: theta, or one adapted phi for
every task of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metasgd_core.types import Params, check_like

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
        if len(sizes) < 2 or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(f"sizes must be two or more positive whole numbers, got {sizes!r}")
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


def init_theta(
    model: nn.Module,
    *,
    generator: torch.Generator,
    runs: tuple[int, ...] = (),
    std: float | None = None,
    output_scale: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Params:
    """Draw first parameters for a model, one independent set a run.

    By default each weight and bias is uniform in ``±1/sqrt(fan_in)``, which is what
    ``nn.Linear`` and the convolutions do themselves. With `std`, weights are normal with that
    standard deviation, truncated at two of them, and biases zero.

    Parameters
    ----------
    model : nn.Module
        Made of linear or convolutional layers, with or without biases. The ``log_std`` of a
        :class:`GaussianMLP` starts at the module's own value.
    generator : torch.Generator
        Source of the draws; the tensors are made on its device.
    runs : tuple of int
        Leading axes: every run gets numbers of its own.
    std : float, optional
        0.01 with the networks of the papers (differs from Li et al. 2017 in nothing we know of:
        the text does not give it, published code does).
    output_scale : float
        A factor on the last layer. With a small one a policy begins undecided between its actions.
    dtype : torch.dtype, optional
        By default each parameter keeps the module's own.

    Returns
    -------
    Params
        Leaves ``(*runs, *shape)``, not requiring gradients.

    Raises
    ------
    ValueError
        If the model holds a parameter that is neither in a linear nor in a convolutional layer.
    """
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    theta: Params = {}
    for name, parameter in model.named_parameters():
        parent, _, leaf = name.rpartition(".")
        layer = model.get_submodule(parent)
        if isinstance(layer, GaussianMLP):
            value = parameter.detach().to(generator.device, dtype or parameter.dtype)
            theta[name] = value.expand(*runs, *parameter.shape).clone()
            continue
        if not isinstance(layer, layers):
            raise ValueError(
                f"init_theta knows linear and convolutional layers, but {name!r} belongs to a "
                f"{type(layer).__name__}; build theta from the module's own named_parameters()"
            )
        values = torch.empty(
            *runs, *parameter.shape, dtype=dtype or parameter.dtype, device=generator.device
        )
        if std is None:
            bound = 1 / math.sqrt(math.prod(layer.weight.shape[1:]))
            values.uniform_(-bound, bound, generator=generator)
        elif leaf == "bias":
            values.zero_()
        else:
            nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std, generator=generator)
        theta[name] = values
    if output_scale != 1.0:
        last, _, _ = name.rpartition(".")
        for leaf in model.get_submodule(last)._parameters:
            theta[f"{last}.{leaf}"] *= output_scale
    return theta


def run_axes(model: nn.Module, theta: Params) -> tuple[int, ...]:
    """Return the run axes of theta: what its leaves carry in front of the model's own shapes.

    Raises
    ------
    ValueError
        If names or shapes are not those of the model, or the leaves disagree on the run axes.
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    if theta.keys() != shapes.keys():
        raise ValueError(
            f"theta must have the model's names {sorted(shapes)}, got {sorted(theta)}; "
            "init_theta(model, ...) makes them"
        )
    runs: tuple[int, ...] | None = None
    for name, shape in shapes.items():
        leaf = tuple(theta[name].shape)
        front, own = leaf[: len(leaf) - len(shape)], leaf[len(leaf) - len(shape) :]
        if own != shape or (runs is not None and front != runs):
            expected = shape if runs is None else runs + shape
            raise ValueError(
                f"theta[{name!r}] has shape {leaf}, but the model needs {expected}"
                + (", with run axes in front if there are any" if runs is None else "")
            )
        runs = front
    return runs or ()


def predict(model: nn.Module, phi: Params, x: Tensor) -> Tensor:
    """Run the model with the parameters `phi`, every task with its own.

    An :class:`MLP` takes leading axes as they are. Any other module is carried over them
    with ``vmap(functional_call)``; it must not keep running statistics (batch normalisation) nor
    draw at random (dropout).

    Parameters
    ----------
    model : nn.Module
        The architecture; its own values are not used.
    phi : Params
        Leaves ``(*batch, *shape)``.
    x : Tensor
        ``(*batch, shots, ...)``.

    Returns
    -------
    Tensor
        ``(*batch, shots, outputs)``.

    Raises
    ------
    ValueError
        If the leading axes of `phi` and `x` differ, or their dtypes, or their devices.
    """
    name, parameter = next(iter(model.named_parameters()))
    leaf = phi[name]
    batch = leaf.shape[: leaf.ndim - parameter.ndim]
    if x.shape[: len(batch)] != batch or (isinstance(model, MLP) and x.ndim != len(batch) + 2):
        raise ValueError(
            f"x has shape {tuple(x.shape)}, but the parameters carry the leading axes "
            f"{tuple(batch)}: x must be (*leading axes, shots, inputs), and per_task(theta, batch) "
            "gives every task its copy of the parameters"
        )
    check_like("x", x, leaf)
    if isinstance(model, MLP) and batch:
        return model.run(phi, x)

    def one(phi: Params, x: Tensor) -> Tensor:
        return functional_call(model, phi, (x,))

    for _ in batch:
        one = vmap(one)
    return one(phi, x)
