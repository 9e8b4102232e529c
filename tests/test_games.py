"""Repeated games (chapter 17): the exact payoff, the opponents, what bounds a player, the study."""

from dataclasses import replace
from itertools import product
from math import nan

import pytest
import torch
from cases import EXACT, gen
from torch import nn
from torch.testing import assert_close

from metasgd_core import META_SGD, MLP, PolicyGradient, adapt, evaluate, meta_train, per_task
from metasgd_core.studies import games as study
from metasgd_core.studies import read
from metasgd_core.studies.jobs import Job, do
from metasgd_core.tasks.games import (
    KINDS,
    MATCHING_PENNIES,
    PRISONERS_DILEMMA,
    SEEN,
    ExactGames,
    Game,
    Games,
    GameTasks,
    payoffs,
)

F64 = torch.float64
STAG_HUNT = Game(((4.0, 0.0), (3.0, 2.0)), ((4.0, 3.0), (0.0, 2.0)))


def games(game=PRISONERS_DILEMMA, **changes):
    return Games(nn.Linear(5, 1, bias=False).double(), game, **changes)


def chances(*rows):
    return torch.tensor(rows, dtype=F64)


def opponents(family):
    """Return the four named ones, as tasks."""
    return GameTasks(chances(*family.named()), torch.arange(4))


def sure(*plays, certain=40.0):
    """Return a policy that all but surely plays so."""
    return {"weight": certain * (2 * chances(plays) - 1)}


def by_hand(mine, theirs, game, discount, rounds=2000):
    """Return the first player's payoff a round, round after round, with a plain loop."""
    total, weight, seen = 0.0, 1 - discount, {"start": 1.0}
    for _ in range(rounds):
        after = dict.fromkeys(SEEN[1:], 0.0)
        for state, likely in seen.items():
            p = float(mine[SEEN.index(state)])
            q = float(theirs[SEEN.index(state[::-1] if len(state) == 2 else state)])
            for own, other in product("CD", "CD"):
                chance = likely * (p if own == "C" else 1 - p) * (q if other == "C" else 1 - q)
                after[own + other] += chance
                total += weight * chance * game.mine["CD".index(own)]["CD".index(other)]
        seen, weight = after, weight * discount
    return total


@pytest.mark.parametrize("game", [PRISONERS_DILEMMA, MATCHING_PENNIES, STAG_HUNT])
def test_the_linear_system_sums_up_the_rounds(game):
    """Against a plain sum of 2000 rounds, any two policies, any game: 1e-12."""
    mine, theirs = torch.rand(2, 5, generator=gen(1), dtype=F64)
    expected = by_hand(mine, theirs, game, 0.9)
    found = payoffs(mine, theirs, game, 0.9)
    assert float(found[0]) == pytest.approx(expected, abs=1e-12)
    turned = Game(*(tuple(zip(*matrix, strict=True)) for matrix in reversed(game)))
    assert_close(payoffs(theirs, mine, turned, 0.9), found.flip(0))


def test_the_payoff_of_a_hundred_thousand_simulated_rounds_is_the_formulas():
    """500 episodes of 200 rounds against three opponents: within 4 standard errors."""
    family = replace(games(), rounds=200)
    tasks = family.sample_tasks(3, generator=gen(2))
    phi = {"weight": torch.randn(3, 1, 5, generator=gen(3), dtype=F64)}
    data = family.sample_data(tasks, phi, 500, generator=gen(4))
    assert data.reward[0].numel() == 100_000
    weight = 0.04 * 0.96 ** torch.arange(200, dtype=F64)
    each = data.reward @ weight
    error = each.std(-1) / 500**0.5
    off = each.mean(-1) - family.payoff(phi, tasks)
    assert (off.abs() < 4 * error + 3 * 0.96**200).all()
    assert_close(family.score(phi, data), each.mean(-1) / (1 - 0.96**200))


def test_gradients_through_the_system_are_right_to_second_order():
    """For both players: a meta-gradient, and a look ahead, need the second."""
    mine, theirs = (torch.randn(2, 5, generator=gen(n), dtype=F64).requires_grad_() for n in (1, 2))

    def both(mine, theirs):
        return payoffs(mine.sigmoid(), theirs.sigmoid(), PRISONERS_DILEMMA, 0.96)

    assert torch.autograd.gradcheck(both, (mine, theirs))
    assert torch.autograd.gradgradcheck(both, (mine, theirs))


