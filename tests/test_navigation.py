"""Navigation: where a step leads, what it costs, when an episode ends, and what is refused."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from cases import EXACT, gen, start, walks
from torch.testing import assert_close

import metasgd_core.environments
from metasgd_core import MLP, GaussianMLP, Navigation, NavigationTasks, init_theta, per_task
from metasgd_core.tasks.navigation import REACH

F64 = torch.float64
assert metasgd_core.environments  # imported for what it registers


def goals(*points):
    """Return one task a point."""
    return NavigationTasks(*torch.tensor(points, dtype=F64).T)


def play(family, phi, tasks, shots=6, seed=2):
    return family.sample_data(tasks, phi, shots, generator=gen(seed))


def steady(velocity, batch, log_std=-40.0):
    """Return a policy that always moves by `velocity`, with next to no spread."""
    theta = {n: torch.zeros_like(p) for n, p in start(walks())[0].items()}
    theta["layers.1.bias"] += torch.tensor(velocity, dtype=F64) / REACH
    theta["log_std"] += log_std
    return per_task(theta, (batch,))


@pytest.mark.parametrize("reward", ["distance", "squared"])
@pytest.mark.parametrize("begin", ["origin", "uniform"])
def test_whole_episodes_equal_those_of_the_gymnasium_environment(reward, begin):
    """The same actions, one task at a time, written with NumPy: positions, rewards, both ends.

    Within 1e-12 (absolute, float64).
    """
    family = walks(reward=reward, start=begin, horizon=12)
    tasks = family.sample_tasks(4, generator=gen(1))
    phi = {n: p.clone() for n, p in per_task(start(family)[0], (4,)).items()}
    # The first task: a goal at the origin, and a policy that all but stands still.
    tasks.x[0] = tasks.y[0] = 0.0
    phi["log_std"][0], phi["layers.1.weight"][0], phi["layers.1.bias"][0] = -5.0, 0.0, 0.0
    data = play(family, phi, tasks)
    ends = set()
    for i in range(4):
        env = gymnasium.make("metasgd_core/Navigation-v0", goal=(float(tasks.x[i]),
                             float(tasks.y[i])), reward=reward, start=begin, max_episode_steps=12)
        for observation, action, paid, mask in zip(*(part[i] for part in data)):
            env.reset(seed=0)
            env.unwrapped.position = observation[0].numpy().copy()
            steps = int(mask.sum())
            assert torch.equal(mask, torch.arange(len(mask)) < steps)
            assert (paid[steps:] == 0).all()
            for t in range(steps):
                assert np.abs(observation[t].numpy() - env.unwrapped.position).max() < 1e-12
                _, theirs, terminated, truncated, _ = env.step(action[t].numpy())
                assert abs(float(paid[t]) - theirs) < 1e-12
                assert (terminated or truncated) == (t == steps - 1)
            ends.add((terminated, truncated))
    assert ends == {(False, True)} | ({(True, False)} if begin == "origin" else set())


def test_a_step_is_cut_to_a_tenth_along_each_axis_and_pays_minus_the_distance_after_it():
    """Towards (0.3, 0.4) with (5, -7): the moves are (0.1, -0.1), and 0.2 and 0.5 are left."""
    family = walks(horizon=2)
    data = play(family, steady((5.0, -7.0), 1), goals((0.3, 0.4)), shots=2)
    assert_close(data.observation[0, 0], torch.tensor([[0, 0], [0.1, -0.1]], dtype=F64))
    left = torch.tensor([[0.2**2 + 0.5**2, 0.1**2 + 0.6**2]], dtype=F64)
    assert_close(data.reward[0, :1], -left.sqrt())
    assert_close(data.action[0, 0], torch.tensor([[5.0, -7.0]] * 2, dtype=F64))
    squared = play(walks(horizon=2, reward="squared"), steady((5.0, -7.0), 1), goals((0.3, 0.4)))
    assert_close(squared.reward[0, :1], -left)


@pytest.mark.parametrize(("rest", "steps"), [(0.0101, 9), (0.0099, 1)])
def test_an_episode_ends_closer_than_a_hundredth_to_its_goal(rest, steps):
    """A distance, not a box: 0.0099 along both axes would still go on. The last step is paid."""
    family = walks(horizon=9)
    data = play(family, steady((0.0, 0.0), 1), goals((rest, 0.0)), shots=2)
    assert data.mask.shape == (1, 2, steps)
    assert_close(data.reward, torch.full((1, 2, steps), -rest, dtype=F64))
    corner = play(family, steady((0.0, 0.0), 1), goals((0.0099, 0.0099)), shots=2)
    assert corner.mask.shape[-1] == 9


def test_an_episode_that_has_arrived_waits_for_the_others_without_pay():
    """Goals one, three and (never) steps away: masks of 1, 3 and 9, and nobody moves on."""
    family = walks(horizon=9)
    tasks = goals((0.1, 0.0), (0.3, 0.0), (-0.5, 0.0))
    data = play(family, steady((0.1, 0.0), 3), tasks, shots=2)
    assert data.mask.sum(-1).tolist() == [[1, 1], [3, 3], [9, 9]]
    assert_close(data.observation[0, 0, :, 0], torch.tensor([0.0] + [0.1] * 8, dtype=F64))
    assert (data.reward[~data.mask] == 0).all()
    first, second = (-data.reward[i, 0].sum() for i in range(2))
    assert_close(torch.stack([first, second]), torch.tensor([0.0, 0.2 + 0.1], dtype=F64))
    returns = family.score(steady((0.1, 0.0), 3), data)
    assert_close(returns, data.reward.sum((-2, -1)) / 2, **EXACT)


def test_an_episode_of_one_step_has_a_finite_loss_and_gradient():
    """All start on the goal and move by nothing: masks of length 1."""
    family = walks()
    phi = {n: p.clone().requires_grad_() for n, p in steady((0.0, 0.0), 3, log_std=-9.0).items()}
    data = play(family, phi, goals(*[(0.0, 0.0)] * 3))
    assert data.mask.shape == (3, 6, 1)
    losses = family.loss(phi, data)
    grads = torch.autograd.grad(losses.sum(), list(phi.values()))
    assert losses.isfinite().all()
    assert all(g.isfinite().all() for g in grads)
    assert any(g.abs().max() > 0 for g in grads)


def test_log_prob_is_the_normal_density_of_the_action_as_it_was_wished():
    """Before it was cut to the reach. Relative and absolute 1e-12, float64; spreads a task."""
    family = walks()
    phi = init_theta(family.model, generator=gen(4), runs=(3,))
    phi["log_std"] = torch.tensor([[-1.0, 0.5], [0.0, -2.0], [1.0, 0.0]], dtype=F64)
    data = play(family, phi, family.sample_tasks(3, generator=gen(1)))
    assert data.action.abs().max() > 0.1
    got = family.log_prob(phi, data)
    for i in range(3):
        p = {n: values[i] for n, values in phi.items()}
        h = (data.observation[i] @ p["layers.0.weight"].T + p["layers.0.bias"]).tanh()
        mean = REACH * (h @ p["layers.1.weight"].T + p["layers.1.bias"])
        variance = (2 * p["log_std"]).exp()
        density = (-(data.action[i] - mean) ** 2 / (2 * variance)).exp() / (
            2 * math.pi * variance
        ).sqrt()
        assert_close(got[i], density.prod(-1).log(), rtol=1e-12, atol=1e-12)
    totals = family.log_likelihood(phi, data)
    assert_close(totals, torch.stack([got[i][data.mask[i]].sum() for i in range(3)]))


def test_actions_are_normal_around_the_mean_with_the_spread_of_their_axis_anew_at_each_step():
    """4 standard errors for mean and spread; neither axes nor steps hang together."""
    family = walks(horizon=3)
    phi = steady((0.3, -0.2), 2, log_std=0.0)
    phi["log_std"] = torch.tensor([[-1.0, 0.5], [0.0, 0.0]], dtype=F64)
    data = play(family, phi, goals((9.0, 9.0), (9.0, 9.0)), shots=3000)
    for i in range(2):
        spread, n = phi["log_std"][i].exp(), 3000
        flat = data.action[i].reshape(n, 6)
        z = (flat - torch.tensor([0.3, -0.2] * 3)) / spread.repeat(3)
        assert (z.mean(0)).abs().max() < 4 / n**0.5
        assert (z.std(0) - 1).abs().max() < 4 / (2 * n) ** 0.5
        assert (torch.corrcoef(z.T) - torch.eye(6)).abs().max() < 4 / n**0.5


def test_goals_and_varying_starts_are_uniform_in_the_square():
    """Kolmogorov and Smirnov's 0.1 % point, either coordinate; all drawn independently."""
    n = 2000
    family = walks(start="uniform", horizon=1)
    tasks = family.sample_tasks(n, generator=gen(7))
    data = play(family, steady((0.0, 0.0), n), tasks, shots=1)
    drawn = [tasks.x, tasks.y, *data.observation[:, 0, 0].T]
    for values in drawn:
        u = values.sort().values + 0.5
        assert u.min() >= 0
        assert u.max() <= 1
        assert (u - (torch.arange(n) + 0.5) / n).abs().max() < 1.95 / n**0.5
    assert (torch.corrcoef(torch.stack(drawn)) - torch.eye(4)).abs().max() < 4 / n**0.5


