"""The guesser of chapter 17's figure: it learns a player's habits, one step every ten rounds.

Matching pennies: it wins a round if both coins show the same. Five logits say how likely it holds
the other's C (heads) after what it has seen, and it shows what it holds likelier.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from metasgd_core.adaptation import adapt
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study
from metasgd_core.tasks.games import SEEN
from metasgd_core.types import Data, Params

#: Rounds between two steps, and steps of a game in training and test.
ROUNDS, STEPS = 10, 10
SEEDS, PLAYERS, ITERATIONS, TEST_PLAYERS = 5, 32, 300, 1000
#: Outer rate and first inner rate; nothing was chosen among others.
OUTER, INNER = 0.05, 5.0
#: How far the logits of a player's habits spread.
SPREAD = 1.5
FIRST, TRAINING, TEST = 0, 1, 2000


def loss(phi: Params, data: Data) -> Tensor:
    """Return minus the mean log-probability of the other's moves, ``(*batch,)``.

    Parameters
    ----------
    phi : Params
        ``logits``, ``(*batch, 5)``.
    data : Data
        What was seen before each round, ``(*batch, rounds, 5)`` with one 1 in each row, and whether
        the other then played C, ``(*batch, rounds)`` of 0 and 1.
    """
    logit = (data.x @ phi["logits"].unsqueeze(-1)).squeeze(-1)
    return -logsigmoid((2 * data.y - 1) * logit).mean(-1)


def habits(*size: int, random: torch.Generator) -> Tensor:
    """Draw players: how likely each plays C after what the *guesser* has seen, ``(*size, 5)``."""
    return (SPREAD * torch.randn(*size, 5, generator=random)).sigmoid()


def play(
    theta: Tensor, alpha: Tensor | float, players: Tensor, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Play `STEPS` times `ROUNDS` rounds, with a step after each ten.

    Parameters
    ----------
    theta, alpha, players : Tensor
        ``(*batch, 5)``; with an alpha of 0 the guesser stays what it is.

    Returns
    -------
    losses, hits : Tensor
        ``(*batch, STEPS)``: of each ten rounds, under the logits that were used in them, and the
        share that was guessed right.
    """
    seen, phi = torch.zeros(players.shape[:-1], dtype=torch.long), {"logits": theta}
    losses, hits = [], []
    for _ in range(STEPS):
        before, moves, right = [], [], []
        for _ in range(ROUNDS):
            likely, logit = (one.gather(-1, seen.unsqueeze(-1)).squeeze(-1)
                             for one in (players, phi["logits"].detach()))  # fmt: skip
            move, guess = torch.rand(seen.shape, generator=random) < likely, logit >= 0
            before.append(one_hot(seen, len(SEEN)).to(theta.dtype))
            moves.append(move.to(theta.dtype))
            right.append((move == guess).to(theta.dtype))
            seen = 4 - 2 * guess.long() - move.long()
        data = Data(torch.stack(before, -2), torch.stack(moves, -1))
        losses.append(loss(phi, data))
        hits.append(torch.stack(right).mean(0))
        phi = adapt(loss, phi, {"logits": alpha} if isinstance(alpha, Tensor) else alpha, data)
    return torch.stack(losses, -1), torch.stack(hits, -1)


def work(job: Job) -> Stored:
    """Learn start and rates of five seeds against players with habits.

    ``theta`` and ``alpha`` ``(seeds, 5)``; ``hits``, ``fixed`` and ``coin`` ``(seeds, STEPS)``: the
    share guessed right in each ten rounds, means over players held out; of the start that never
    steps; and against players who toss a coin.
    """
    theta = 0.1 * torch.randn(SEEDS, 1, 5, generator=generator(FIRST))
    log_alpha = torch.full_like(theta, INNER).log().requires_grad_()
    adam = torch.optim.Adam([theta.requires_grad_(), log_alpha], lr=OUTER)
    random, iterations = generator(TRAINING), 2 if job.quick else ITERATIONS
    for done in range(iterations):
        players = habits(SEEDS, PLAYERS, random=random)
        losses, _ = play(theta.expand_as(players), log_alpha.exp(), players, random)
        adam.zero_grad()
        losses.mean((-2, -1)).sum().backward()
        adam.step()
        job.tell(0.9 * (done + 1) / iterations)
    found = {"theta": theta.detach()[:, 0], "alpha": log_alpha.detach().exp()[:, 0]}
    everyone = habits(10 if job.quick else TEST_PLAYERS, random=generator(TEST))
    everyone = everyone.expand(SEEDS, -1, -1)
    start, rates = theta.detach().expand_as(everyone), log_alpha.detach().exp()
    with torch.no_grad():
        for name, alpha, players in (
            ("hits", rates, everyone), ("fixed", 0.0, everyone),
            ("coin", rates, torch.full_like(everyone, 0.5)),
        ):
            _, hits = play(start, alpha, players, generator(TEST + 1))
            found[name] = hits.mean(1)
    return Stored(found, {})


def summary(found: Stored) -> str:
    """Return the shares guessed right in the first ten rounds and in the last."""
    return "\n".join(
        f"{name:6} {float(hits[:, 0].mean()):.3f} {float(hits[:, -1].mean()):.3f}"
        for name in ("hits", "fixed", "coin") for hits in [found.tensors[f"guesser/{name}"]]
    )  # fmt: skip


STUDIES = {
    "figure-guesser": Study(
        "the guesser of the page, against players with habits", "seconds", ("guesser",), work,
        summary,
    )
}