def test_the_sampled_gradient_is_that_of_the_exact_payoff():
    """The mean over 40,000 short episodes points where the formula's gradient points.

    The first round's logit has no factor of the discount, and must agree by itself; the others
    are weighted by rounds, so only their signs do.
    """
    plain = PolicyGradient(discount=0.5, normalize=False)
    family = replace(games(), rounds=20, objective=plain)
    tasks = GameTasks(chances((0.7, 0.8, 0.2, 0.6, 0.1)), torch.tensor([4]))
    phi = {"weight": chances((0.3, -0.2, 0.1, 0.5, -0.4)).unsqueeze(0).requires_grad_()}
    data = family.sample_data(tasks, phi, 40_000, generator=gen(5))
    (sampled,) = torch.autograd.grad(-family.loss(phi, data).sum(), phi["weight"])
    (exact,) = torch.autograd.grad(family.payoff(phi, tasks).sum() / (1 - 0.5), phi["weight"])
    assert float(sampled[0, 0, 0]) == pytest.approx(float(exact[0, 0, 0]), abs=0.02)
    assert torch.equal(sampled.sign(), exact.sign())


# ---- the opponents


def test_named_opponents_do_what_they_are_called():
    """Win-stay depends on the game: what wins in the one loses in the other."""
    tit, always, never, stay = games().named()
    assert (tit, always, never) == ((1, 1, 0, 1, 0), (1,) * 5, (0,) * 5)
    assert stay == (1, 1, 0, 0, 1)
    assert games(MATCHING_PENNIES).named()[3] == (1, 0, 1, 0, 1)


def test_known_encounters():
    """Tit for tat with itself, and a defector: once exploited, or in turns with win-stay."""
    family = games()
    tasks = opponents(family)
    cooperates = family.payoff(per_task(sure(1, 1, 0, 1, 0), (4,)), tasks)
    # never: once -3, then -2 for good
    assert_close(cooperates, torch.tensor([-1.0, -1.0, -2 - 0.04, -1.0], dtype=F64))
    defects = family.payoff(per_task(sure(0, 0, 0, 0, 0), (4,)), tasks)
    turns = 0.0 - 2 * 0.96 / (1 + 0.96)
    assert_close(defects, torch.tensor([-2 * 0.96, 0.0, -2.0, turns], dtype=F64))


def test_kinds_are_as_likely_and_mixtures_lie_between():
    family = games()
    tasks = family.sample_tasks(20_000, generator=gen(6))
    share = tasks.kind.bincount(minlength=5) / 20_000
    assert (share - 0.2).abs().max() < 4 * (0.16 / 20_000) ** 0.5
    for kind, policy in enumerate(opponents(family).policy):
        assert (tasks.policy[tasks.kind == kind] == policy).all()
    mixed = tasks.policy[tasks.kind == KINDS.index("mixture")]
    # In each of four proportions 1/4 on average: C after start has three of them.
    assert_close(mixed.mean(0), torch.tensor([0.75, 0.75, 0.25, 0.5, 0.5], dtype=F64),
                 atol=0.02, rtol=0)  # fmt: skip
    assert ((mixed > 0) & (mixed < 1)).all()


def test_each_sees_the_round_from_its_own_side():
    """Against tit for tat, who alternates sees its own last move come back."""
    family = replace(games(), rounds=6)
    tasks = GameTasks(opponents(family).policy[:1], torch.zeros(1, dtype=torch.long))
    alternate = sure(1, 0, 0, 1, 1)
    data = family.sample_data(tasks, per_task(alternate, (1,)), 3, generator=gen())
    seen = data.observation.argmax(-1)[0]
    expected = [SEEN.index(name) for name in ("start", "CC", "DC", "CD", "DC", "CD")]
    assert seen.tolist() == [expected] * 3
    assert data.action[0, 0].tolist() == [1, 0, 1, 0, 1, 0]
    assert data.reward[0, 0].tolist() == [-1, 0, -3, 0, -3, 0]
    assert data.mask.all()


def test_log_prob_is_that_of_the_moves():
    family = replace(games(), rounds=7)
    tasks = family.sample_tasks(2, generator=gen(1))
    phi = {"weight": torch.randn(2, 1, 5, generator=gen(2), dtype=F64)}
    data = family.sample_data(tasks, phi, 4, generator=gen(3))
    likely = phi["weight"].sigmoid().squeeze(1)
    for task in range(2):
        p = likely[task][data.observation[task].argmax(-1)]
        expected = torch.where(data.action[task] == 1, p, 1 - p).log()
        assert_close(family.log_prob(phi, data)[task], expected)


