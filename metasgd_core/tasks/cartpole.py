"""CartPole as a family of tasks: other poles, swapped controls, a side that only the reward knows.

The physics are those of gymnasium's ``CartPole-v1``, number for number, for all tasks and episodes
at once and on any device. Of gymnasium itself nothing is needed to run them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from metasgd_core.models import MLP, predict
from metasgd_core.policy_gradient import PolicyFamily, PolicyGradient, check_policy, play
from metasgd_core.tasks.ranges import Range, check_range, draw
from metasgd_core.types import Params, Trajectories, check_count

#: Seconds a step.
STEP = 0.02
#: An episode ends beyond this position (m) or this angle (rad).
LIMITS = (2.4, 12 * 2 * pi / 360)
#: A state starts with all four numbers uniform between minus and plus this.
START = 0.05
#: What the policy sees is the state times this: 0.2 rad is the angle's whole range.
SEEN = (1.0, 1.0, 5.0, 1.0)


class CartPoleTasks(NamedTuple):
    """Carts with their poles; each tensor has the shape of the batch.

    Attributes
    ----------
    length : Tensor
        Half the pole's length, in m (gymnasium's number).
    masspole, masscart : Tensor
        In kg.
    force : Tensor
        What action 1 pushes with, in N; action 0 pushes the other way. Negative: left and right
        are swapped.
    gravity : Tensor
        In m/s².
    side : Tensor
        0: every step is rewarded. +1 or -1: only steps that end on this side of the middle are.
    """

    length: Tensor
    masspole: Tensor
    masscart: Tensor
    force: Tensor
    gravity: Tensor
    side: Tensor

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the state 0.02 s later (Euler's method, as in gymnasium).

        Parameters
        ----------
        state : Tensor
            ``(*batch, episodes, 4)``: position (m), velocity (m/s), angle (rad, 0 is upright),
            angular velocity (rad/s).
        action : Tensor
            ``(*batch, episodes)``: 0 or 1.

        References
        ----------
        Barto, Sutton, Anderson 1983; Florian 2007, equations 23 and 24, without friction.
        """
        length, masspole, masscart, force, gravity = (part.unsqueeze(-1) for part in self[:5])
        total, moment = masspole + masscart, masspole * length
        _, velocity, angle, spin = state.unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        push = torch.where(action > 0, force, -force)
        temp = (push + moment * spin.square() * sin) / total
        angular = (gravity * sin - cos * temp) / (
            length * (4.0 / 3.0 - masspole * cos.square() / total)
        )
        linear = temp - moment * angular * cos / total
        return state + STEP * torch.stack((velocity, linear, spin, angular), dim=-1)

    def reward(self, after: Tensor) -> Tensor:
        r"""Return what the steps into the states `after` brought, ``(*batch, episodes, steps)``.

        Without a side 1 for every step, also the one that falls (as in gymnasium). With a side
        :math:`\sigma` 1 if the pole still stands and :math:`\sigma x > 0`.
        """
        side = self.side[..., None, None]
        there = (side * after[..., 0] > 0) & ~fell(after)
        return ((side == 0) | there).to(after.dtype)


