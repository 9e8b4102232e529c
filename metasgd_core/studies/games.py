"""Other agents (chapter 17): opponents that stay what they are, and opponents that learn.

``games``: one step of adaptation from ten episodes, between the best policy that never adapts and a
player who knows the opponent, both computed exactly. ``learners``: two naive learners, two that
foresee the other's step (LOLA), and a start that was learned through both players' steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor

from metasgd_core.adaptation import adapt
from metasgd_core.alpha import init_alpha
from metasgd_core.evaluation import evaluate
from metasgd_core.meta_training import meta_train
from metasgd_core.methods import FINE_TUNING, JOINT, MAML, META_SGD, Method
from metasgd_core.models import init_theta
from metasgd_core.studies import Stored, generator
from metasgd_core.studies.jobs import Job, Study
from metasgd_core.tasks.games import (
    MATCHING_PENNIES,
    PRISONERS_DILEMMA,
    ExactGames,
    Games,
    payoffs,
)
from metasgd_core.types import Params

SEEDS, TRIAL_SEEDS, TASKS = 5, 2, 500
#: Seeds of the generators: the first theta, the training opponents, then opponents held out.
FIRST, TRAINING, VALIDATION, TEST = 0, 1, 1000, 2000

# ---- opponents that stay what they are

GAMES = {"dilemma": Games(), "pennies": Games(game=MATCHING_PENNIES)}
LOG = replace(META_SGD, alpha_form="log")
SCALAR = replace(LOG, name="learned scalar", alpha_shape="scalar")
METHODS = (FINE_TUNING, JOINT, MAML, SCALAR, LOG)
EPISODES, STEPS, META_BATCH = 10, 3, 20
ITERATIONS, TRIAL_ITERATIONS = 400, 100
#: Sixteen settings for each row: outer rates, and first (or only, or fine-tuning's) inner rates.
OUTER, INNER = (0.02, 0.05, 0.1, 0.2), (30.0, 100.0, 300.0, 1000.0)
#: The best fixed policy is sought from so many starts, in so many steps of Adam.
STARTS, CLIMB = 50, 2000

JOBS: dict[str, tuple[str, Method | None]] = {
    f"{game}, {method.name if method else 'bounds'}": (game, method)
    for game in GAMES for method in (*METHODS, None)
}  # fmt: skip


def train(
    game: str, method: Method, lr: float, rate: float, *, seeds: int, iterations: int,
    checkpoint: Any = None,
) -> Any:
    """Train a row with several seeds at once."""
    family = GAMES[game]
    theta = init_theta(family.model, generator=generator(FIRST), runs=(seeds,))
    alpha = init_alpha(theta, method.alpha_shape, rate, runs=(seeds,))
    return meta_train(
        family, theta, alpha, method, iterations=iterations, meta_batch=META_BATCH, shots=EPISODES,
        query_shots=EPISODES, generator=generator(TRAINING), lr=lr, final_lr=0.1, clip=1.0,
        record_every=max(1, iterations // 4), checkpoint=checkpoint,
    )


def tested(game: str, theta: Params, alpha: Params | float, seed: int, n_tasks: int) -> Tensor:
    """Return exact payoffs a round after 0, 1 … updates, ``(seeds, STEPS + 1, n_tasks)``."""
    family = GAMES[game]
    return evaluate(
        family, theta, alpha, shots=EPISODES, steps=STEPS, n_tasks=n_tasks,
        generator=generator(seed), scorer=ExactGames(family.model, family.game),
    ).scores


def rates_of(method: Method, alpha: Params, rate: float) -> Params | float:
    """Return what a row steps by: the rate that was chosen, if no rates were trained."""
    return rate if method in (FINE_TUNING, JOINT) else alpha


def choose(game: str, method: Method, job: Job) -> tuple[float, float, Tensor]:
    """Return the outer and inner rate with the best validation payoff after one step, and all."""
    pairs, found = [(lr, rate) for lr in OUTER for rate in INNER], []
    for lr, rate in pairs[:2] if job.quick else pairs:
        *_, record = train(game, method, lr, rate, seeds=TRIAL_SEEDS,
                           iterations=2 if job.quick else TRIAL_ITERATIONS)  # fmt: skip
        alpha = rates_of(method, record.alpha, rate)
        after = tested(game, record.theta, alpha, VALIDATION, 10 if job.quick else TASKS)[:, 1]
        found.append(after.mean().nan_to_num(-inf))
        job.tell(0.5 * len(found) / len(pairs))
    return *pairs[int(torch.stack(found).argmax())], torch.stack(found)


def work(job: Job) -> Stored:
    """Choose a row's rates, train it, test it; or find what bounds them all.

    A row's ``payoff`` is ``(seeds, STEPS + 1, tasks)``, exact, a round.
    """
    game, method = JOBS[job.name]
    tasks = 10 if job.quick else TASKS
    if method is None:
        return Stored(bounds(game, tasks, 4 if job.quick else CLIMB), {})
    lr, rate, trials = choose(game, method, job)
    iterations = 4 if job.quick else ITERATIONS
    record, _ = job.train(
        lambda path: train(game, method, lr, rate, seeds=SEEDS, iterations=iterations,
                           checkpoint=path),
        iterations,
    )
    alpha = rates_of(method, record.alpha, rate)
    tensors = {"trials": trials, "chosen": torch.tensor([lr, rate], dtype=torch.float64),
               "payoff": tested(game, record.theta, alpha, TEST, tasks)}  # fmt: skip
    tensors |= {f"theta.{name}": p for name, p in record.theta.items()}
    return Stored(tensors | {f"alpha.{name}": a for name, a in record.alpha.items()}, {})


def bounds(game: str, n_tasks: int, climb: int) -> dict[str, Tensor]:
    """Return the best fixed policy for the test opponents themselves, and the best responses.

    ``starts``: the payoff that each start ends with; ``policy``: the best one's chances of C;
    ``fixed``, ``best``, ``kind``, ``(tasks,)``.
    """
    family = GAMES[game]
    tasks = family.sample_tasks(n_tasks, generator=generator(TEST))
    tasks = tasks._replace(policy=tasks.policy.double())
    discount = family.objective.discount
    # Most opponents are one of four: each is met once, and counted.
    each, counts = tasks.policy.unique(dim=0, return_counts=True)
    # Sure of what they do: from undecided starts few find the best.
    logits = 3 * torch.randn(STARTS, 1, 5, generator=generator(FIRST), dtype=torch.float64)
    adam = torch.optim.Adam([logits.requires_grad_()], lr=0.1)
    for _ in range(climb):
        paid = payoffs(logits.sigmoid(), each, family.game, discount)[..., 0] @ counts.double()
        adam.zero_grad()
        (-paid.sum()).backward()
        adam.step()
    paid, policy = paid.detach() / n_tasks, logits.detach().sigmoid()[:, 0]
    best = policy[paid.argmax()]
    return {
        "starts": paid, "policy": best, "kind": tasks.kind, "best": family.best_response(tasks),
        "fixed": payoffs(best, tasks.policy, family.game, discount)[..., 0],
    }


def summary(found: Stored) -> str:
    """Return the mean payoffs a round after 0, 1 … updates, between the two bounds."""
    lines = []
    for game in GAMES:
        bound = {key: float(found.tensors[f"{game}, bounds/{key}"].mean())
                 for key in ("fixed", "best")}  # fmt: skip
        lines.append(f"{game}: best fixed policy {bound['fixed']:.3f}, best response "
                     f"{bound['best']:.3f}")  # fmt: skip
        for method in METHODS:
            means = found.tensors[f"{game}, {method.name}/payoff"].mean((0, -1)).tolist()
            lines.append(f"  {method.name:16}" + "".join(f"{mean:8.3f}" for mean in means))
    return "\n".join(lines)


# ---- opponents that learn

DISCOUNT = 0.96
#: A naive opponent's rate, in payoffs a round.
RATE = 10.0
#: Updates of two learners, of a training, and of its test, which goes on for longer.
UPDATES, STAGES, BEYOND = 200, 10, 30
PAIRS, OPPONENTS = 500, 32
LEARN, TRIAL_LEARN = 400, 100
#: Sixteen settings for each: naive rates; LOLA's rates and how far it looks; a training's two.
NAIVE = tuple(0.3 * 1.6**k for k in range(16))
LOLA, LOOK = (3.0, 10.0, 30.0, 100.0), (3.0, 10.0, 30.0, 100.0)
LEARN_OUTER, LEARN_INNER = (0.05, 0.1, 0.2, 0.4), (1.0, 3.0, 10.0, 30.0)

Move = Callable[[Params, Params], Params]


def player(*size: int, seed: int, dtype: torch.dtype = torch.float32) -> Params:
    """Draw players who do not know yet what to do: five standard normal logits each."""
    return {"logits": torch.randn(*size, 5, generator=generator(seed), dtype=dtype)}


def paid(mine: Params, other: Params) -> Tensor:
    """Return what both earn a round, exactly, ``(*batch, 2)``."""
    one, two = mine["logits"].sigmoid(), other["logits"].sigmoid()
    return payoffs(one, two, PRISONERS_DILEMMA, DISCOUNT)


def lose(mine: Params, other: Params) -> Tensor:
    """Return a player's loss. The game is the same from both sides, so it is the other's, too."""
    return -paid(mine, other)[..., 0]


def foreseen(look: Params | float, mine: Params, other: Params) -> Tensor:
    """Return my loss after the other's next step, which depends on me."""
    return lose(mine, adapt(lose, other, look, mine))