# ---- what bounds a player


def test_nobody_beats_the_best_response():
    """Gradient ascent against one opponent comes up to it, and 1000 random policies stay below."""
    family = games()
    tasks = family.sample_tasks(6, generator=gen(8))
    best = family.best_response(tasks)
    drawn = torch.rand(1000, 1, 5, generator=gen(9), dtype=F64)
    assert (payoffs(drawn, tasks.policy, family.game, 0.96)[..., 0] <= best + 1e-12).all()
    logits = torch.randn(20, 6, 5, generator=gen(1), dtype=F64).requires_grad_()
    adam = torch.optim.Adam([logits], lr=0.3)
    for _ in range(150):
        paid = payoffs(logits.sigmoid(), tasks.policy, family.game, 0.96)[..., 0]
        adam.zero_grad()
        (-paid.sum()).backward()
        adam.step()
    assert_close(paid.detach().amax(0), best, atol=0.01, rtol=0)


def test_best_responses_are_the_known_ones():
    """Cooperate with tit for tat, exploit who always cooperates, defect from who never does."""
    best = games().best_response(opponents(games()))
    assert_close(best[:3], torch.tensor([-1.0, 0.0, -2.0], dtype=F64))
    pennies = games(MATCHING_PENNIES).best_response(opponents(games(MATCHING_PENNIES)))
    assert_close(pennies, torch.ones(4, dtype=F64))


def test_a_game_is_scored_exactly_where_it_is_asked_for():
    family = games()
    exact = ExactGames(family.model, family.game)
    theta = {"weight": torch.randn(1, 5, generator=gen(1), dtype=F64)}
    found = evaluate(family, theta, 1.0, shots=3, steps=1, n_tasks=7, generator=gen(2),
                     scorer=exact).scores
    tasks = family.sample_tasks(7, generator=gen(2))
    assert_close(found[0], family.payoff(per_task(theta, (7,)), tasks))


def test_one_learned_step_from_ten_episodes_beats_the_best_fixed_policy():
    """The claim of the chapter in small: 60 meta-iterations, matching pennies."""
    family = Games(game=MATCHING_PENNIES)
    method = replace(META_SGD, alpha_form="log")
    theta = {"weight": torch.zeros(1, 5)}
    alpha = {"weight": torch.full((1, 5), 30.0)}
    *_, record = meta_train(
        family, theta, alpha, method, iterations=60, meta_batch=20, shots=10, query_shots=10,
        generator=gen(1), lr=0.1, clip=1.0,
    )
    scores = evaluate(family, record.theta, record.alpha, shots=10, steps=1, n_tasks=200,
                      generator=gen(2), scorer=ExactGames(family.model, family.game)).mean
    assert scores[0] < 0.3
    assert scores[1] > 0.68  # the best fixed policy earns 0.62


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"game": Game(((1.0, 2.0),), ((1.0, 2.0), (3.0, 4.0)))}, "two 2 x 2 matrices of finite"),
        ({"game": Game(((1.0, nan), (0.0, 0.0)), ((1.0, 2.0), (3.0, 4.0)))}, "of finite payoffs"),
        ({"rounds": 0}, "rounds must be a whole number of at least 1, got 0"),
        ({"objective": PolicyGradient(discount=1.0)}, "needs a discount below 1.*got 1.0"),
        ({"model": MLP((4, 1))}, "must map 5 observations to 1 outputs"),
    ],
)
def test_a_game_that_cannot_be_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        Games(**arguments)
    assert "\n" not in str(refused.value)


def test_bad_counts_and_chances_are_refused():
    family = games()
    with pytest.raises(ValueError, match="the number of tasks must be a whole number"):
        family.sample_tasks(0, generator=gen())
    tasks = family.sample_tasks(1, generator=gen())
    phi = {"weight": torch.zeros(1, 1, 5, dtype=F64)}
    with pytest.raises(ValueError, match="shots must be a whole number of at least 1, got 0"):
        family.sample_data(tasks, phi, 0, generator=gen())
    with pytest.raises(ValueError, match=r"chances must lie between 0 and 1, got 1\.5"):
        family.sample_data(GameTasks(chances((0, 1, 0, 1.5, 0)), tasks.kind), phi, 1,
                           generator=gen())  # fmt: skip


