"""How many queries of new episodes are told right: what the studies of few-shot images measure.

Episodes come from a seed and from nothing else: all methods and all training seeds meet the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from metasgd_core.adaptation import per_task
from metasgd_core.alpha import share_alpha
from metasgd_core.methods import FINE_TUNING, Method
from metasgd_core.readers import learner
from metasgd_core.studies import generator
from metasgd_core.tasks.images import Images, score_alone
from metasgd_core.types import Data, Params, take

#: Test episodes, queries of each character, and so many episodes at once.
EPISODES, TEST_QUERIES, AT_ONCE = 600, 15, 10
#: Inner steps after which the test looks.
STEPS = (0, 1, 3, 5)
#: Fine-tuning is tried at so many rates, and looked at after so many steps.
FINE_RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
FINE_STEPS = (1, 2, 5, 10, 20, 50)
#: Seeds of the episodes: to choose settings on, and to report on.
VALIDATION, TEST = 1000, 2000


def draw(tasks: Images, shots: int, episodes: int, seed: int) -> Iterator[tuple[Data, Data]]:
    """Draw support and query of episodes, ten at a time."""
    random = generator(seed)
    for _ in range(episodes // AT_ONCE):
        drawn = tasks.sample_tasks(AT_ONCE, generator=random)
        data = tasks.sample_data(drawn, None, shots + TEST_QUERIES, generator=random)
        yield take(data, 1, 0, shots), take(data, 1, shots, TEST_QUERIES)


@torch.no_grad()
def right(
    tasks: Images, theta: Params, alpha: Params | float, method: Method, *, shots: int,
    steps: tuple[int, ...] = STEPS, episodes: int = EPISODES, seed: int = TEST,
    alone: bool = True,
) -> dict[str, Tensor]:
    """Count the queries that are told right after some inner steps, or after reading.

    Parameters
    ----------
    tasks : Images
        Of characters that were not trained on.
    theta, alpha : Params
        Leaves ``(seeds, *shape)``; alpha may be one number.
    method : Method
        How to adapt: by which rule, or by reading. One that reads is looked at after that.
    shots : int
        Drawings of each character in the support; in the query there are 15.
    steps : tuple of int
        When to look, ascending.
    episodes : int
        Tens of them.
    seed : int
        Of the episodes.
    alone : bool
        Whether to look also at each query beside the support only.

    Returns
    -------
    dict of str to Tensor
        ``"1 steps"`` with all queries of an episode together, ``"1 steps, alone"``, and so on: how
        many of the ``15 * ways`` queries, uint8 or int16, ``(seeds, episodes)``.
    """
    learn = learner(tasks.model, method)
    batch = (len(next(iter(theta.values()))), AT_ONCE)
    start, shared = per_task(theta, batch), share_alpha(theta, alpha, batch)
    found: dict[str, list[Tensor]] = {}
    for episode in draw(tasks, shots, episodes, seed):
        support, query = (Data(*(leaf.expand(batch[0], *leaf.shape) for leaf in part))
                          for part in episode)  # fmt: skip
        phi, done = start, 0
        for step in (1,) if method.reads else steps:
            phi = learn(tasks.loss, phi, shared, support, steps=step - done, first_order=True)
            done = step
            scores = {f"{step} steps": tasks.score(phi, query)}
            if alone and step:
                scores[f"{step} steps, alone"] = score_alone(tasks, phi, support, query)
            for name, score in scores.items():
                found.setdefault(name, []).append((TEST_QUERIES * tasks.ways * score).round())
    return {name: _small(torch.cat(parts, -1), tasks) for name, parts in found.items()}


def by_steps(found: dict[str, Tensor]) -> dict[int, Tensor]:
    """Return what `right` found with all queries together, by the number of steps, if any."""
    parts = {name.partition(" steps"): part for name, part in found.items()}
    return {int(n): part for (n, steps, rest), part in parts.items()
            if steps and not rest and n != "0"}  # fmt: skip


def new_head(theta: Params, model: nn.Module) -> Params:
    """Return theta under a last layer of zeros, which prefers no class."""
    runs = next(iter(theta.values())).shape[:1]
    return {name: theta[name] if name.startswith("convs") else p.new_zeros(*runs, *p.shape)
            for name, p in model.named_parameters()}  # fmt: skip


def best_pair(tasks: Images, theta: Params, *, shots: int, episodes: int) -> tuple[float, int]:
    """Choose fine-tuning's rate and number of steps by what all seeds tell right together."""
    tried = {
        (rate, step): part.double().mean().item()
        for rate in FINE_RATES
        for step, part in by_steps(right(
            tasks, theta, rate, FINE_TUNING, shots=shots, steps=FINE_STEPS, episodes=episodes,
            seed=VALIDATION, alone=False,
        )).items()
    }  # fmt: skip
    return max(tried, key=lambda pair: tried[pair])


def nearest(tasks: Images, *, shots: int, episodes: int = EPISODES, seed: int = TEST) -> Tensor:
    """Count the queries whose nearest drawing of the support is of their class, ``(episodes,)``.

    Near is what has the greatest cosine, over the pixels.
    """
    found = []
    for support, query in draw(tasks, shots, episodes, seed):
        known, new = (normalize(part.x.flatten(-3).flatten(1, 2), dim=-1)
                      for part in (support, query))  # fmt: skip
        told = support.y.flatten(1).gather(1, (new @ known.mT).argmax(-1))
        found.append((told == query.y.flatten(1)).sum(-1))
    return _small(torch.cat(found), tasks)


def _small(counts: Tensor, tasks: Images) -> Tensor:
    return counts.to(torch.uint8 if TEST_QUERIES * tasks.ways < 256 else torch.int16)