def naive(rate: Params | float) -> Move:
    """Return a step that takes the other for what it is now."""
    return lambda mine, other: adapt(lose, mine, rate, other)


def lola(rate: float, look: float) -> Move:
    """Return a step that looks ahead.

    References
    ----------
    Foerster et al. 2018 (arXiv:1709.04326). Differs from it in that the gradient is of the payoff
    after the other's step, not of its expansion to first order in that step.
    """
    return lambda mine, other: adapt(partial(foreseen, look), mine, rate, other)


def walk(
    mine: Params, other: Params, move: Move, moves_too: Move, updates: int, *, sees: bool = True
) -> tuple[Params, Params, Tensor]:
    """Let two players take `updates` steps at the same time.

    Parameters
    ----------
    mine, other : Params
        ``(*batch, 5)``.
    move, moves_too : callable
        My step, and the other's.
    sees : bool
        False: the other's path counts as given, whatever I do to it.

    Returns
    -------
    mine, other : Params
        At the end.
    path : Tensor
        ``(*batch, updates + 1, 2)``: what both earn a round before, between and after the steps.
    """
    path = [paid(mine, other)]
    for _ in range(updates):
        mine, other = move(mine, other), moves_too(other, mine)
        if not sees:
            other = {name: p.detach() for name, p in other.items()}
        path.append(paid(mine, other))
    return mine, other, torch.stack(path, dim=-2)