# ---- the study


def test_a_step_that_looks_ahead_differentiates_the_others_step():
    """LOLA's gradient against central differences of the payoff after the other's step: 1e-6."""
    mine, other = (study.player(1, seed=n, dtype=F64) for n in (1, 2))
    rate, look = 0.5, 8.0
    moved = study.lola(rate, look)(mine, other)["logits"] - mine["logits"]

    def after(logits):
        me = {"logits": logits}
        return float(study.lose(me, adapt(study.lose, other, look, me)).detach())

    for k in range(5):
        nudge = 1e-4 * torch.eye(5, dtype=F64)[k]
        slope = (after(mine["logits"] + nudge) - after(mine["logits"] - nudge)) / 2e-4
        assert float(moved[0, k].detach()) == pytest.approx(-rate * slope, abs=1e-6)


def test_naive_learners_defect_and_those_that_look_ahead_cooperate():
    """What the paper reports, with exact gradients: near -2 a round against near -1."""
    _, alone = study.of_both(study.naive(10.0), 1, 40, 150)
    mine, ahead = study.of_both(study.lola(30.0, 30.0), 1, 40, 150)
    assert alone[:, -1].mean() < -1.9
    assert ahead[:, -1].mean() > -1.2
    likely = mine["logits"].sigmoid().mean(0)
    assert (likely[[1, 3]] > 0.7).all()
    assert (likely[[2, 4]] < 0.4).all()


def test_a_path_that_is_taken_as_given_passes_no_gradient():
    theta = study.player(1, 1, seed=1)["logits"].requires_grad_()
    other = study.player(1, 3, seed=2)

    def slope(sees):
        mine = {"logits": theta.expand(-1, 3, -1)}
        *_, path = study.walk(mine, other, lambda mine, other: mine, study.naive(10.0), 2,
                              sees=sees)  # fmt: skip
        return path, torch.autograd.grad(path[..., 0].sum(), theta)[0]

    path, given = slope(False)
    same, seen = slope(True)
    assert_close(path, same)
    assert not torch.allclose(given, seen)


@pytest.mark.parametrize("name", ["pennies, Meta-SGD", "pennies, fine-tuning", "pennies, bounds"])
def test_a_job_of_the_games_keeps_what_the_chapter_reads(name, tmp_path):
    do(study.work, Job(name, tmp_path, quick=True))
    tensors = read(tmp_path / f"{name}.safetensors").tensors
    if name.endswith("bounds"):
        assert {key: tuple(p.shape) for key, p in tensors.items()} == {
            "starts": (50,), "policy": (5,), "kind": (10,), "best": (10,), "fixed": (10,),
        }
        assert (tensors["fixed"] <= tensors["best"] + 1e-9).all()
        assert float(tensors["fixed"].mean()) == pytest.approx(float(tensors["starts"].max()),
                                                               abs=0.05)  # fmt: skip
        return
    assert tensors["payoff"].shape == (5, 4, 10)
    assert tensors["theta.weight"].shape == (5, 1, 5)
    assert tensors["trials"].shape == (2,)


@pytest.mark.parametrize("name", ["LOLA", "both's steps"])
def test_a_job_of_the_learners_keeps_what_the_chapter_reads(name, tmp_path):
    do(study.learners, Job(name, tmp_path, quick=True))
    tensors = read(tmp_path / f"{name}.safetensors").tensors
    assert tensors["naive"].shape == (5, study.BEYOND + 1, 2)
    if name == "LOLA":
        assert tensors["policy"].shape == (10, 5)
        assert tensors["trials"].shape == (16,)
    else:
        assert tensors["alpha"].shape == tensors["theta"].shape == (5, 5)
        assert (tensors["alpha"] > 0).all()


def test_rows_meet_the_opponents_of_the_bounds():
    """Else a row would be compared with a bound for others."""
    family = study.GAMES["dilemma"]
    theta = {"weight": torch.zeros(2, 1, 5)}
    found = study.tested("dilemma", theta, 1.0, study.TEST, 20)[:, 0]
    tasks = family.sample_tasks(20, generator=gen(study.TEST))
    bound = study.bounds("dilemma", 20, 2)
    assert_close(bound["kind"], tasks.kind, **EXACT)
    expected = family.payoff(per_task({"weight": theta["weight"][0]}, (20,)), tasks)
    assert_close(found, expected.expand(2, -1))
