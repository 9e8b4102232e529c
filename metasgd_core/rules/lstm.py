"""Learned optimisers: one small LSTM, with a memory for each number of theta, writes the steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metasgd_core.rules.base import Rule, nothing
from metasgd_core.types import Params

#: Gradients smaller than exp(-P) are seen as they are, larger ones by their logarithm.
P = 10.0
#: Hidden and cell state of every number of theta, ``(*batch, numbers, width)`` each.
Memory = tuple[Tensor, Tensor]


def lstm(width: int = 20, scale: float = 0.1) -> Rule:
    r"""Return the learned optimiser of Andrychowicz et al.: the LSTM's output is the step.

    .. math:: h_k, c_k = \operatorname{LSTM}\big(s(g_k), h_{k-1}, c_{k-1}\big), \qquad
              \phi_{k+1} = \phi_k + \sigma \, (u \cdot h_k + u_0)

    for each number of theta on its own, all with the same weights; :math:`\sigma` is `scale`, and
    s the pair of :func:`seen`. The weights fit any network.

    References
    ----------
    Andrychowicz et al. 2016 (arXiv:1606.04474), section 2.1 and appendix A. Differs from it in that
    the LSTM has one layer, not two. The gradients count as constants there: with
    ``first_order=True``.
    """

    def first(theta: Params, generator: torch.Generator) -> Params:
        like = next(iter(theta.values()))
        return _first_memory(width, like, generator) | {
            "out.weight": 0.1 * _uniform((1, width), width, like, generator),
            "out.bias": like.new_zeros(1, 1),
        }

    def step(
        phi: Params, grads: Params, memory: Memory | None, alpha: Params
    ) -> tuple[Params, Memory]:
        g = _flat(grads, alpha)  # (*batch, numbers)
        h, c = _remember(seen(g), memory, alpha)
        moved = scale * (h @ alpha["out.weight"].mT + alpha["out.bias"]).squeeze(-1)
        return _like(_flat(phi, alpha) + moved, phi), (h, c)

    return Rule(f"lstm, width {width}, scale {scale:g}", first, nothing, step)


def meta_lstm(width: int = 20, keep: float = 6.0, take: float = -4.0) -> Rule:
    r"""Return the learned optimiser of Ravi and Larochelle: phi is itself the cell of an LSTM.

    .. math:: \phi_{k+1} = f_k \circ \phi_k - i_k \circ g_k, \qquad
              f_k = \sigma\big(w_f \cdot [h_k, \phi_k, f_{k-1}] + b_f\big), \quad
              i_k = \sigma\big(w_i \cdot [h_k, \phi_k, i_{k-1}] + b_i\big)

    for each number of theta on its own; h is the hidden state of an ordinary LSTM that sees the
    gradients as :func:`lstm` does. Before the first step f is 1 and i is 0.

    Parameters
    ----------
    width : int
        Of h.
    keep, take : float
        Where :math:`b_f` and :math:`b_i` begin: phi is kept, and the rate is small.

    References
    ----------
    Ravi and Larochelle 2017, section 3. Differs from it in that the gates do not see the loss,
    only its gradient. The gradients count as constants there: with ``first_order=True``.
    """

    def first(theta: Params, generator: torch.Generator) -> Params:
        like = next(iter(theta.values()))
        alpha = _first_memory(width, like, generator)
        for gate, bias in (("keep", keep), ("take", take)):
            weight = _uniform((1, width + 2), width, like, generator)
            alpha |= {f"{gate}.weight": 0.1 * weight, f"{gate}.bias": like.new_full((1, 1), bias)}
        return alpha

    def step(
        phi: Params, grads: Params, state: tuple[Memory, Tensor, Tensor] | None, alpha: Params
    ) -> tuple[Params, tuple[Memory, Tensor, Tensor]]:
        p, g = _flat(phi, alpha), _flat(grads, alpha)
        memory, f, i = state or (None, torch.ones_like(p), torch.zeros_like(p))
        h, c = _remember(seen(g), memory, alpha)
        f, i = (
            torch.sigmoid(torch.cat([h, torch.stack([p, gate], -1)], -1)
                          @ alpha[f"{name}.weight"].mT + alpha[f"{name}.bias"]).squeeze(-1)
            for name, gate in (("keep", f), ("take", i))
        )
        return _like(f * p - i * g, phi), ((h, c), f, i)

    return Rule(f"meta-lstm, width {width}", first, nothing, step)


def seen(g: Tensor) -> Tensor:
    r"""Return the pair that an LSTM sees of a gradient, ``(...)`` to ``(..., 2)``.

    .. math:: \big(\tfrac{\log |g|}{p}, \operatorname{sign} g\big) \text{ where } |g| \ge e^{-p},
              \qquad (-1, e^p g) \text{ elsewhere}
    """
    least = math.exp(-P)
    size = g.abs().clamp(min=least).log() / P
    return torch.stack([size, torch.where(g.abs() < least, g / least, g.sign())], dim=-1)


def _first_memory(width: int, like: Tensor, generator: torch.Generator) -> Params:
    """Draw an LSTM's weights as ``nn.LSTMCell`` does: input, forget, cell, output gate."""
    return {
        "input.weight": _uniform((4 * width, 2), width, like, generator),
        "hidden.weight": _uniform((4 * width, width), width, like, generator),
        "bias": _uniform((1, 4 * width), width, like, generator),
    }


def _remember(x: Tensor, memory: Memory | None, alpha: Params) -> Memory:
    """Take an LSTM's step for every number: ``(*batch, numbers, 2)`` and its memory."""
    gates = x @ alpha["input.weight"].mT + alpha["bias"]
    if memory is not None:
        gates = gates + memory[0] @ alpha["hidden.weight"].mT
    i, f, new, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(i) * torch.tanh(new)
    if memory is not None:
        c = c + torch.sigmoid(f) * memory[1]
    return torch.sigmoid(o) * torch.tanh(c), c


def _uniform(
    size: tuple[int, ...], width: int, like: Tensor, generator: torch.Generator
) -> Tensor:
    drawn = torch.rand(size, generator=generator, dtype=like.dtype, device=like.device)
    return (2 * drawn - 1) / width**0.5


def _flat(params: Params, alpha: Params) -> Tensor:
    """Lay the numbers of every task side by side, ``(*batch, numbers)``."""
    axes = alpha["bias"].ndim - 2
    return torch.cat([p.reshape(*p.shape[:axes], -1) for p in params.values()], dim=-1)


def _like(flat: Tensor, params: Params) -> Params:
    """Cut ``(*batch, numbers)`` into the shapes of `params`."""
    axes = flat.ndim - 1
    sizes = [p.shape[axes:].numel() for p in params.values()]
    parts = zip(params.items(), flat.split(sizes, dim=-1))
    return {name: part.reshape(p.shape) for (name, p), part in parts}