@dataclass(frozen=True)
class CartPole(PolicyFamily):
    """A distribution over CartPoles, and the policy that meets them.

    ``CartPole()`` is one task, gymnasium's ``CartPole-v1``. Ranges make a family of it.

    Parameters
    ----------
    model : nn.Module
        The policy: 4 observations in, 2 logits out (push left, push right).
    length, masspole, masscart, force, gravity : pair of float
        Lowest and highest value; equal ends fix the value.
    swapped : bool
        Whether each task's force is negative with probability one half.
    secret_side : bool
        Whether each task rewards one side only, drawn with probability one half. The policy does
        not see which.
    horizon : int
        Steps after which an episode is cut off.
    greedy : bool
        Whether the policy takes its likelier action instead of drawing one. For scoring only: no
        gradient can be estimated from it.
    objective : PolicyGradient
        How a loss is made of the episodes.

    Raises
    ------
    ValueError
        If a range is not two finite numbers in order, a length or a mass is not positive, the
        horizon is not a positive whole number, or the policy has other inputs or outputs.

    References
    ----------
    Barto, Sutton, Anderson 1983; Brockman et al. 2016 (arXiv:1606.01540). Differs from gymnasium
    in what the policy sees: the angle is multiplied by 5, because 0.2 rad is its whole range.
    """

    model: nn.Module = field(default_factory=lambda: MLP((4, 64, 2), "tanh"))
    length: Range = (0.5, 0.5)
    masspole: Range = (0.1, 0.1)
    masscart: Range = (1.0, 1.0)
    force: Range = (10.0, 10.0)
    gravity: Range = (9.8, 9.8)
    swapped: bool = False
    secret_side: bool = False
    horizon: int = 500
    greedy: bool = False
    objective: PolicyGradient = field(default_factory=PolicyGradient)

    def __post_init__(self) -> None:
        for name in CartPoleTasks._fields[:5]:
            check_range(name, getattr(self, name), positive=name in CartPoleTasks._fields[:3])
        check_count("horizon", self.horizon)
        check_policy(self.model, 4, 2)

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> CartPoleTasks:
        """Draw carts, independent along every axis of `batch`.

        Raises
        ------
        ValueError
            If an axis of `batch` is not a positive whole number.
        """
        for size in batch:
            check_count("the number of tasks", size)
        dtype = next(self.model.parameters()).dtype

        def sign() -> Tensor:
            u = torch.rand(batch, generator=generator, device=generator.device, dtype=dtype)
            return torch.where(u < 0.5, -1.0, 1.0).to(dtype)

        physics = {
            name: draw(getattr(self, name), batch, generator, dtype)
            for name in CartPoleTasks._fields[:5]
        }
        if self.swapped:
            physics["force"] = physics["force"] * sign()
        side = sign() if self.secret_side else torch.zeros_like(physics["force"])
        return CartPoleTasks(**physics, side=side)

    def logits(self, phi: Params, observation: Tensor) -> Tensor:
        """Return how much the policy prefers action 1: the logit of its probability.

        Parameters
        ----------
        phi : Params
            Leaves ``(*batch, *shape)``.
        observation : Tensor
            ``(*batch, shots, 4)``, as the environment gives it.

        Returns
        -------
        Tensor
            ``(*batch, shots)``.
        """
        scale = torch.tensor(SEEN, dtype=observation.dtype, device=observation.device)
        left, right = predict(self.model, phi, observation * scale).unbind(-1)
        return right - left

    def sample_data(
        self, tasks: CartPoleTasks, phi: Params, shots: int, *, generator: torch.Generator
    ) -> Trajectories:
        """Play `shots` episodes in every task with the policy `phi`.

        Parameters
        ----------
        tasks : CartPoleTasks
            With tensors of shape ``batch``.
        phi : Params
            Leaves ``(*batch, *shape)``; no gradient flows to them from here.

        Returns
        -------
        Trajectories
            Actions are 0 and 1, with no axis of their own.

        Raises
        ------
        ValueError
            If `shots` is not a positive whole number, or a length or mass is not positive, or any
            physics not finite.
        """
        check_count("shots", shots)
        for name, part in tasks._asdict().items():
            low = 0.0 if name in ("length", "masspole", "masscart") else -torch.inf
            possible = (part > low) & part.isfinite()
            if not bool(possible.all()):
                wrong = float(part[~possible][0])
                raise ValueError(
                    f"a CartPole cannot have {name} = {wrong}: it must be finite"
                    + (" and positive" if low == 0.0 else "")
                )
        like = tasks.length
        size = (*like.shape, shots)
        state = draw((-START, START), (*size, 4), generator, like.dtype)
        # All the chances at once: how many are drawn does not depend on when episodes end.
        chance = draw((0.0, 1.0), (self.horizon, *size), generator, like.dtype).logit()

        def act(state: Tensor, t: int) -> Tensor:
            return self.logits(phi, state) > (0.0 if self.greedy else chance[t])

        def step(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            after = tasks.step(state, action)
            return after, fell(after)

        return play(state, self.horizon, act, step, tasks.reward)

    def log_prob(self, phi: Params, data: Trajectories) -> Tensor:
        """Return log pi(a_t | s_t) of the actions taken, ``(*batch, episodes, steps)``."""
        flat = self.logits(phi, data.observation.flatten(-3, -2))
        return logsigmoid((2 * data.action - 1) * flat.unflatten(-1, data.action.shape[-2:]))


def fell(state: Tensor) -> Tensor:
    """Return whether the cart has left the track or the pole has fallen, ``(*batch, episodes)``."""
    position, angle = LIMITS
    return (state[..., 0].abs() > position) | (state[..., 2].abs() > angle)
