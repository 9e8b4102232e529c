r"""From episodes to a gradient: returns, a baseline, and the losses whose gradients are wanted.

.. math:: \nabla_\phi\, \mathbb{E}_{\tau \sim \pi_\phi}[R(\tau)]
          = \mathbb{E}\Big[ \sum_t A_t\, \nabla_\phi \log \pi_\phi(a_t \mid s_t) \Big]

The families of reinforcement learning share this file. Their loss is a *surrogate*: its value means
nothing (with the settings that are the default it is always 0), its derivatives are what counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from metasgd_core.types import Params, Trajectories

#: Where the advantages differ by less than this part of the largest return, they are all zero: what
#: is left is rounding, and dividing by its spread would make a step out of it.
ROUNDING = 1e-4


def returns_to_go(reward: Tensor, discount: float) -> Tensor:
    r"""Return :math:`G_t = \sum_{k \ge t} \gamma^{k-t} r_k`, along the last axis.

    No value is added for what an episode that was cut off might still have earned.
    """
    total, backwards = torch.zeros_like(reward[..., 0]), []
    for r in reversed(reward.unbind(-1)):
        total = r + discount * total
        backwards.append(total)
    return torch.stack(backwards[::-1], dim=-1)


def leave_one_out(returns: Tensor, mask: Tensor) -> Tensor:
    r"""Return the baseline :math:`b_{i,t}`: the *other* episodes' mean return-to-go at step t.

    .. math:: b_{i,t} = \frac{1}{n_t - 1} \sum_{j \ne i,\; j \text{ still plays}} G_{j,t}

    It knows nothing of what episode i does, so subtracting it leaves the gradient's expectation
    alone. (With episode i in the mean the gradient would shrink by ``1 - 1/n``.) Where no other
    episode still plays it is 0.

    Parameters
    ----------
    returns, mask : Tensor
        ``(*batch, episodes, steps)``.

    References
    ----------
    Greensmith, Bartlett, Baxter 2004; Kool, van Hoof, Welling 2019.
    """
    returns = returns * mask
    others = mask.sum(-2, keepdim=True) - mask.to(returns.dtype)
    return (returns.sum(-2, keepdim=True) - returns) / others.clamp(min=1)


def fitted_to_states(returns: Tensor, data: Trajectories) -> Tensor:
    r"""Return the baseline of MAML's published code: a least-squares fit of the returns-to-go.

    On each coordinate of the state and its square, and on t/100 to the powers 0 to 3, with a ridge
    of 1e-5; for each task by itself. It is fitted to the very returns from which it is subtracted,
    so the gradient's expectation shrinks a little.

    Parameters
    ----------
    returns : Tensor
        ``(*batch, episodes, steps)``.
    data : Trajectories
        The episodes.

    References
    ----------
    Duan et al. 2016 (arXiv:1604.06778), appendix.
    """
    state = data.observation
    t = torch.arange(returns.shape[-1], dtype=state.dtype, device=state.device) / 100
    powers = torch.stack([t**k for k in range(4)], dim=-1)
    features = torch.cat([state, state.square(), powers.expand(*state.shape[:-1], 4)], dim=-1)
    rows = (features * data.mask.unsqueeze(-1)).flatten(-3, -2)
    ridge = 1e-5 * torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    wanted = rows.mT @ (returns * data.mask).flatten(-2).unsqueeze(-1)
    weights = torch.linalg.solve(rows.mT @ rows + ridge, wanted)
    return (features.flatten(-3, -2) @ weights).unflatten(-2, returns.shape[-2:]).squeeze(-1)


@dataclass(frozen=True)
class PolicyGradient:
    r"""Which surrogate stands for the expected return, and with which advantages.

    The three estimators have the same first derivative, and one step needs no more. They differ in
    the second, which the meta-gradient takes through the inner step:

    ========= ============================================================ ======================
    estimator term of step t, with A a constant                            its second derivative
    ========= ============================================================ ======================
    lvc       ``exp(logp_t - stop(logp_t)) A_t``                           biased, steady
    naive     ``logp_t A_t``                                               needs the E-MAML term
    dice      ``(exp(c_t - stop(c_t)) - exp(c_{t-1} - stop(c_{t-1}))) A``  unbiased, noisy
    ========= ============================================================ ======================

    where ``c_t`` is the sum of ``logp_0 … logp_t``. There are two objectives. (I) adapts along the
    gradient of the *exact* expected return: ``dice`` gives its meta-gradient. (II) adapts along the
    gradient from *sampled* episodes, as one does at test: ``naive`` gives its meta-gradient, if the
    outer loop also counts how theta chooses those episodes (``Method.credit_sampling``). ``lvc``
    drops terms of (I) on purpose, and together with the E-MAML term it would count twice.

    These statements hold with ``discount=1`` and ``normalize=False``. Otherwise all three are
    biased, and used because they work.

    Parameters
    ----------
    estimator : {"lvc", "naive", "dice"}
        The surrogate.
    discount : float
        :math:`\gamma`, in (0, 1]. It enters the returns-to-go, without the factor
        :math:`\gamma^t` in front of step t that the gradient of a discounted return would have.
    baseline : bool or "states"
        What is subtracted from the returns-to-go. True: the other episodes' mean; one episode alone
        has none. "states": what :func:`fitted_to_states` says. False: nothing.
    normalize : bool
        True: each task's advantages are shifted and scaled to mean 0 and standard deviation 1 over
        its steps, and the loss is the mean over them, so that a step's length does not depend on
        the size of the rewards. False: as they are, summed over steps, mean over episodes.

    Raises
    ------
    ValueError
        If the estimator or the baseline is another, or the discount is outside (0, 1].

    References
    ----------
    Williams 1992; Rothfuss et al. 2019 (arXiv:1810.06784), lvc; Foerster et al. 2018
    (arXiv:1802.05098) and Farquhar et al. 2019 (arXiv:1909.10549), dice with advantages.
    """

    estimator: Literal["lvc", "naive", "dice"] = "lvc"
    discount: float = 0.99
    baseline: bool | Literal["states"] = True
    normalize: bool = True

    def __post_init__(self) -> None:
        if self.estimator not in ("lvc", "naive", "dice"):
            raise ValueError(
                f'estimator must be "lvc", "naive" or "dice", got {self.estimator!r}'
            )
        if self.baseline not in (True, False, "states"):
            raise ValueError(f'baseline must be True, False or "states", got {self.baseline!r}')
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must be above 0 and at most 1, got {self.discount!r}")

    def advantages(self, data: Trajectories) -> Tensor:
        """Return A_t, ``(*batch, episodes, steps)``, 0 where no step was taken."""
        mask = data.mask.to(data.reward.dtype)
        returns = returns_to_go(data.reward, self.discount)
        if self.baseline == "states":
            advantage = returns - fitted_to_states(returns, data)
        else:
            advantage = returns - leave_one_out(returns, data.mask) if self.baseline else returns
        advantage = advantage * mask
        if not self.normalize:
            return advantage
        over = (-2, -1)
        count = mask.sum(over, keepdim=True)
        centred = (advantage - advantage.sum(over, keepdim=True) / count) * mask
        spread = (centred.square().sum(over, keepdim=True) / count).sqrt()
        tiny = ROUNDING * returns.abs().amax(over, keepdim=True)
        return torch.where(spread > tiny, centred / spread, torch.zeros_like(centred))

    def __call__(self, log_prob: Tensor, data: Trajectories) -> Tensor:
        """Return the loss of each task, ``(*batch,)``: minus the surrogate.

        Parameters
        ----------
        log_prob : Tensor
            ``(*batch, episodes, steps)``: log pi(a_t | s_t) of the actions taken, with a graph to
            the parameters.
        data : Trajectories
            The episodes, collected under the parameters that `log_prob` is taken at.
        """
        advantage = self.advantages(data)
        if self.estimator == "naive":
            terms = log_prob * advantage
        elif self.estimator == "lvc":
            terms = _one(log_prob) * advantage
        else:
            so_far = (log_prob * data.mask).cumsum(-1)
            terms = (_one(so_far) - _one(so_far - log_prob * data.mask)) * advantage
        if self.normalize:
            return -terms.sum((-2, -1)) / data.mask.sum((-2, -1))
        return -terms.sum(-1).mean(-1)


def _one(log_prob: Tensor) -> Tensor:
    """Return 1, whose derivatives are those of the probability relative to itself."""
    return (log_prob - log_prob.detach()).exp()


class PolicyFamily:
    """What the families of reinforcement learning have in common: their loss and their score.

    A family adds how tasks are drawn, how episodes are played, and ``log_prob(phi, data)``.
    """

    on_policy = True
    one_draw = False
    score_name = "mean return"
    higher_is_better = True
    objective: PolicyGradient

    def log_prob(self, phi: Params, data: Trajectories) -> Tensor:
        """Return log pi(a_t | s_t) of the actions taken, ``(*batch, episodes, steps)``."""
        raise NotImplementedError

    def loss(self, phi: Params, data: Trajectories) -> Tensor:
        """Return one loss a task, ``(*batch,)``: see :class:`PolicyGradient`."""
        return self.objective(self.log_prob(phi, data), data)

    def score(self, phi: Params, data: Trajectories) -> Tensor:
        """Return the mean undiscounted return of each task's episodes, ``(*batch,)``."""
        return data.reward.sum(-1).mean(-1)

    def log_likelihood(self, phi: Params, data: Trajectories) -> Tensor:
        """Return the log-probability of all actions of each task together, ``(*batch,)``."""
        return (self.log_prob(phi, data) * data.mask).sum((-2, -1))


