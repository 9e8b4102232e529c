"""A policy with memory on the secret side (chapter 15): RL², trained by PPO.

No gradient is taken at the test. A recurrent network sees the state, what it last did and what that
brought, and has to find the side by itself while it plays. A trial is two episodes with one cart,
or more where they end by a fall; its memory lasts from one to the next.

After three million steps some seeds still let the pole fall on one side, or drift away after the
100 steps that an episode of the training has: one row stops there. How long to train was chosen
with other seeds and other carts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.evaluation import t_interval
from metasgd_core.meta_training import Record
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study, together
from metasgd_core.tasks.cartpole import START, CartPole, CartPoleTasks, fell
from metasgd_core.tasks.ranges import draw

TRIALS, STEPS, HORIZON, ITERATIONS = 64, 200, 100, 600  # 7.7 million steps
LR, FINAL_LR, DISCOUNT, TRACE, EPOCHS, CLIP, ENTROPY = 2e-3, 0.1, 0.99, 0.95, 4, 0.2, 0.005
SEEDS = range(20, 25)
TEST_CARTS, TEST_HORIZON, EPISODES, TEST = 100, 500, 3, 2000
#: Within the first episode the reward is looked at in such parts, in steps.
PARTS = (20, 40, 100, 500)


@dataclass(frozen=True)
class Row:
    """One way to train.

    Parameters
    ----------
    memory : bool
        Whether there is a recurrent layer. Without it the policy still sees what it last did and
        what that brought.
    position : float
        What the cart's position is multiplied by before the network sees it.
    signed : bool
        Whether the network sees the last reward as -1 or 1, and not as 0 or 1.
    iterations : int
        Of the training.
    seeds : int
        Trainings.
    """

    memory: bool = True
    position: float = 10.0
    signed: bool = True
    iterations: int = ITERATIONS
    seeds: int = 5


ROWS = {
    "memory": Row(),
    "no memory": Row(memory=False),
    "a shorter training": Row(iterations=235),
    "position as it is": Row(position=1.0, seeds=3),
    "reward 0 or 1": Row(signed=False, seeds=3),
    "both as they are": Row(position=1.0, signed=False, seeds=3),
}
JOBS = {f"{name}, seed {seed}": (row, seed)
        for name, row in ROWS.items() for seed in SEEDS[: row.seeds]}  # fmt: skip


class Agent(nn.Module):
    """A policy and a value of what was seen, and of what is remembered.

    Input ``(steps, trials, 7)``: the state, the last action (-1 or 1; 0 at first), the last reward
    and whether an episode has just begun. Output: the logit of a push to the right and the value,
    ``(steps, trials)`` each, and the memory.
    """

    def __init__(self, memory: bool, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.memory = nn.GRU(7, width) if memory else None
        seen = width + 4 if memory else 7
        self.policy, self.value = (
            nn.Sequential(nn.Linear(seen, hidden), nn.Tanh(), nn.Linear(hidden, 1))
            for _ in range(2)
        )

    def forward(
        self, seen: Tensor, memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """See the class."""
        if self.memory is not None:
            told, memory = self.memory(seen, memory)
            seen = torch.cat([told, seen[..., :4]], dim=-1)
        return self.policy(seen).squeeze(-1), self.value(seen).squeeze(-1), memory


class Trials(NamedTuple):
    """What was played, ``(steps, trials)`` but for `seen`.

    Attributes
    ----------
    seen : Tensor
        ``(steps, trials, 7)``.
    action, log_prob, value, reward : Tensor
        Action 0 or 1; what the agent thought of it and of the state; what it brought.
    fallen, cut_off : Tensor
        Whether the episode ended with this step, and how.
    last : Tensor
        ``(trials,)``: the value after the last step.
    """

    seen: Tensor
    action: Tensor
    log_prob: Tensor
    value: Tensor
    reward: Tensor
    fallen: Tensor
    cut_off: Tensor
    last: Tensor


def play(
    agent: Agent, row: Row, carts: CartPoleTasks, steps: int, horizon: int,
    random: torch.Generator, *, flip: bool = False,
) -> Trials:
    """Play trials of so many steps; episodes follow each other, and the memory goes on.

    Parameters
    ----------
    flip : bool
        Whether the paying side changes after the first episode.
    """
    batch = carts.side.shape
    scale = torch.tensor((row.position, 1.0, 5.0, 1.0))
    chance = draw((0.0, 1.0), (steps, *batch), random, torch.float32).logit()
    state = draw((-START, START), (*batch, 1, 4), random, torch.float32)
    action, reward = torch.zeros(batch), torch.zeros(batch)
    begun, age, memory = torch.ones(batch), torch.zeros(batch), None
    side, first, found = carts.side, torch.ones(batch, dtype=torch.bool), []

    def look() -> Tensor:
        last = 2 * reward - 1 if row.signed else reward
        return torch.cat([state[:, 0] * scale, torch.stack([action, last, begun], -1)], -1)

    with torch.no_grad():
        for t in range(steps):
            seen = look()
            logit, value, memory = agent(seen[None], memory)
            right = logit[0] > chance[t]
            action = torch.where(right, 1.0, -1.0)
            now = carts._replace(side=torch.where(first, side, -side) if flip else side)
            after = now.step(state, right.float()[:, None])
            reward = now.reward(after[:, :, None])[:, 0, 0]
            fallen, age = fell(after)[:, 0], age + 1
            cut_off = ~fallen & (age >= horizon)
            found.append((seen, right.float(), logsigmoid(action * logit[0]), value[0], reward,
                          fallen, cut_off))  # fmt: skip
            over = fallen | cut_off
            fresh = draw((-START, START), (*batch, 1, 4), random, torch.float32)
            state = torch.where(over[:, None, None], fresh, after)
            age, begun, first = torch.where(over, 0.0, age), over.float(), first & ~over
        last = agent(look()[None], memory)[1][0]
    return Trials._make([*map(torch.stack, zip(*found)), last])


def advantages(played: Trials) -> Tensor:
    """Return generalised advantages: a fall ends the count, a cut-off leaves a value in its place.

    References
    ----------
    Schulman et al. 2016 (arXiv:1506.02438).
    """
    after, total, found = played.last, torch.zeros_like(played.last), []
    for t in reversed(range(len(played.reward))):
        value, fallen, cut_off = played.value[t], played.fallen[t], played.cut_off[t]
        # What a cut-off state was worth is not seen any more: the value before it stands in.
        ahead = torch.where(cut_off, value, after) * ~fallen
        surprise = played.reward[t] + DISCOUNT * ahead - value
        total = surprise + DISCOUNT * TRACE * total * ~(fallen | cut_off)
        found.append(total)
        after = value
    return torch.stack(found[::-1])


def improve(
    agent: Agent, optimizer: torch.optim.Optimizer, played: Trials, random: torch.Generator
) -> None:
    """Improve policy and value by some epochs of clipped steps, half of the trials at a time.

    References
    ----------
    Schulman et al. 2017 (arXiv:1707.06347).
    """
    gain = advantages(played)
    wanted, gain = gain + played.value, (gain - gain.mean()) / (gain.std() + 1e-6)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(played.last), generator=random).chunk(2):
            logit, value, _ = agent(played.seen[:, some])
            sign = 2 * played.action[:, some] - 1
            ratio = (logsigmoid(sign * logit) - played.log_prob[:, some]).exp()
            bounded = ratio.clamp(1 - CLIP, 1 + CLIP)
            better = torch.min(ratio * gain[:, some], bounded * gain[:, some]).mean()
            entropy = (softplus(logit) - logit * logit.sigmoid()).mean()
            off = (value - wanted[:, some]).square().mean()
            optimizer.zero_grad()
            (-better + 0.005 * off - ENTROPY * entropy).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def train(
    row: Row, seed: int, *, iterations: int, trials: int, steps: int, checkpoint: Path
) -> Iterator[Record]:
    """Train; a record each iteration, with minus the mean reward of a step as its loss."""
    random = generator(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        agent = Agent(row.memory)
    with torch.no_grad():  # undecided at first
        agent.policy[2].get_parameter("weight").mul_(0.1)
    optimizer = torch.optim.Adam(agent.parameters(), lr=LR, eps=1e-5)
    family, done, loss = CartPole(secret_side=True), 0, torch.tensor(torch.nan)
    if checkpoint.exists():
        tensors, kept = load_checkpoint(checkpoint)
        agent.load_state_dict(_part(tensors, "agent"))
        state = optimizer.state_dict()
        state["state"] = {i: _part(tensors, f"adam {i}") for i in range(len([*agent.parameters()]))}
        optimizer.load_state_dict(state)
        random.set_state(tensors["generator"])
        done, loss = kept["done"], tensors["loss"]

    def record() -> Record:
        weights = {name: p.detach().clone() for name, p in agent.state_dict().items()}
        return Record(done, loss, weights, {}, loss.isnan())

    if done:
        yield record()
    while done < iterations:
        optimizer.param_groups[0]["lr"] = LR * (1 - (1 - FINAL_LR) * done / iterations)
        carts = family.sample_tasks(trials, generator=random)
        played = play(agent, row, carts, steps, HORIZON, random)
        improve(agent, optimizer, played, random)
        done, loss = done + 1, -played.reward.mean()
        save_checkpoint(checkpoint, {
            **{f"agent/{name}": p for name, p in agent.state_dict().items()},
            **{f"adam {i}/{key}": value for i, part in optimizer.state_dict()["state"].items()
               for key, value in part.items()},
            "generator": random.get_state(), "loss": loss,
        }, {"done": done})  # fmt: skip
        yield record()


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    start = f"{name}/"
    return {key.removeprefix(start): p for key, p in tensors.items() if key.startswith(start)}


def tested(
    agent: Agent, row: Row, *, carts: int, horizon: int, flip: bool
) -> dict[str, Tensor]:
    """Return what test carts bring, whose side may change after the first episode.

    Returns
    -------
    dict
        ``returns`` and ``fell``, ``(episodes, carts)``: each episode's return, and 1 where its pole
        fell. ``parts``, ``(parts, carts)``: the first episode's mean reward of a step in each part
        of `PARTS`; steps after a fall bring nothing.
    """
    random = generator(TEST)
    tasks = CartPole(secret_side=True).sample_tasks(carts, generator=random)
    played = play(agent, row, tasks, EPISODES * horizon, horizon, random, flip=flip)
    over = (played.fallen | played.cut_off).cumsum(0)
    episode = torch.cat([torch.zeros_like(over[:1]), over[:-1]])
    returns, fell = (
        torch.stack([(each * (episode == e)).sum(0) for e in range(EPISODES)])
        for each in (played.reward, played.fallen.float())
    )
    first = (played.reward * (episode == 0))[:horizon]
    edges = (0, *(min(part, horizon) for part in PARTS))
    parts = [first[a:b].mean(0) if b > a else torch.zeros(carts) for a, b in pairwise(edges)]
    return {"returns": returns, "fell": fell, "parts": torch.stack(parts)}


def work(job: Job) -> Stored:
    """Train once and test: what `tested` says, ``flipped``, and the first seed's weights."""
    row, seed = JOBS[job.name]
    iterations, trials, steps = (2, 4, 20) if job.quick else (row.iterations, TRIALS, STEPS)
    last, noted = job.train(
        lambda path: train(row, seed, iterations=iterations, trials=trials, steps=steps,
                           checkpoint=path),
        iterations, lambda record: {"loss": record.loss},
    )  # fmt: skip
    agent = Agent(row.memory)
    agent.load_state_dict(last.theta)
    carts, horizon = (4, 20) if job.quick else (TEST_CARTS, TEST_HORIZON)
    found = tested(agent, row, carts=carts, horizon=horizon, flip=False)
    flipped = tested(agent, row, carts=carts, horizon=horizon, flip=True)["returns"]
    first = seed == SEEDS[0]
    weights = {f"agent.{name}": p for name, p in last.theta.items()} if first else {}
    return Stored({
        **found, "flipped": flipped, "reward": -noted["loss"],
        "steps": torch.tensor(iterations * trials * steps), "seconds": noted["seconds"].sum(),
        **weights,
    }, {})  # fmt: skip


