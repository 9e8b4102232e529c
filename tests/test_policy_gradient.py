"""The policy gradient: by a plain loop, by complete enumeration, and where nothing is learned."""

import math
from dataclasses import replace

import pytest
import torch
from cases import (
    EXACT,
    carts,
    gen,
    gradients,
    of_task,
    recorded,
    signed_alpha,
    start,
    walks,
    wanted,
)
from torch.testing import assert_close

from metasgd_core import MAML, PolicyGradient, Trajectories, meta_loss, per_task
from metasgd_core.policy_gradient import PolicyFamily, leave_one_out, returns_to_go

F64 = torch.float64
ESTIMATORS = ["lvc", "naive", "dice"]
SUMMED = PolicyGradient("naive", discount=1.0, baseline=False, normalize=False)


def assert_relative(got, expected, tolerance):
    """Hold every tensor to the other one: Euclidean norm of the difference over its own."""
    for name, e in expected.items():
        assert e.norm() > 0, name
        assert (got[name] - e).norm() <= tolerance * e.norm(), name


# ---- returns and baseline, by hand


def uneven():
    """Return three episodes of 3, 2 and 1 steps, padded."""
    reward = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0], [6.0, 0.0, 0.0]], dtype=F64)
    return reward, reward > 0


def test_returns_to_go_of_three_episodes_by_hand():
    r"""With gamma = 1/2: 1 + 2/2 + 3/4 = 11/4, 2 + 3/2 = 7/2, 3; 4 + 5/2 = 13/2, 5; 6."""
    reward, _ = uneven()
    halves = [[2.75, 3.5, 3.0], [6.5, 5.0, 0.0], [6.0, 0.0, 0.0]]
    assert returns_to_go(reward, 0.5).tolist() == halves
    assert returns_to_go(reward, 1.0).tolist() == [[6, 5, 3], [9, 5, 0], [6, 0, 0]]


def test_the_baseline_is_the_mean_of_the_others_that_still_play_by_hand():
    """Of the returns above: at first (13/2 + 6) / 2 = 25/4, (11/4 + 6) / 2 = 35/8 and
    (11/4 + 13/2) / 2 = 37/8; then 5 for the first episode and 7/2 for the second; at last the
    first one plays alone, and has none.
    """
    reward, mask = uneven()
    returns = returns_to_go(reward, 0.5)
    assert (leave_one_out(returns, mask) * mask).tolist() == [
        [6.25, 5.0, 0.0], [4.375, 3.5, 0.0], [4.625, 0.0, 0.0]
    ]
    # What stands in the padding plays no part.
    spoilt = returns.where(mask, torch.tensor(1e6, dtype=F64))
    assert torch.equal(leave_one_out(spoilt, mask) * mask, leave_one_out(returns, mask) * mask)
    data = Trajectories(torch.zeros(3, 3, 1), torch.zeros(3, 3), reward, mask)
    raw = PolicyGradient(discount=0.5, normalize=False)
    assert raw.advantages(data).tolist() == [
        [-3.5, -1.5, 3.0], [2.125, 1.5, 0.0], [1.375, 0.0, 0.0]
    ]


def test_normalised_advantages_have_mean_0_and_deviation_1_over_the_steps_taken():
    """The padding counts for nothing; the tasks of a batch are normalised each by itself."""
    reward, mask = uneven()
    data = Trajectories(torch.zeros(2, 3, 3, 1), torch.zeros(2, 3, 3),
                        torch.stack([reward, -50 * reward]), torch.stack([mask, mask]))
    got = PolicyGradient(discount=0.5).advantages(data)
    valid = got[0][mask]
    assert_close(valid.mean(), torch.zeros((), dtype=F64), rtol=0, atol=1e-15)
    assert_close(valid.square().mean(), torch.ones((), dtype=F64), rtol=1e-14, atol=0)
    assert_close(got[1], -got[0], rtol=1e-13, atol=0)
    assert (got[:, ~mask] == 0).all()


# ---- against a plain loop


def network(p, x):
    h = (x @ p["layers.0.weight"].T + p["layers.0.bias"]).tanh()
    return h @ p["layers.1.weight"].T + p["layers.1.bias"]


