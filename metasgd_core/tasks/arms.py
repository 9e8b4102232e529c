"""Three arms to pull, one of them safe: what the first pulls try decides what can be learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metasgd_core.models import predict
from metasgd_core.policy_gradient import PolicyFamily, PolicyGradient, play
from metasgd_core.tasks.ranges import draw
from metasgd_core.types import Params, Trajectories, check_count, check_number


class ArmsTasks(NamedTuple):
    """Which of the two risky arms pays; the tensor has the shape of the batch.

    Attributes
    ----------
    good : Tensor
        1 or 2.
    """

    good: Tensor


class Preferences(nn.Module):
    """A policy without eyes: one logit an arm, whatever is seen.

    Input ``(*batch, shots, 1)``, output ``(*batch, shots, 3)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))

    def first_parameter(self, name: str, generator: torch.Generator) -> Tensor:
        """Return the logits as they are: nothing is drawn."""
        return self.logits.detach()

    def forward(self, seen: Tensor) -> Tensor:
        """Return the logits, once for each row."""
        return self.logits.expand(*seen.shape[:-1], 3)


@dataclass(frozen=True)
class Arms(PolicyFamily):
    """Arm 0 always pays `safe`. Of arms 1 and 2 one pays 1 and the other -1, and nobody says which.

    Before anything is known the safe arm is best, and its pulls teach nothing. To find the arm that
    pays 1, the first episodes have to pull what is worse on average.

    Parameters
    ----------
    model : nn.Module
        Three logits.
    safe : float
        From 0 to 1.
    horizon : int
        Pulls of an episode.
    objective : PolicyGradient
        How a loss is made of the episodes.

    Raises
    ------
    ValueError
        If `safe` is not a number from 0 to 1 or the horizon not a positive whole number.
    """

    model: nn.Module = field(default_factory=Preferences)
    safe: float = 0.5
    horizon: int = 2
    objective: PolicyGradient = field(
        default_factory=lambda: PolicyGradient(discount=1.0, normalize=False)
    )

    def __post_init__(self) -> None:
        check_number("safe", self.safe)
        if not 0 <= self.safe <= 1:
            raise ValueError(f"safe must be from 0 to 1, what the risky arms pay, got {self.safe}")
        check_count("horizon", self.horizon)

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> ArmsTasks:
        """Draw which arm pays, independent along every axis of `batch`.

        Raises
        ------
        ValueError
            If an axis of `batch` is not a positive whole number.
        """
        for size in batch:
            check_count("the number of tasks", size)
        dtype = next(self.model.parameters()).dtype
        return ArmsTasks(torch.where(draw((0.0, 1.0), batch, generator, dtype) < 0.5, 1.0, 2.0))

    def sample_data(
        self, tasks: ArmsTasks, phi: Params, shots: int, *, generator: torch.Generator
    ) -> Trajectories:
        """Play `shots` episodes in every task with the policy `phi`.

        Returns
        -------
        Trajectories
            Actions are 0, 1 and 2, with no axis of their own; what is observed is the last one.

        Raises
        ------
        ValueError
            If `shots` is not a positive whole number.
        """
        check_count("shots", shots)
        size = (*tasks.good.shape, shots)
        dtype = next(self.model.parameters()).dtype
        chance = draw((0.0, 1.0), (self.horizon, *size), generator, dtype)

        def act(seen: Tensor, t: int) -> Tensor:
            below = predict(self.model, phi, seen).softmax(-1).cumsum(-1)[..., :2]
            return (chance[t].unsqueeze(-1) > below).sum(-1)

        def step(seen: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            return action.to(dtype).unsqueeze(-1), torch.zeros_like(action, dtype=torch.bool)

        def reward(after: Tensor) -> Tensor:
            pulled, good = after[..., 0], tasks.good[..., None, None]
            risky = torch.where(pulled == good, 1.0, -1.0).to(dtype)
            return torch.where(pulled == 0, self.safe, risky)

        nothing = torch.zeros(*size, 1, dtype=dtype, device=tasks.good.device)
        return play(nothing, self.horizon, act, step, reward)

    def log_prob(self, phi: Params, data: Trajectories) -> Tensor:
        """Return log pi(a_t) of the arms that were pulled, ``(*batch, episodes, steps)``."""
        logits = predict(self.model, phi, data.observation.flatten(-3, -2)).log_softmax(-1)
        pulled = data.action.flatten(-2).long().unsqueeze(-1)
        return logits.gather(-1, pulled).squeeze(-1).unflatten(-1, data.action.shape[-2:])