def learn(
    lr: float, rate: float, *, sees: bool, seeds: int, iterations: int,
    tell: Callable[[float], None] = lambda done: None,
) -> tuple[Params, Params]:
    """Learn a start and rates, entry by entry, through the steps of both players.

    What is maximised is the mean payoff over all stages, against naive learners that begin
    anywhere.

    References
    ----------
    Al-Shedivat et al. 2018 (arXiv:1710.03641), with ``sees=False``; Kim et al. 2021
    (arXiv:2011.00382), with ``sees=True``. Differs from both in that the gradients are exact, and
    in that there is one rate a logit, not one a step.
    """
    theta = player(seeds, 1, seed=FIRST)["logits"].requires_grad_()
    log_alpha = torch.full_like(theta, rate).log().requires_grad_()
    adam, random = torch.optim.Adam([theta, log_alpha], lr=lr), generator(TRAINING)
    for done in range(iterations):
        other = {"logits": torch.randn(seeds, OPPONENTS, 5, generator=random)}
        mine = {"logits": theta.expand(-1, OPPONENTS, -1)}
        step = naive({"logits": log_alpha.exp()})
        *_, path = walk(mine, other, step, naive(RATE), STAGES, sees=sees)
        adam.zero_grad()
        (-path[..., 0].mean((-2, -1)).sum()).backward()
        adam.step()
        tell((done + 1) / iterations)
    return {"logits": theta.detach()}, {"logits": log_alpha.detach().exp()}


def against_naive(mine: Params, move: Move, updates: int, seed: int, pairs: int) -> Tensor:
    """Return the payoffs against naive learners, ``(seeds, updates + 1, 2)``, means over them."""
    other = player(pairs, seed=seed)["logits"]
    start = {"logits": mine["logits"].expand(-1, pairs, -1)}
    everyone = {"logits": other.expand(len(mine["logits"]), -1, -1)}
    with torch.no_grad():
        *_, path = walk(start, everyone, move, naive(RATE), updates)
    return path.mean(1)


def of_both(move: Move, seed: int, pairs: int, updates: int) -> tuple[Params, Tensor]:
    """Let pairs of one kind learn from each other; return the first players and all payoffs."""
    one, two = player(pairs, seed=seed), player(pairs, seed=seed + 1)
    with torch.no_grad():
        mine, _, path = walk(one, two, move, move, updates)
    return mine, path


