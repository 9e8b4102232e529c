"""Predictions of a model from any parameters: theta, or one adapted phi for every task."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from metasgd_core.models.mlp import MLP
from metasgd_core.types import Params, check_like


def predict(model: nn.Module, phi: Params, x: Tensor) -> Tensor:
    """Run the model with the parameters `phi`, every task with its own.

    A model with a method ``run(phi, x)``, such as :class:`MLP`, takes leading axes as they are. Any
    other module is carried over them with ``vmap(functional_call)``, and so is a subclass that has
    a ``forward`` of its own but no ``run``.

    Parameters
    ----------
    model : nn.Module
        The architecture; its own values are not used. It must not keep running statistics while
        it trains, nor draw at random: tasks would share the one, and a second pass over the same
        data would differ.
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
        If the leading axes of `phi` and `x` differ, or their dtypes, or their devices, or the model
        keeps running statistics, has dropout switched on, or is one of PyTorch's recurrent modules.
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
    if batch and _runs_itself(model):
        return cast(MLP, model).run(phi, x)
    _check_stateless(model)

    def one(phi: Params, x: Tensor) -> Tensor:
        return functional_call(model, phi, (x,))

    for _ in batch:
        one = vmap(one)
    return one(phi, x)


def _runs_itself(model: nn.Module) -> bool:
    """Whether the class's ``run`` goes with its ``forward``, and not with an older one's."""
    for cls in type(model).__mro__:
        if "run" in vars(cls):
            return True
        if "forward" in vars(cls):
            return False
    return False


def _check_stateless(model: nn.Module) -> None:
    for name, layer in model.named_modules():
        if isinstance(layer, _NormBase) and layer.training and layer.running_mean is not None:
            raise ValueError(
                f"{name or 'the model'} is a {type(layer).__name__} that keeps running statistics, "
                "which tasks would share; make it with track_running_stats=False, or use a "
                "LayerNorm or GroupNorm"
            )
        if isinstance(layer, nn.RNNBase):
            raise ValueError(
                f"{name or 'the model'} is a {type(layer).__name__}, which PyTorch cannot carry "
                "over tasks; write it with linear layers, or give the model a method run(phi, x)"
            )
        if isinstance(layer, _DropoutNd) and layer.training and layer.p > 0:
            raise ValueError(
                f"{name or 'the model'} is a {type(layer).__name__}, which draws at random in "
                "every pass; switch it off with model.eval(), or leave it out"
            )
