"""Navigation in the plane: walk to a goal that only the reward knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, pi
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metasgd_core.models import GaussianMLP, predict
from metasgd_core.policy_gradient import PolicyFamily, PolicyGradient, check_policy, play
from metasgd_core.tasks.ranges import Range, check_range, draw
from metasgd_core.types import Params, Trajectories, check_count

#: The farthest a step goes along either axis.
REACH = 0.1
#: An episode ends when it comes closer than this to its goal.
ARRIVED = 0.01


class NavigationTasks(NamedTuple):
    """Goals in the plane; each tensor has the shape of the batch.

    Attributes
    ----------
    x, y : Tensor
        The goal's coordinates.
    """

    x: Tensor
    y: Tensor

    def distance(self, position: Tensor) -> Tensor:
        """Return how far positions ``(*batch, episodes, 2)`` are from the goal."""
        goal = torch.stack(tuple(self), dim=-1).unsqueeze(-2)
        return (position - goal).norm(dim=-1)


@dataclass(frozen=True)
class Navigation(PolicyFamily):
    """Goals uniform in a square; the policy sees where it is and says how to move.

    An action is a velocity, cut to ±0.1 along each axis; a step adds it to the position. The
    episode ends within 0.01 of the goal.

    Parameters
    ----------
    model : GaussianMLP
        The policy: 2 coordinates in, 2 mean velocities out, in units of the reach (0.1), and the
        logarithms of their standard deviations (of the velocities themselves).
    goal : pair of float
        Range of each coordinate of the goals.
    start : {"origin", "uniform"}
        Where an episode begins: at 0, or uniform in the same square as the goals.
    reward : {"distance", "squared"}
        Minus the distance to the goal after the step, or minus its square.
    horizon : int
        Steps after which an episode is cut off.
    objective : PolicyGradient
        How a loss is made of the episodes.

    Raises
    ------
    ValueError
        If the range is not two finite numbers in order, a name is not listed, the horizon is not
        a positive whole number, or the policy has other inputs or outputs or no ``log_std``.

    References
    ----------
    Finn et al. 2017 (arXiv:1703.03400), section 5.3.1; Li et al. 2017 (arXiv:1707.09835),
    section 4.3. The clipping, the radius and the horizon are those of MAML's published code.
    """

    model: GaussianMLP = field(default_factory=GaussianMLP)
    goal: Range = (-0.5, 0.5)
    start: Literal["origin", "uniform"] = "origin"
    reward: Literal["distance", "squared"] = "distance"
    horizon: int = 100
    objective: PolicyGradient = field(default_factory=PolicyGradient)

    def __post_init__(self) -> None:
        check_range("goal", self.goal)
        for name, allowed in {"start": ("origin", "uniform"),
                              "reward": ("distance", "squared")}.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        check_count("horizon", self.horizon)
        if not isinstance(self.model, GaussianMLP):
            raise ValueError(
                "the policy must be a GaussianMLP, which has a spread for its actions, "
                f"got a {type(self.model).__name__}"
            )
        check_policy(self.model, 2, 2)

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> NavigationTasks:
        """Draw goals, independent along every axis of `batch`.

        Raises
        ------
        ValueError
            If an axis of `batch` is not a positive whole number.
        """
        for size in batch:
            check_count("the number of tasks", size)
        dtype = next(self.model.parameters()).dtype
        return NavigationTasks(
            draw(self.goal, batch, generator, dtype), draw(self.goal, batch, generator, dtype)
        )

    def mean(self, phi: Params, position: Tensor) -> Tensor:
        """Return the mean velocities at positions ``(*batch, shots, 2)``, of the same shape.

        The network's outputs count in units of the reach, as in MAML's published code, where a
        wrapper scales them. One rate then serves all layers; with outputs in plain velocities the
        last layer needs one a hundred times smaller than the others.
        """
        return REACH * predict(self.model, phi, position)

    def sample_data(
        self, tasks: NavigationTasks, phi: Params, shots: int, *, generator: torch.Generator
    ) -> Trajectories:
        """Play `shots` episodes in every task with the policy `phi`.

        Parameters
        ----------
        tasks : NavigationTasks
            With tensors of shape ``batch``.
        phi : Params
            Leaves ``(*batch, *shape)``; no gradient flows to them from here.

        Returns
        -------
        Trajectories
            Actions ``(*batch, episodes, steps, 2)``, before they were cut to the reach.

        Raises
        ------
        ValueError
            If `shots` is not a positive whole number.
        """
        check_count("shots", shots)
        like = tasks.x
        size = (*like.shape, shots, 2)
        if self.start == "origin":
            position = torch.zeros(size, dtype=like.dtype, device=like.device)
        else:
            position = draw(self.goal, size, generator, like.dtype)
        noise = torch.randn(
            self.horizon, *size, generator=generator, dtype=like.dtype, device=generator.device
        )
        return self.walk(tasks, phi, position, noise)

    def walk(
        self, tasks: NavigationTasks, phi: Params, position: Tensor, noise: Tensor
    ) -> Trajectories:
        r"""Play the episodes that begin at a position and shake by this noise.

        .. math:: a_t = \mu_\phi(s_t) + \sigma\, \epsilon_t, \qquad
                  s_{t+1} = s_t + \operatorname{clip}(a_t, \pm 0.1)

        Parameters
        ----------
        position : Tensor
            ``(*batch, episodes, 2)``.
        noise : Tensor
            :math:`\epsilon`, ``(horizon, *batch, episodes, 2)``; an axis of `batch` may be 1.
        """
        spread = phi["log_std"].detach().exp().unsqueeze(-2)

        def act(position: Tensor, t: int) -> Tensor:
            return self.mean(phi, position) + spread * noise[t]

        def step(position: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            after = position + action.clamp(-REACH, REACH)
            return after, tasks.distance(after) < ARRIVED

        def reward(after: Tensor) -> Tensor:
            distance = tasks.distance(after.flatten(-3, -2)).unflatten(-1, after.shape[-3:-1])
            return -distance if self.reward == "distance" else -distance.square()

        return play(position, self.horizon, act, step, reward)

    def log_prob(self, phi: Params, data: Trajectories) -> Tensor:
        r"""Return the log-density of the actions taken, ``(*batch, episodes, steps)``.

        .. math:: -\sum_d \Big[ \tfrac12 \Big(\frac{a_d - \mu_d}{\sigma_d}\Big)^2
                  + \log \sigma_d + \tfrac12 \log 2\pi \Big]
        """
        log_std = phi["log_std"][..., None, None, :]
        mean = self.mean(phi, data.observation.flatten(-3, -2))
        error = (data.action - mean.unflatten(-2, data.action.shape[-3:-1])) / log_std.exp()
        return -(0.5 * error.square() + log_std + 0.5 * log(2 * pi)).sum(-1)

    def divergence(self, before: Params, after: Params, data: Trajectories) -> Tensor:
        r"""Return how far the policy `after` is from `before`, a mean over steps, ``(*batch,)``.

        .. math:: \mathrm{KL}(\pi \,\|\, \pi') = \sum_d \Big[ \log \frac{\sigma'_d}{\sigma_d}
                  + \frac{\sigma_d^2 + (\mu_d - \mu'_d)^2}{2 \sigma'^2_d} - \tfrac12 \Big]
        """
        states = data.observation.flatten(-3, -2)
        (mean, log_std), (other, other_std) = (
            (self.mean(phi, states), phi["log_std"].unsqueeze(-2)) for phi in (before, after)
        )
        apart = (2 * log_std).exp() + (mean - other).square()
        each = (other_std - log_std + 0.5 * apart * (-2 * other_std).exp() - 0.5).sum(-1)
        mask = data.mask.flatten(-2).to(each.dtype)
        return (each * mask).sum(-1) / mask.sum(-1)