def test_the_default_is_the_papers():
    """Goals in [-0.5, 0.5]², from the origin, two hidden layers of 100 with ReLU, 100 steps."""
    family = Navigation()
    assert (family.goal, family.start, family.horizon) == ((-0.5, 0.5), "origin", 100)
    sizes = [tuple(p.shape) for n, p in family.model.named_parameters() if n.endswith("weight")]
    assert sizes == [(100, 2), (100, 100), (2, 100)]
    assert family.model.activation == "relu"
    other = Navigation(goal=(1.0, 2.0)).sample_tasks(50, generator=gen())
    assert all(1 <= values.min() <= values.max() <= 2 for values in other)


def test_the_same_seed_plays_the_same_and_leaves_the_policy_as_it_was():
    family = walks(start="uniform")
    phi = {n: p.clone().requires_grad_() for n, p in per_task(start(family)[0], (3,)).items()}
    before = {n: p.detach().clone() for n, p in phi.items()}
    tasks = family.sample_tasks(3, generator=gen(1))
    data = play(family, phi, tasks)
    torch.manual_seed(99)
    assert_close(family.sample_tasks(3, generator=gen(1)), tasks, **EXACT)
    assert_close(play(family, phi, tasks), data, **EXACT)
    assert not torch.equal(play(family, phi, tasks, seed=3).action, data.action)
    assert_close({n: p.detach() for n, p in phi.items()}, before, **EXACT)
    assert not any(part.requires_grad for part in data)


