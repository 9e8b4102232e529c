"""Repeated games of two players with two moves each: a task is an opponent.

Both players remember the round before. The return of such a game is a small linear system, so what
a policy earns is known exactly, without playing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, one_hot

from metasgd_core.models import predict
from metasgd_core.policy_gradient import PolicyFamily, PolicyGradient, check_policy, play
from metasgd_core.tasks.ranges import draw
from metasgd_core.types import Params, Trajectories, check_count

#: What a player may see: no round yet, or the moves of the last one, its own first. C is the first
#: move (to cooperate), D the second (to defect).
SEEN = ("start", "CC", "CD", "DC", "DD")
#: Where the other player sees what the first one sees.
OTHER = (0, 1, 3, 2, 4)

Matrix = tuple[tuple[float, float], tuple[float, float]]


class Game(NamedTuple):
    """Payoffs of one round, in rows by the first player's move and columns by the other's.

    Attributes
    ----------
    mine, theirs : pair of pair of float
        What the first player gets, and the other.
    """

    mine: Matrix
    theirs: Matrix


#: Both do best together by C, and each does better by D, whatever the other does.
PRISONERS_DILEMMA = Game(((-1.0, -3.0), (0.0, -2.0)), ((-1.0, 0.0), (-3.0, -2.0)))
#: The first player wins when both show the same, the other when they do not.
MATCHING_PENNIES = Game(((1.0, -1.0), (-1.0, 1.0)), ((-1.0, 1.0), (1.0, -1.0)))

#: How often the named opponents play C after what they see; the last one depends on the game.
NAMED = {
    "tit for tat": (1.0, 1.0, 0.0, 1.0, 0.0),
    "always": (1.0, 1.0, 1.0, 1.0, 1.0),
    "never": (0.0, 0.0, 0.0, 0.0, 0.0),
}
KINDS = (*NAMED, "win-stay", "mixture")


def payoffs(mine: Tensor, theirs: Tensor, game: Game, discount: float) -> Tensor:
    r"""Return what two players earn a round, exactly.

    The moves of a round are one of four states, and the next round's depend on them alone. With
    the first round's chances :math:`p`, the transitions :math:`P` and the payoffs :math:`r`,

    .. math:: (1 - \gamma) \sum_t \gamma^t\, \mathbb{E}[r_t]
              = (1 - \gamma)\; p^\top (I - \gamma P)^{-1} r.

    Parameters
    ----------
    mine, theirs : Tensor
        ``(*batch, 5)``: how likely each player is to play C after what it sees (`SEEN`, its own
        move first). Batches broadcast; gradients flow to both.
    game : Game
        The payoffs.
    discount : float
        :math:`\gamma`, below 1.

    Returns
    -------
    Tensor
        ``(*batch, 2)``: the first player's payoff a round, the other's.

    References
    ----------
    Press, Dyson 2012; Foerster et al. 2018 (arXiv:1709.04326), section 4.1.
    """
    mine, theirs = torch.broadcast_tensors(mine, theirs[..., OTHER])
    chances = torch.stack(
        (mine * theirs, mine * (1 - theirs), (1 - mine) * theirs, (1 - mine) * (1 - theirs)), -1
    )  # (*batch, seen, the moves that follow)
    first, transitions = chances[..., 0, :], chances[..., 1:, :]
    paid = mine.new_tensor(game).flatten(1).T  # (4, players)
    eye = torch.eye(4, dtype=mine.dtype, device=mine.device)
    worth = torch.linalg.solve(eye - discount * transitions, paid.expand(*mine.shape[:-1], 4, 2))
    return (1 - discount) * (first.unsqueeze(-2) @ worth).squeeze(-2)


class GameTasks(NamedTuple):
    """Opponents.

    Attributes
    ----------
    policy : Tensor
        ``(*batch, 5)``: how likely each is to play C after what it sees (`SEEN`).
    kind : Tensor
        ``(*batch,)``: its place in `KINDS`.
    """

    policy: Tensor
    kind: Tensor


@dataclass(frozen=True)
class Games(PolicyFamily):
    """A repeated game against opponents of five kinds, each as likely.

    Tit for tat begins with C and then plays what the other has just played; one plays C always,
    one never; win-stay keeps a move that paid more than its mean payoff, and changes another; a
    mixture's chances are those of the four in random proportions (uniform on the simplex).

    Parameters
    ----------
    model : nn.Module
        The policy: five inputs, one of them 1 (`SEEN`), and the logit of playing C.
    game : Game
        The payoffs.
    rounds : int
        Rounds of an episode.
    objective : PolicyGradient
        How a loss is made of the episodes. Its discount is that of the exact payoffs, too.

    Raises
    ------
    ValueError
        If the payoffs are not two 2 x 2 matrices of finite numbers, the rounds not a positive whole
        number, the discount not below 1, or the policy has other inputs or outputs.

    References
    ----------
    Axelrod, Hamilton 1981; Imhof, Fudenberg, Nowak 2007 (win-stay).
    """

    score_name = "payoff a round"

    model: nn.Module = field(default_factory=lambda: nn.Linear(5, 1, bias=False))
    game: Game = PRISONERS_DILEMMA
    rounds: int = 50
    objective: PolicyGradient = field(default_factory=lambda: PolicyGradient(discount=0.96))

    def __post_init__(self) -> None:
        sizes = [[len(row) for row in matrix] for matrix in self.game]
        if sizes != [[2, 2], [2, 2]] or not all(
            isfinite(paid) for matrix in self.game for row in matrix for paid in row
        ):
            raise ValueError(
                "a game has two 2 x 2 matrices of finite payoffs, mine and theirs, "
                f"got {tuple(self.game)}"
            )
        check_count("rounds", self.rounds)
        if not self.objective.discount < 1:
            raise ValueError(
                "a game without an end needs a discount below 1, such as "
                f"PolicyGradient(discount=0.96), got {self.objective.discount!r}"
            )
        check_policy(self.model, 5, 1)

    def named(self) -> tuple[tuple[float, ...], ...]:
        """Return the policies of the four named opponents, in the order of `KINDS`."""
        theirs = self.game.theirs
        mean = sum(map(sum, theirs)) / 4
        # What it sees names its own move first; the payoffs name the first player's.
        stays = [theirs[other][own] > mean for own in (0, 1) for other in (0, 1)]
        kept = (float(stay is (own == 0)) for own, stay in zip((0, 0, 1, 1), stays))
        return (*NAMED.values(), (1.0, *kept))

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> GameTasks:
        """Draw opponents, independent along every axis of `batch`.

        Raises
        ------
        ValueError
            If an axis of `batch` is not a positive whole number.
        """
        for size in batch:
            check_count("the number of tasks", size)
        dtype = next(self.model.parameters()).dtype
        named = torch.tensor(self.named(), dtype=dtype, device=generator.device)
        uniform = draw((0.0, 1.0), (*batch, 1 + len(named)), generator, dtype)
        kind = (uniform[..., 0] * len(KINDS)).long().clamp(max=len(named))
        part = -torch.log1p(-uniform[..., 1:])  # exponential: in proportion, uniform on the simplex
        mixture = (part / part.sum(-1, keepdim=True)) @ named
        pure = named[kind.clamp(max=len(named) - 1)]
        return GameTasks(torch.where((kind < len(named)).unsqueeze(-1), pure, mixture), kind)

    def logits(self, phi: Params) -> Tensor:
        """Return the logits of playing C after all that may be seen, ``(*batch, 5)``."""
        name, parameter = next(iter(self.model.named_parameters()))
        like = phi[name]
        batch = like.shape[: like.ndim - parameter.ndim]
        seen = torch.eye(5, dtype=like.dtype, device=like.device).expand(*batch, 5, 5)
        return predict(self.model, phi, seen).squeeze(-1)

    def payoff(self, phi: Params, tasks: GameTasks) -> Tensor:
        """Return the exact payoff a round of `phi` against its opponents, ``(*batch,)``."""
        mine = self.logits(phi).sigmoid()
        return payoffs(mine, tasks.policy, self.game, self.objective.discount)[..., 0]

    def best_response(self, tasks: GameTasks) -> Tensor:
        """Return what nobody can beat against these opponents, ``(*batch,)``.

        To a player who remembers one round a game is a decision process with five states, in which
        some policy without chance is best. There are 32 of them.
        """
        like = tasks.policy
        each = torch.arange(32, device=like.device)
        sure = torch.stack([each >> k & 1 for k in range(5)], -1).to(like.dtype)
        found = payoffs(sure, like.unsqueeze(-2), self.game, self.objective.discount)
        return found[..., 0].amax(-1)

    def sample_data(
        self, tasks: GameTasks, phi: Params, shots: int, *, generator: torch.Generator
    ) -> Trajectories:
        """Play `shots` episodes against every opponent with the policy `phi`.

        Parameters
        ----------
        tasks : GameTasks
            With tensors of shape ``batch``, and what follows.
        phi : Params
            Leaves ``(*batch, *shape)``; no gradient flows to them from here.

        Returns
        -------
        Trajectories
            Observations ``(*batch, episodes, rounds, 5)``, one of them 1; actions 1 (C) and 0.

        Raises
        ------
        ValueError
            If `shots` is not a positive whole number, or an opponent's chance is none.
        """
        check_count("shots", shots)
        like = tasks.policy
        if not bool(((like >= 0) & (like <= 1)).all()):
            wrong = float(like[~((like >= 0) & (like <= 1))][0])
            raise ValueError(f"an opponent's chances must lie between 0 and 1, got {wrong}")
        size = (*like.shape[:-1], shots)
        chance = draw((0.0, 1.0), (self.rounds, 2, *size), generator, like.dtype)
        mine = self.logits(phi).detach().sigmoid().unsqueeze(-2)
        theirs = like[..., OTHER].unsqueeze(-2)
        paid = like.new_tensor(self.game.mine).flatten()
        others = iter(chance[:, 1])

        def act(seen: Tensor, t: int) -> Tensor:
            return chance[t, 0] < (seen * mine).sum(-1)

        def step(seen: Tensor, move: Tensor) -> tuple[Tensor, Tensor]:
            other = next(others) < (seen * theirs).sum(-1)
            after = one_hot(4 - 2 * move.long() - other.long(), 5).to(like.dtype)
            return after, torch.zeros_like(move)

        start = one_hot(torch.zeros(size, dtype=torch.long, device=like.device), 5).to(like.dtype)
        return play(start, self.rounds, act, step, lambda after: after[..., 1:] @ paid)

    def log_prob(self, phi: Params, data: Trajectories) -> Tensor:
        """Return log pi(a_t | s_t) of the moves made, ``(*batch, episodes, rounds)``."""
        logit = (data.observation * self.logits(phi)[..., None, None, :]).sum(-1)
        return logsigmoid((2 * data.action - 1) * logit)

    def score(self, phi: Params, data: Trajectories) -> Tensor:
        """Return the mean discounted payoff a round of each task's episodes, ``(*batch,)``."""
        discount, rounds = self.objective.discount, data.reward.shape[-1]
        weight = discount ** torch.arange(rounds, dtype=data.reward.dtype,
                                          device=data.reward.device)  # fmt: skip
        return (data.reward @ (weight / weight.sum())).mean(-1)


@dataclass(frozen=True)
class ExactGames(Games):
    """The same games, scored by the formula: a scorer for ``evaluate``."""

    def sample_data(self, tasks: GameTasks, phi: Params, shots: int, **_: Any) -> Any:
        """Return the opponents themselves: nothing is played."""
        return tasks

    def score(self, phi: Params, data: Any) -> Tensor:
        """Return the exact payoff a round, ``(*batch,)``."""
        return self.payoff(phi, data)