def choice_log_prob(p, observation, action):
    logits = network(p, observation * torch.tensor([1.0, 1.0, 5.0, 1.0], dtype=F64))
    return torch.stack([row.log_softmax(-1)[int(a)] for row, a in zip(logits, action)])


def normal_log_prob(p, observation, action):
    std = p["log_std"].exp()
    z = (action - 0.1 * network(p, observation)) / std
    return -(z.square() / 2 + (std * math.sqrt(2 * math.pi)).log()).sum(-1)


def plain_loss(log_prob, p, data, how):
    """One task's loss as the definitions read: episode by episode, step by step."""
    lengths = [int(mask.sum()) for mask in data.mask]
    n = len(lengths)
    returns = [
        [sum(how.discount ** (k - t) * float(reward[k]) for k in range(t, steps))
         for t in range(steps)]
        for reward, steps in zip(data.reward, lengths)
    ]
    advantages = [list(values) for values in returns]
    if how.baseline:
        for i in range(n):
            for t in range(lengths[i]):
                others = [returns[j][t] for j in range(n) if j != i and t < lengths[j]]
                advantages[i][t] -= sum(others) / len(others) if others else 0
    if how.normalize:
        flat = [a for values in advantages for a in values]
        mean = sum(flat) / len(flat)
        deviation = (sum((a - mean) ** 2 for a in flat) / len(flat)) ** 0.5
        scale = 1 / deviation if deviation > 1e-9 else 0.0  # nothing to learn from equal episodes
        advantages = [[(a - mean) * scale for a in values] for values in advantages]

    def one(x):  # the number 1, with the derivatives of e^x at 0
        return (x - x.detach()).exp()

    def term(logp, t):
        if how.estimator == "dice":
            return one(logp[: t + 1].sum()) - one(logp[:t].sum())
        return logp[t] if how.estimator == "naive" else one(logp[t])

    total = 0.0
    for i, steps in enumerate(lengths):
        logp = log_prob(p, data.observation[i, :steps], data.action[i, :steps])
        for t in range(steps):
            total = total + term(logp, t) * advantages[i][t]
    return -total / (sum(lengths) if how.normalize else n)