def play(
    state: Tensor,
    horizon: int,
    act: Callable[[Tensor, int], Tensor],
    step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    reward: Callable[[Tensor], Tensor],
) -> Trajectories:
    """Play all episodes of all tasks side by side, until the last has ended.

    An episode that has ended stays where it is and is masked; nothing starts again by itself.

    Parameters
    ----------
    state : Tensor
        ``(*batch, episodes, states)``: where the episodes begin.
    horizon : int
        Steps after which they are cut off.
    act : callable
        ``act(state, t) -> (*batch, episodes, ...)``: the actions.
    step : callable
        ``step(state, action) -> (after, ended)``: the next states, and for each episode whether
        this step was its last.
    reward : callable
        ``reward(after) -> (*batch, episodes, steps)``: what the steps brought that led into the
        states ``(*batch, episodes, steps, states)``.

    Returns
    -------
    Trajectories
        With the states as observations, without a graph.
    """
    playing = torch.ones(state.shape[:-1], dtype=torch.bool, device=state.device)
    states, actions, masks = [state], [], []
    with torch.no_grad():
        for t in range(horizon):
            action = act(state, t)
            after, ended = step(state, action)
            state = torch.where(playing.unsqueeze(-1), after, state)
            states.append(state)
            actions.append(action)
            masks.append(playing)
            playing = playing & ~ended
            if not bool(playing.any()):
                break
        axis = playing.ndim
        visited, mask = torch.stack(states, dim=axis), torch.stack(masks, dim=axis)
        steps = len(actions)
        return Trajectories(
            observation=visited.narrow(axis, 0, steps),
            action=torch.stack(actions, dim=axis).to(state.dtype),
            reward=reward(visited.narrow(axis, 1, steps)) * mask,
            mask=mask,
        )


def check_policy(model: nn.Module, observations: int, outputs: int) -> None:
    """Refuse a policy whose inputs or outputs are not those of the environment.

    Raises
    ------
    ValueError
        Naming what the environment needs and what the policy makes of it.
    """
    like = next(model.parameters())
    needed = f"the policy must map {observations} observations to {outputs} outputs"
    try:
        with torch.no_grad():
            shape = model(like.new_zeros(1, observations)).shape
    except RuntimeError as error:
        raise ValueError(f"{needed}; it does not take the observations ({error})") from error
    if shape != (1, outputs):
        raise ValueError(f"{needed}, but gives {tuple(shape[1:])} for one observation")