def pairs_of(kind: str, job: Job) -> Stored:
    """Choose the rates of a kind of learner, and let it learn beside its like and naive ones.

    ``path`` ``(UPDATES + 1, 2)``, the mean over pairs; ``payoff`` ``(pairs, 2)`` and ``policy``
    ``(pairs, 5)`` at the end. ``naive``, ``(seeds, BEYOND + 1, 2)``: against naive learners, with
    rates chosen for that.
    """
    moves: dict[tuple[float, ...], Move] = {(rate,): naive(rate) for rate in NAIVE}
    if kind == "LOLA":
        moves = {(rate, look): lola(rate, look) for rate in LOLA for look in LOOK}
    pairs, updates = (10, 2) if job.quick else (PAIRS, UPDATES)
    here, alone = [], []
    start = player(SEEDS, pairs, seed=VALIDATION + 2)
    for move in moves.values():
        here.append(of_both(move, VALIDATION, pairs, updates)[1][:, -1].mean())
        alone.append(against_naive(start, move, STAGES, VALIDATION, pairs)[..., 0].mean())
        job.tell(len(here) / (len(moves) + 1))
    chosen, chosen_alone = (list(moves)[int(torch.stack(found).argmax())]
                            for found in (here, alone))  # fmt: skip
    mine, path = of_both(moves[chosen], TEST, pairs, updates)
    start = player(SEEDS, pairs, seed=TEST + 2)
    return Stored({
        "trials": torch.stack(here), "chosen": torch.tensor([*chosen, *chosen_alone]),
        "path": path.mean(0), "payoff": path[:, -1], "policy": mine["logits"].sigmoid(),
        "naive": against_naive(start, moves[chosen_alone], BEYOND, TEST, pairs),
    }, {})  # fmt: skip


def learned(sees: bool, job: Job) -> Stored:
    """Choose two rates, learn a start, and test it.

    ``naive`` and ``off`` ``(seeds, BEYOND + 1, 2)``: against naive learners, and there with its own
    steps left out; ``mirror`` ``(seeds, BEYOND + 1, 2)``: against another seed's start, which
    steps, too.
    """
    settings, found = [(lr, rate) for lr in LEARN_OUTER for rate in LEARN_INNER], []
    pairs = 10 if job.quick else PAIRS
    for lr, rate in settings[:2] if job.quick else settings:
        theta, alpha = learn(lr, rate, sees=sees, seeds=TRIAL_SEEDS,
                             iterations=2 if job.quick else TRIAL_LEARN)  # fmt: skip
        path = against_naive(theta, naive(alpha), STAGES, VALIDATION, pairs)
        found.append(path[..., 0].mean().nan_to_num(-inf))
        job.tell(0.6 * len(found) / len(settings))
    lr, rate = settings[int(torch.stack(found).argmax())]
    theta, alpha = learn(lr, rate, sees=sees, seeds=SEEDS, iterations=2 if job.quick else LEARN,
                         tell=lambda done: job.tell(0.6 + 0.3 * done))  # fmt: skip
    another, rates = ({"logits": p["logits"].roll(1, 0)} for p in (theta, alpha))
    with torch.no_grad():
        *_, mirror = walk(theta, another, naive(alpha), naive(rates), BEYOND)
    return Stored({
        "trials": torch.stack(found), "chosen": torch.tensor([lr, rate]),
        "theta": theta["logits"][:, 0], "alpha": alpha["logits"][:, 0], "mirror": mirror[:, 0],
        "naive": against_naive(theta, naive(alpha), BEYOND, TEST, pairs),
        "off": against_naive(theta, lambda mine, other: mine, BEYOND, TEST, pairs),
    }, {})  # fmt: skip


LEARNERS: dict[str, Callable[[Job], Stored]] = {
    "naive": partial(pairs_of, "naive"), "LOLA": partial(pairs_of, "LOLA"),
    "own steps": partial(learned, False), "both's steps": partial(learned, True),
}


def learners(job: Job) -> Stored:
    """Do one of `LEARNERS`."""
    return LEARNERS[job.name](job)


def learners_summary(found: Stored) -> str:
    """Return the mean payoffs a round: of pairs at the end, and against naive learners."""
    lines = []
    for name in LEARNERS:
        mine, theirs = found.tensors[f"{name}/naive"][:, : STAGES + 1].mean((0, 1)).tolist()
        line = f"{name:14} against naive learners {mine:6.3f}, they {theirs:6.3f}"
        if f"{name}/payoff" in found.tensors:
            line += f"; with its like {float(found.tensors[f'{name}/payoff'].mean()):6.3f}"
        lines.append(line)
    return "\n".join(lines)


STUDIES = {
    "games": Study(
        "chapter 17: repeated games against opponents that stay what they are", "10 minutes",
        tuple(JOBS), work, summary,
    ),
    "learners": Study(
        "chapter 17: repeated games against opponents that learn", "5 minutes", tuple(LEARNERS),
        learners, learners_summary,
    ),
}
