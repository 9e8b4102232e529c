r"""Inner rules: what one inner step makes of a gradient.

Plain descent, :math:`\phi \leftarrow \phi - \alpha \circ g`, is the rule of MAML and Meta-SGD. The
others here put something else in its place, inside the same
:func:`~metasgd_core.adaptation.adapt`. A rule is three functions; all the numbers that it learns
are called alpha, and are learned as alpha is.

Every function takes leading axes as they come: the rule is written for one task, with operations
that broadcast from the right (a number that belongs to a whole tensor keeps that tensor's number of
axes, each 1 long).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from metasgd_core.types import Params


class Rule(NamedTuple):
    """An inner update.

    Attributes
    ----------
    name : str
        In error messages, and in what a checkpoint compares: let it say what is built in.
    first : callable
        ``first(theta, generator) -> alpha``: the numbers that the rule begins with, for the theta
        of one run. Under any names; only the shapes, dtype and device of theta are used.
    start : callable
        ``start(theta) -> state``: what the rule remembers before the first step; None if nothing.
    step : callable
        ``step(phi, grads, state, alpha) -> (phi, state)``: one step of every task.
    """

    name: str
    first: Callable[[Params, torch.Generator], Params]
    start: Callable[[Params], Any]
    step: Callable[[Params, Params, Any, Params], tuple[Params, Any]]


def _descend(phi: Params, grads: Params, state: Any, alpha: Params) -> tuple[Params, Any]:
    return {name: p - alpha[name] * grads[name] for name, p in phi.items()}, state


def _nothing(theta: Params) -> None:
    return None


def _constant(theta: Params, generator: torch.Generator) -> Params:
    return {name: torch.full_like(p, 0.01) for name, p in theta.items()}


#: phi <- phi - alpha ∘ g. Its alpha may be one number, one a tensor, or one an entry, and is made
#: by :func:`~metasgd_core.alpha.init_alpha`.
DESCENT = Rule("descent", _constant, _nothing, _descend)


def momentum(rate: float = 0.01, decay: float = 0.3) -> Rule:
    r"""Return Meta-SGD with a learned momentum, one a tensor.

    .. math:: v \leftarrow \mu v + g, \qquad \phi \leftarrow \phi - \alpha \circ v
    """

    def first(theta: Params, generator: torch.Generator) -> Params:
        rates = {f"alpha.{n}": torch.full_like(p, rate) for n, p in theta.items()}
        return rates | {f"mu.{n}": p.new_full((1,) * p.ndim, decay) for n, p in theta.items()}

    def step(phi: Params, grads: Params, v: Params, alpha: Params) -> tuple[Params, Params]:
        v = {n: alpha[f"mu.{n}"] * v[n] + g for n, g in grads.items()}
        return {n: p - alpha[f"alpha.{n}"] * v[n] for n, p in phi.items()}, v

    def at_rest(theta: Params) -> Params:
        return {n: torch.zeros_like(p) for n, p in theta.items()}

    return Rule("momentum", first, at_rest, step)


def rate_a_step(steps: int, rate: float = 0.01) -> Rule:
    r"""Return descent with a rate for every tensor and every step, as in MAML++.

    .. math:: \phi_{k+1} = \phi_k - \alpha_k \, g_k

    Steps beyond `steps` go on with the last one's rates.

    References
    ----------
    Antoniou, Edwards, Storkey 2019 (arXiv:1810.09502), section 4 ("LSLR"). Differs from it in that
    the loss is that of the last step alone.
    """

    def first(theta: Params, generator: torch.Generator) -> Params:
        return {
            f"{k}.{n}": p.new_full((1,) * p.ndim, rate)
            for k in range(steps) for n, p in theta.items()
        }

    def step(phi: Params, grads: Params, k: int, alpha: Params) -> tuple[Params, int]:
        now = min(k, steps - 1)
        return {n: p - alpha[f"{now}.{n}"] * grads[n] for n, p in phi.items()}, k + 1

    return Rule(f"rate a step, {steps} steps", first, lambda theta: 0, step)


def curvature(rate: float = 0.01) -> Rule:
    r"""Return Meta-Curvature: a layer's gradient, multiplied by a learned matrix on either side.

    .. math:: [W \mid b] \leftarrow [W \mid b] - M_{\text{out}} \, [G_W \mid g_b] \, M_{\text{in}}

    Both matrices begin as multiples of the identity, so that the first step is plain descent.

    References
    ----------
    Park and Oliva 2019 (arXiv:1902.03356), section 3. Differs from it in that the bias is a column
    of the layer's matrix, and in that the rate is part of the matrices.
    """

    def first(theta: Params, generator: torch.Generator) -> Params:
        alpha = {}
        for layer in _layers(theta):
            weight = theta[f"{layer}.weight"]
            if weight.ndim != 2:
                raise ValueError(
                    f"curvature is for the weights and biases of linear layers, and {layer}.weight "
                    f"has the shape {tuple(weight.shape)}"
                )
            out, inputs = weight.shape
            for side, size in (("out", out), ("in", inputs + (f"{layer}.bias" in theta))):
                eye = torch.eye(size, dtype=weight.dtype, device=weight.device)
                alpha[f"{layer}.{side}"] = rate**0.5 * eye
        return alpha

    def step(phi: Params, grads: Params, state: None, alpha: Params) -> tuple[Params, None]:
        new = {}
        for layer in _layers(phi):
            g, bias = grads[f"{layer}.weight"], grads.get(f"{layer}.bias")
            g = g if bias is None else torch.cat([g, bias.unsqueeze(-1)], dim=-1)
            g = alpha[f"{layer}.out"] @ g @ alpha[f"{layer}.in"]
            new[f"{layer}.weight"] = phi[f"{layer}.weight"] - (g if bias is None else g[..., :-1])
            if bias is not None:
                new[f"{layer}.bias"] = phi[f"{layer}.bias"] - g[..., -1]
        return {name: new[name] for name in phi}, state

    return Rule("curvature", first, _nothing, step)


def _layers(params: Params) -> list[str]:
    """Return the layers that have a weight matrix, and refuse parameters of any other kind."""
    layers = [
        name.removesuffix(".weight") for name, p in params.items()
        if name.endswith(".weight") and p.ndim >= 2
    ]
    left = params.keys() - {f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")}
    if left:
        raise ValueError(
            f"curvature is for the weights and biases of linear layers, and theta also has "
            f"{sorted(left)}"
        )
    return layers
