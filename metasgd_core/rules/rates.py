"""Rules that differ from Meta-SGD in their rates: of a tensor, of a step, or made on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from metasgd_core.rules.base import Rule
from metasgd_core.types import Params


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

    return Rule("momentum", first, _zeros, step)


def adam(
    rate: float = 0.01, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> Rule:
    r"""Return Adam with a learned rate for every tensor.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
              v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
              \phi \leftarrow \phi - \alpha \frac{m / (1 - \beta_1^k)}
              {\sqrt{v / (1 - \beta_2^k) + \epsilon^2}}

    References
    ----------
    Kingma and Ba 2015 (arXiv:1412.6980), algorithm 1. Differs from it in that epsilon stands
    inside the root. The derivative of :math:`\sqrt v` is infinite at 0, where every entry is whose
    gradients were all 0 (behind a dead ReLU), and times the 0 of :math:`\partial v / \partial g` it
    makes the whole meta-gradient NaN.
    """

    def first(theta: Params, generator: torch.Generator) -> Params:
        return {n: p.new_full((1,) * p.ndim, rate) for n, p in theta.items()}

    def step(
        phi: Params, grads: Params, state: tuple[int, Params, Params], alpha: Params
    ) -> tuple[Params, tuple[int, Params, Params]]:
        (k, m, v), (b1, b2) = state, betas
        k += 1
        m = {n: b1 * m[n] + (1 - b1) * g for n, g in grads.items()}
        v = {n: b2 * v[n] + (1 - b2) * g.square() for n, g in grads.items()}
        root = {n: (v[n] / (1 - b2**k) + eps**2).sqrt() for n in v}
        return {n: p - alpha[n] * m[n] / (1 - b1**k) / root[n] for n, p in phi.items()}, (k, m, v)

    def start(theta: Params) -> tuple[int, Params, Params]:
        return 0, _zeros(theta), _zeros(theta)

    return Rule(f"adam, betas {betas}, eps {eps:g}", first, start, step)


def rate_a_step(steps: int, rate: float = 0.01) -> Rule:
    r"""Return descent with a rate for every tensor and every step, as in MAML++.

    .. math:: \phi_{k+1} = \phi_k - \alpha_k \, g_k

    Steps beyond `steps` go on with the last one's rates. MAML++ trains them by the objective
    ``"steps"``, the loss after each step.

    References
    ----------
    Antoniou, Edwards, Storkey 2019 (arXiv:1810.09502), section 4 ("LSLR").
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


def alfa(steps: int, rate: float = 0.01, decay: float = 5e-4) -> Rule:
    r"""Return ALFA: a small network makes each tensor's rate and decay from what it sees.

    .. math:: \phi_{k+1} = (1 - \hat\beta \beta_k) \, \phi_k - \hat\alpha \alpha_k \, g_k, \qquad
              (\hat\alpha, \hat\beta) = h(\bar\phi_k, \bar g_k)

    with the mean of every tensor of phi and of its gradient, :math:`\bar\phi` and :math:`\bar g`.
    The factors :math:`\alpha_k` and :math:`\beta_k` of every tensor and step are learned, too.

    References
    ----------
    Baik et al. 2020 (arXiv:2011.00209), section 3.3. Differs from it in that h has two layers, as
    in the published code, and begins at 1 whatever it sees: the first steps are plain descent with
    `rate`, and a decay of `rate` times `decay`.
    """

    def first(theta: Params, generator: torch.Generator) -> Params:
        size, like = 2 * len(theta), next(iter(theta.values()))
        drawn = torch.rand(size, size, generator=generator, dtype=like.dtype, device=like.device)
        factors = {"alpha": rate, "beta": rate * decay}
        return {
            "h.0.weight": (2 * drawn - 1) / size**0.5, "h.0.bias": like.new_zeros(1, size),
            "h.1.weight": like.new_zeros(size, size), "h.1.bias": like.new_ones(1, size),
        } | {f"{part}.{k}": like.new_full((1, len(theta)), value)
             for part, value in factors.items() for k in range(steps)}  # fmt: skip

    def step(phi: Params, grads: Params, k: int, alpha: Params) -> tuple[Params, int]:
        axes, now = alpha["h.0.bias"].ndim - 2, min(k, steps - 1)
        seen = [p.reshape(*p.shape[:axes], -1).mean(-1) for part in (phi, grads)
                for p in part.values()]  # fmt: skip
        h = torch.stack(seen, -1).unsqueeze(-2)  # (*batch, 1, numbers)
        h = torch.relu(h @ alpha["h.0.weight"].mT + alpha["h.0.bias"])
        made = h @ alpha["h.1.weight"].mT + alpha["h.1.bias"]
        factors = torch.cat([alpha[f"alpha.{now}"], alpha[f"beta.{now}"]], -1)
        of = (made * factors).squeeze(-2).unbind(-1)  # a rate, then a decay, of every tensor
        rates, decays = (dict(zip(phi, part)) for part in (of[: len(phi)], of[len(phi) :]))
        return {
            n: (1 - _as_wide(decays[n], p)) * p - _as_wide(rates[n], p) * grads[n]
            for n, p in phi.items()
        }, k + 1

    return Rule(f"alfa, {steps} steps", first, lambda theta: 0, step)


def _zeros(theta: Params) -> Params:
    return {n: torch.zeros_like(p) for n, p in theta.items()}


def _as_wide(number: Tensor, p: Tensor) -> Tensor:
    """Give a number a task, ``(*batch,)``, the axes of the tensor that it belongs to."""
    return number.reshape(number.shape + (1,) * (p.ndim - number.ndim))
