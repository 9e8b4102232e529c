"""Rules that multiply a layer's gradient by learned matrices: networks of linear layers only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metasgd_core.rules.base import Rule, nothing
from metasgd_core.types import Params

#: (name of a layer, its gradient ``[G_W | g_b]``, alpha) -> what is taken from ``[W | b]``
Move = Callable[[str, Tensor, Params], Tensor]


def curvature(rate: float = 0.01) -> Rule:
    r"""Return Meta-Curvature: a layer's gradient, multiplied by a learned matrix on either side.

    .. math:: [W \mid b] \leftarrow [W \mid b] - M_{\text{out}} \, [G_W \mid g_b] \, M_{\text{in}}

    Both matrices begin as multiples of the identity, so that the first step is plain descent.

    References
    ----------
    Park and Oliva 2019 (arXiv:1902.03356), section 3. Differs from it in that the bias is a column
    of the layer's matrix, and in that the rate is part of the matrices.
    """

    def move(layer: str, g: Tensor, alpha: Params) -> Tensor:
        return alpha[f"{layer}.out"] @ g @ alpha[f"{layer}.in"]

    return _by_layer("curvature", ("out", "in"), rate, move)


def warp(rate: float = 0.01) -> Rule:
    r"""Return the step of a T-net: a layer's gradient, multiplied by :math:`T T^\top`.

    .. math:: [W \mid b] \leftarrow [W \mid b] - T \, T^\top \, [G_W \mid g_b]

    In a T-net each linear layer is followed by another, T, that inner steps leave alone. Written
    for the product of the two, a step of the first is this one: Meta-Curvature with one matrix in
    the place of two, and never uphill.

    References
    ----------
    Lee and Choi 2018 (arXiv:1801.05558), section 3.2; with layers between that are not linear,
    WarpGrad: Flennerhag et al. 2020 (arXiv:1909.00025). Differs from the first in that the rate is
    part of T, and in that the outer loop learns the product and T, not the two factors.
    """

    def move(layer: str, g: Tensor, alpha: Params) -> Tensor:
        T = alpha[f"{layer}.out"]
        return T @ (T.mT @ g)

    return _by_layer("warp", ("out",), rate, move)


def _by_layer(name: str, sides: tuple[str, ...], rate: float, move: Move) -> Rule:
    """Return a rule that knows matrices, of a layer's outputs or inputs or both."""

    def first(theta: Params, generator: torch.Generator) -> Params:
        alpha = {}
        for layer in _layers(name, theta):
            weight = theta[f"{layer}.weight"]
            if weight.ndim != 2:
                raise ValueError(
                    f"{name} is for the weights and biases of linear layers, and {layer}.weight "
                    f"has the shape {tuple(weight.shape)}"
                )
            out, inputs = weight.shape
            sizes = {"out": out, "in": inputs + (f"{layer}.bias" in theta)}
            for side in sides:
                eye = torch.eye(sizes[side], dtype=weight.dtype, device=weight.device)
                alpha[f"{layer}.{side}"] = rate**0.5 * eye
        return alpha

    def step(phi: Params, grads: Params, state: None, alpha: Params) -> tuple[Params, None]:
        new = {}
        for layer in _layers(name, phi):
            g, bias = grads[f"{layer}.weight"], grads.get(f"{layer}.bias")
            g = g if bias is None else torch.cat([g, bias.unsqueeze(-1)], dim=-1)
            g = move(layer, g, alpha)
            new[f"{layer}.weight"] = phi[f"{layer}.weight"] - (g if bias is None else g[..., :-1])
            if bias is not None:
                new[f"{layer}.bias"] = phi[f"{layer}.bias"] - g[..., -1]
        return {n: new[n] for n in phi}, state

    return Rule(name, first, nothing, step)


def _layers(rule: str, params: Params) -> list[str]:
    """Return the layers that have a weight matrix, and refuse parameters of any other kind."""
    layers = [
        name.removesuffix(".weight") for name, p in params.items()
        if name.endswith(".weight") and p.ndim >= 2
    ]
    left = params.keys() - {f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")}
    if left:
        raise ValueError(
            f"{rule} is for the weights and biases of linear layers, and theta also has "
            f"{sorted(left)}"
        )
    return layers
