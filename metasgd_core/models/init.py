"""The first parameters of a model, and what axes parameters carry in front of the model's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from metasgd_core.types import Params

First = Callable[[str, torch.Generator], Tensor]
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
#: These begin at the module's own values: a scale of 1, a shift of 0.
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


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
    ``nn.Linear`` and the convolutions do themselves (and recurrent layers, with their hidden size
    in place of the fan-in). With `std`, weights are normal with that standard deviation, truncated
    at two of them, and biases zero. Norms begin at scale 1 and shift 0.

    A module that knows better brings its own: where it has a method
    ``first_parameter(name, generator) -> Tensor``, that gives the first value of each parameter
    that belongs to the module itself (and not to a layer inside it).

    Parameters
    ----------
    model : nn.Module
        Made of linear, convolutional, recurrent, attention and normalising layers, or of modules
        with a ``first_parameter``.
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
        If the model has no parameters, or one of a layer that is not listed above.
    """
    theta: Params = {}
    for name, parameter in model.named_parameters():
        parent, _, leaf = name.rpartition(".")
        layer = model.get_submodule(parent)
        kind = dtype or parameter.dtype
        values = torch.empty(*runs, *parameter.shape, dtype=kind, device=generator.device)
        if first := cast(First | None, getattr(layer, "first_parameter", None)):
            for value in values.view(-1, *parameter.shape):  # run by run
                value.copy_(first(leaf, generator))
        elif isinstance(layer, NORMS):
            values.copy_(parameter.detach())
        elif not isinstance(layer, (*WEIGHTED, *RECURRENT, nn.MultiheadAttention)):
            raise ValueError(
                f"init_theta knows linear, convolutional, recurrent, attention and normalising "
                f"layers, but {name!r} belongs to a {type(layer).__name__}: give that class a "
                "method first_parameter(name, generator), or build theta from the module's own "
                "named_parameters()"
            )
        elif std is None:
            bound = 1 / math.sqrt(_fan_in(layer, parameter))
            values.uniform_(-bound, bound, generator=generator)
        elif "bias" in leaf:
            values.zero_()
        else:
            nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std, generator=generator)
        theta[name] = values
    if not theta:
        raise ValueError(f"{type(model).__name__} has no parameters, so there is nothing to learn")
    if output_scale != 1.0:
        last = name.rpartition(".")[0]
        for name, values in theta.items():
            if name.rpartition(".")[0] == last:
                values *= output_scale
    return theta


def _fan_in(layer: nn.Module, parameter: Tensor) -> int:
    """Return how many numbers go into one output of the layer."""
    if isinstance(layer, RECURRENT):
        return layer.hidden_size
    if isinstance(layer, nn.MultiheadAttention):
        return layer.embed_dim
    assert isinstance(layer.weight, Tensor)
    return math.prod(layer.weight.shape[1:])


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