def bound(carts: int = 1000, pushes: int = 8, horizon: int = TEST_HORIZON) -> float:
    """Return what no agent can exceed: it is told the side, and no pole of its ever falls.

    From each start all sequences of pushes are tried for the one that spends the fewest steps on
    the wrong side.
    """
    random = generator(TEST)
    tasks = CartPole(secret_side=True).sample_tasks(carts, generator=random)
    start = draw((-START, START), (carts, 1, 4), random, torch.float32)
    every = torch.tensor(list(product((0.0, 1.0), repeat=pushes)))
    state, wrong = start.expand(-1, len(every), -1), torch.zeros(carts, len(every))
    for t in range(pushes):
        state = tasks.step(state, every[:, t].expand(carts, -1))
        wrong += tasks.side[:, None] * state[..., 0] <= 0
    return horizon - float(wrong.min(1).values.mean())


def summary(found: Stored) -> str:
    """Return the mean return of each row in episodes 1, 2, 3, over seeds, and its worst seed."""
    lines = []
    for name, row in ROWS.items():
        for kind in ("returns", "flipped"):
            each = torch.stack([found.tensors[f"{name}, seed {s}/{kind}"].mean(-1)
                                for s in SEEDS[: row.seeds]]).double()  # fmt: skip
            mean, half = t_interval(each, dim=0)
            cells = "  ".join(f"{m:5.0f} ± {h:3.0f}" for m, h in zip(mean, half))
            lines.append(f"{name:20}{kind:10}{cells}   worst seed {float(each[:, 0].min()):.0f}")
    return "\n".join(lines)


STUDIES = {
    "rl2": Study(
        "chapter 15: a policy with memory on the secret side", "60 minutes", tuple(JOBS), work,
        summary, lambda parts: {"rl2": together(parts, bound=bound())},
    )
}