KINDS = {
    "cartpole": (carts(), choice_log_prob),
    "secret side": (carts(secret_side=True), choice_log_prob),
    "navigation": (walks(goal=(-0.08, -0.02)), normal_log_prob),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradient_and_meta_gradient_equal_a_plain_loop_over_tasks(kind, normalize, estimator):
    """Two inner steps on the same episodes, rates of both signs: relative 1e-10, float64."""
    family, log_prob = KINDS[kind]
    how = PolicyGradient(estimator, discount=0.9, normalize=normalize)
    family, played = recorded(replace(family, objective=how))
    theta, size = start(family)[0], 0.1
    if kind == "navigation":  # small steps with little spread, so that some episodes arrive
        size = 1e-3
        theta = {n: torch.full_like(p, -4.0) if n == "log_std" else 0.1 * p
                 for n, p in theta.items()}
    theta = wanted(theta)
    alpha = wanted(signed_alpha(theta, size=size))
    tasks = family.sample_tasks(3, generator=gen(2))
    loss = meta_loss(family, theta, alpha, tasks, replace(MAML, inner_steps=2), shots=4,
                     query_shots=3, generator=gen(3))
    together = gradients(loss, theta, alpha)
    *supports, query = played
    assert len(supports) == 2
    assert supports[0].mask.sum(-1).unique().numel() > 1  # lengths differ

    copies = wanted(per_task(theta, (3,)))
    (inner,) = gradients(family.loss(copies, supports[0]).sum(), copies)
    losses = []
    for i in range(3):
        mine = theta
        for step, support in enumerate(supports):
            value = plain_loss(log_prob, mine, Trajectories(*(part[i] for part in support)), how)
            grads = torch.autograd.grad(value, list(mine.values()), create_graph=True)
            if step == 0:
                assert_relative(of_task(inner, i), dict(zip(mine, grads)), 1e-10)
            mine = {n: mine[n] - alpha[n] * g for n, g in zip(mine, grads)}
        losses.append(plain_loss(log_prob, mine, Trajectories(*(part[i] for part in query)), how))
    assert_close(loss, sum(losses) / 3, rtol=1e-10, atol=1e-12)
    for got, expected in zip(together, gradients(sum(losses) / 3, theta, alpha)):
        assert_relative(got, expected, 1e-10)


def test_the_estimators_have_one_first_derivative_and_three_second_ones():
    family = carts()
    theta = wanted(per_task(start(family)[0], (2,)))
    data = family.sample_data(family.sample_tasks(2, generator=gen(2)), theta, 4, generator=gen(3))
    first, second = [], []
    for estimator in ESTIMATORS:
        how = PolicyGradient(estimator)
        leaves = list(theta.values())
        losses = replace(family, objective=how).loss(theta, data)
        grads = torch.autograd.grad(losses.sum(), leaves, create_graph=True)
        first.append(torch.cat([g.flatten() for g in grads]))
        bent = torch.autograd.grad(sum(g.sum() for g in grads), leaves, materialize_grads=True)
        second.append(torch.cat([g.flatten() for g in bent]))
    for other in (1, 2):
        assert_close(first[other], first[0], rtol=1e-10, atol=1e-14)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (second[one] - second[other]).norm() > 0.05 * second[one].norm()


# ---- a problem small enough to enumerate: which estimator is right, and for which objective

#: Begin in state 0. P(next state is 0, is 1, or it is over), for action 0 and action 1.
NEXT = ((0.7, 0.2, 0.1), (0.2, 0.6, 0.2))
#: What action a in state s pays, at either step.
PAYS = ((4.0, 0.0), (2.0, 4.0))


def every_episode():
    """Return all 10 episodes of at most two steps: states, actions, rewards, masks, luck needed."""
    rows = []
    for a in (0, 1):
        for s in (0, 1):
            rows += [([0, s], [a, b], [PAYS[0][a], PAYS[s][b]], [True, True], NEXT[a][s])
                     for b in (0, 1)]
        rows.append(([0, 0], [a, 0], [PAYS[0][a], 0.0], [True, False], NEXT[a][2]))
    kinds = (torch.long, torch.long, F64, torch.bool, F64)
    return [torch.tensor(column, dtype=kind) for column, kind in zip(zip(*rows), kinds)]


STATE, ACTION, REWARD, MASK, LUCK = every_episode()
ALL = Trajectories(torch.nn.functional.one_hot(STATE, 2).to(F64), ACTION.to(F64), REWARD, MASK)
COUNT = len(LUCK)


def probability(logit):
    """Return how likely each episode is, ``(..., 10)``, under logits of action 1 ``(..., 2)``."""
    right = logit.sigmoid()
    chosen = torch.stack([1 - right, right], dim=-1)[..., STATE, ACTION]
    return LUCK * torch.where(MASK, chosen, torch.ones_like(chosen)).prod(-1)


def expected_return(logit):
    return (probability(logit) * REWARD.sum(-1)).sum(-1)


def sets(episodes, tasks=1):
    """Return every way to collect so many episodes in so many tasks, ``(ways, tasks, episodes)``"""
    each = [torch.arange(COUNT)] * (episodes * tasks)
    return torch.cartesian_prod(*each).reshape(-1, tasks, episodes)


class Tabular(PolicyFamily):
    """A logit for each of the two states. What is "sampled" is everything, along the runs axes.

    The k-th call to ``sample_data`` lays all ways of the k-th draw out along the k-th axis, and
    ``weight`` becomes the probability of what each run has met.
    """

    def __init__(self, objective, draws=()):
        self.objective, self.draws, self.weight = objective, list(draws), 1.0
        self.model = torch.nn.ParameterDict({"logit": torch.zeros(2)})

    def log_prob(self, phi, data):
        logit = (data.observation * phi["logit"][..., None, None, :]).sum(-1)
        return torch.nn.functional.logsigmoid((2 * data.action - 1) * logit)

    def sample_data(self, tasks, phi, shots, *, generator):
        *runs, n_tasks = tasks[0].shape
        axis = len(runs) - len(self.draws)
        ways = self.draws.pop(0)
        assert ways.shape[1:] == (n_tasks, shots)
        likely = probability(phi["logit"].detach())  # (*runs, tasks, 10)
        for task in range(n_tasks):
            each = likely[..., task, :][..., ways[:, task]].prod(-1)  # (*runs, ways)
            self.weight = self.weight * each.diagonal(dim1=axis, dim2=-1).movedim(-1, axis)
        laid_out = ways.reshape(*(-1 if k == axis else 1 for k in range(len(runs))), n_tasks, shots)
        laid_out = laid_out.expand(*runs, n_tasks, shots)
        return Trajectories(*(part[laid_out] for part in ALL))


def fresh_logit():
    return torch.tensor([1.0, -0.5], dtype=F64, requires_grad=True)


def bend(value, logit):
    """Return gradient and Hessian."""
    (g,) = torch.autograd.grad(value, logit, create_graph=True)
    rows = [torch.autograd.grad(part, logit, retain_graph=True, materialize_grads=True)[0]
            for part in g]
    return g.detach(), torch.stack(rows)


def test_the_enumeration_is_complete():
    assert COUNT == 10
    assert_close(probability(fresh_logit()).sum().detach(), torch.ones((), dtype=F64))


@pytest.mark.parametrize("baseline", [False, True])
def test_dice_has_the_hessian_of_the_expected_return_and_the_others_do_not(baseline):
    """Objective (I), over all 100 support sets of two episodes, to 1e-9 (absolute, float64).

    The gradient all three have. Of the Hessian lvc drops terms on purpose, and naive
    log-probability alone misses more. Without a baseline and with the leave-one-out mean, which
    therefore leaves the expectations where they were.
    """
    logit, ways = fresh_logit(), sets(2)
    exact = bend(-expected_return(logit), logit)
    weight = probability(logit)[ways[:, 0]].prod(-1).detach()
    off = {}
    for estimator in ESTIMATORS:
        family = Tabular(replace(SUMMED, estimator=estimator, baseline=baseline))
        data = Trajectories(*(part[ways[:, 0]] for part in ALL))
        losses = family.loss({"logit": logit.expand(len(ways), 2)}, data)
        gradient, hessian = bend((weight * losses).sum(), logit)
        assert_close(gradient, exact[0], rtol=0, atol=1e-9)
        off[estimator] = float((hessian - exact[1]).norm() / exact[1].norm())
    print(f"relative error of the Hessian, baseline {baseline}: {off}")
    assert off["dice"] < 1e-9
    assert 0.05 < off["lvc"] < off["naive"]


def objective_two(logit, rate, ways, how, steps=1):
    """Return minus E[J(theta - alpha ∘ g)] with g from sampled episodes, all of them written out.

    The gradient of log pi(a | s) with respect to the logit of s is a - P(1 | s).
    """
    ways = ways[:, 0]
    episodes = ways.shape[1]
    returns = REWARD.flip(-1).cumsum(-1).flip(-1)[ways]  # (ways, episodes, steps)
    mask = MASK[ways].to(F64)
    advantage = returns
    if how.baseline:
        assert episodes == 2
        advantage = returns - (returns * mask).flip(1)  # the other episode's, 0 where it is over
    surprise = ACTION[ways] - logit.sigmoid()[..., STATE[ways]]
    per_state = torch.nn.functional.one_hot(STATE[ways], 2).to(F64)
    g = -((advantage * mask * surprise).unsqueeze(-1) * per_state).sum((-3, -2)) / episodes
    phi = logit.unsqueeze(-2) - rate * g
    met = probability(logit)[..., ways].prod(-1)
    if steps == 1:
        return -(met * expected_return(phi)).sum(-1)
    later = torch.stack([objective_two(p, rate, ways[:, None], how, steps - 1) for p in phi])
    return (met * later).sum(-1)


def meta_gradient(method, how, *, episodes, tasks=1):
    """Return the expectation of meta_loss's gradient, over all that could have been sampled."""
    logit, draws = fresh_logit(), [sets(episodes, tasks)] * method.inner_steps + [sets(1, tasks)]
    family, runs = Tabular(how, draws), [len(ways) for ways in draws]
    theta, alpha = {"logit": logit.expand(*runs, 2)}, {"logit": RATES.expand(*runs, 2)}
    losses = meta_loss(family, theta, alpha, (torch.zeros(*runs, tasks),), method, shots=episodes,
                       query_shots=1, generator=gen())
    assert_close(family.weight.sum(), torch.ones((), dtype=F64))
    return torch.autograd.grad((family.weight * losses).sum(), logit)[0]


RATES = torch.tensor([1.0, 0.7], dtype=F64)
CREDIT = replace(MAML, name="E-MAML", credit_sampling=True)


@pytest.mark.parametrize(
    ("baseline", "episodes", "steps", "tasks"),
    [(False, 2, 1, 1), (True, 2, 1, 1), (False, 1, 2, 1), (False, 1, 1, 2)],
    ids=["no baseline", "leave-one-out", "two steps", "two tasks"],
)
def test_naive_with_the_score_term_is_the_gradient_of_what_one_does_at_test(
    baseline, episodes, steps, tasks
):
    """Objective (II), through the real meta_loss, to 1e-9 (absolute, float64).

    Also over two inner steps, where the second episodes depend on theta through phi; and over two
    tasks, where each one's score is the other's baseline.
    """
    logit, how = fresh_logit(), replace(SUMMED, baseline=baseline)
    value = objective_two(logit, RATES, sets(episodes), how, steps)
    (exact,) = torch.autograd.grad(value, logit)
    got = meta_gradient(replace(CREDIT, inner_steps=steps), how, episodes=episodes, tasks=tasks)
    assert_close(got, exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("baseline", [False, True])
def test_no_other_estimator_is_and_lvc_with_the_score_term_counts_twice(baseline):
    """Distances from objective (II)'s gradient, relative: all far from rounding."""
    logit, how = fresh_logit(), replace(SUMMED, baseline=baseline)
    (exact,) = torch.autograd.grad(objective_two(logit, RATES, sets(2), how), logit)
    off = {}
    for estimator in ESTIMATORS:
        for method in (MAML, CREDIT):
            got = meta_gradient(method, replace(how, estimator=estimator), episodes=2)
            off[method.name, estimator] = float((got - exact).norm() / exact.norm())
    print({key: f"{value:.1e}" for key, value in off.items()})
    assert off.pop(("E-MAML", "naive")) < 1e-9
    assert min(off.values()) > 0.01


# ---- where there is little or nothing to learn from


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("discount", [0.99, 1.0])
@pytest.mark.parametrize("n", [2, 3, 7, 10])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_episodes_that_are_all_equal_teach_nothing(dtype, discount, n, estimator):
    """Every pole stood for the whole 200 steps: advantages and gradient are 0, and not rounding.

    Divided by its own tiny spread, rounding would be a full-sized step in no direction.
    """
    family = carts(dtype, objective=PolicyGradient(estimator, discount=discount))
    phi = wanted(per_task(start(family)[0], (2,)))
    observation = torch.randn(2, n, 200, 4, generator=gen(), dtype=dtype)
    ones = torch.ones(2, n, 200, dtype=dtype)
    for reward in (ones, 0.1 * ones, 0 * ones):
        data = Trajectories(observation, (observation[..., 0] > 0).to(dtype), reward, ones > 0)
        assert (family.objective.advantages(data) == 0).all()
        losses = family.loss(phi, data)
        (g,) = gradients(losses.sum(), phi)
        assert (losses == 0).all()
        assert all((leaf == 0).all() for leaf in g.values())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_single_step_less_in_one_of_ten_episodes_is_no_rounding(dtype):
    """The smallest difference that CartPole knows, among 500 steps, still teaches in full."""
    mask = torch.ones(1, 10, 500, dtype=torch.bool)
    mask[0, 3, -1] = False
    reward = mask.to(dtype)
    data = Trajectories(torch.zeros(1, 10, 500, 4), torch.zeros(1, 10, 500), reward, mask)
    got = PolicyGradient().advantages(data)
    assert abs(got[mask].square().mean() - 1) < 1e-3
    assert got[0, 3, 498] < -5


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_episodes_of_one_step_and_a_horizon_of_one_have_finite_losses(estimator, normalize):
    how = PolicyGradient(estimator, normalize=normalize)
    for family in (carts(horizon=1, objective=how), walks(horizon=1, objective=how)):
        phi = wanted(per_task(start(family)[0], (3,)))
        tasks = family.sample_tasks(3, generator=gen(1))
        data = family.sample_data(tasks, phi, 4, generator=gen(2))
        assert data.mask.shape == (3, 4, 1)
        losses = family.loss(phi, data)
        (g,) = gradients(losses.sum(), phi)
        assert losses.isfinite().all()
        assert all(leaf.isfinite().all() for leaf in g.values())
    # In the padded company of a longer episode it is the same.
    reward, mask = torch.zeros(1, 2, 9, dtype=F64), torch.zeros(1, 2, 9, dtype=torch.bool)
    mask[0, 0, 0] = mask[0, 1] = True
    reward[mask] = 1.0
    phi = wanted(per_task(start(carts())[0], (1,)))
    data = Trajectories(torch.zeros(1, 2, 9, 4, dtype=F64), torch.zeros(1, 2, 9, dtype=F64),
                        reward, mask)
    (g,) = gradients(carts(objective=how).loss(phi, data).sum(), phi)
    assert all(leaf.isfinite().all() for leaf in g.values())


def test_a_single_episode_has_no_others_and_no_baseline():
    """Its advantages are its returns; normalised they are finite, and its loss has a gradient."""
    reward = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=F64)
    data = Trajectories(torch.zeros(1, 1, 3, 4, dtype=F64), torch.zeros(1, 1, 3, dtype=F64),
                        reward, reward > 0)
    raw = PolicyGradient(discount=0.5, normalize=False)
    assert raw.advantages(data).tolist() == [[[2.75, 3.5, 3.0]]]
    phi = wanted(per_task(start(carts())[0], (1,)))
    (g,) = gradients(carts().loss(phi, data).sum(), phi)
    assert all(leaf.isfinite().all() for leaf in g.values())
    assert any(leaf.abs().max() > 0 for leaf in g.values())


@pytest.mark.parametrize("estimator", ["lvc", "dice"])
def test_the_losss_value_is_0_whatever_was_earned_so_the_score_is_what_is_reported(estimator):
    family = carts(horizon=30, objective=PolicyGradient(estimator))
    phi = per_task(start(family)[0], (3,))
    data = family.sample_data(family.sample_tasks(3, generator=gen(2)), phi, 5, generator=gen(3))
    assert family.loss(phi, data).abs().max() < 1e-14
    assert (family.score(phi, data) > 5).all()


@pytest.mark.parametrize("family", [carts(), walks()], ids=["cartpole", "navigation"])
def test_runs_share_no_numbers(family):
    """The gradient of one run's meta-loss with respect to another run's theta is exactly 0."""
    theta, _ = start(family, runs=(2,))
    theta = wanted(theta)
    tasks = family.sample_tasks(2, 3, generator=gen(2))
    losses = meta_loss(family, theta, 0.1, tasks, CREDIT, shots=4, query_shots=4, generator=gen(3))
    assert losses.shape == (2,)
    (g,) = gradients(losses[0], theta)
    assert all(leaf[0].abs().max() > 0 and (leaf[1] == 0).all() for leaf in g.values())


def test_the_meta_loss_leaves_theta_and_alpha_as_they_were_and_follows_the_seed():
    family = carts()
    theta, alpha = start(family)
    theta, alpha = wanted(theta), wanted(alpha)
    before = [{n: p.detach().clone() for n, p in group.items()} for group in (theta, alpha)]
    tasks = family.sample_tasks(3, generator=gen(2))

    def value(seed):
        loss = meta_loss(family, theta, alpha, tasks, CREDIT, shots=4, query_shots=4,
                         generator=gen(seed))
        return gradients(loss, theta, alpha)

    first = value(3)
    torch.manual_seed(99)
    assert_close(value(3), first, **EXACT)
    assert not torch.equal(value(4)[0]["layers.0.weight"], first[0]["layers.0.weight"])
    assert_close([{n: p.detach() for n, p in group.items()} for group in (theta, alpha)], before,
                 **EXACT)
    assert all(p.grad is None for group in (theta, alpha) for p in group.values())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"estimator": "loaded"}, "estimator must be \"lvc\", \"naive\" or \"dice\", got 'loaded'"),
        ({"discount": 0.0}, "discount must be above 0 and at most 1, got 0.0"),
        ({"discount": 1.1}, "discount must be above 0 and at most 1, got 1.1"),
        ({"discount": math.nan}, "discount must be above 0 and at most 1, got nan"),
    ],
)
def test_an_estimator_that_is_none_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        PolicyGradient(**settings)


def test_a_family_has_to_say_how_likely_its_actions_are():
    with pytest.raises(NotImplementedError):
        PolicyFamily().log_prob({}, ALL)