def test_how_many_numbers_are_drawn_does_not_depend_on_when_episodes_end():
    """Else two methods compared on one seed would meet other noise after the first step."""
    states, steps = set(), set()
    for goal in ((0.0, 0.0), (5.0, 5.0)):
        g = gen(5)
        data = walks().sample_data(goals(goal), steady((0.0, 0.0), 1), 4, generator=g)
        states.add(bytes(g.get_state().numpy()))
        steps.add(data.mask.shape[-1])
    assert (len(states), steps) == (1, {1, 8})


def test_runs_and_tasks_have_goals_and_noise_of_their_own():
    family = walks(start="uniform", horizon=2)
    theta, _ = start(family, runs=(2,))
    tasks = family.sample_tasks(2, 3, generator=gen(1))
    data = play(family, per_task(theta, (2, 3)), tasks, shots=4)
    assert torch.cat([tasks.x, tasks.y]).unique().numel() == 12
    assert data.mask.shape == (2, 3, 4, 2)
    assert data.observation[..., 0, :].unique().numel() == 48
    assert data.action.unique().numel() == 96


# ---- what is refused


@pytest.mark.parametrize("ends", [(0.5, -0.5), (math.nan, 1.0), (0.0, math.inf)])
def test_a_range_of_goals_that_is_none_is_refused(ends):
    with pytest.raises(ValueError, match=r"goal must be a pair \(lowest, highest\) of finite num"):
        Navigation(goal=ends)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"start": "goal"}, r"start must be one of \('origin', 'uniform'\), got 'goal'"),
        ({"reward": "sparse"}, r"reward must be one of \('distance', 'squared'\), got 'sparse'"),
        ({"horizon": 0}, "horizon must be a whole number of at least 1, got 0"),
        ({"horizon": 10.0}, "horizon must be a whole number of at least 1, got 10.0"),
        ({"model": MLP((2, 5, 2))}, "the policy must be a GaussianMLP, which has a spread for its "
                                    "actions, got a MLP"),
        ({"model": GaussianMLP((2, 5, 1))}, r"must map 2 observations to 2 outputs, but gives "
                                            r"\(1,\) for one observation"),
        ({"model": GaussianMLP((4, 5, 2))}, "must map 2 observations to 2 outputs; it does not "
                                            "take the observations"),
    ],
)
def test_a_navigation_that_cannot_be_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Navigation(**arguments)


@pytest.mark.parametrize("n", [0, -3, True])
def test_zero_episodes_or_tasks_are_refused(n):
    family = walks()
    least = f"must be a whole number of at least 1, got {n}"
    with pytest.raises(ValueError, match=f"the number of tasks {least}"):
        family.sample_tasks(n, generator=gen())
    with pytest.raises(ValueError, match=f"shots {least}"):
        play(family, steady((0.0, 0.0), 1), goals((0.1, 0.1)), shots=n)
