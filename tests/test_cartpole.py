"""CartPole: gymnasium's own, number for number; who swaps and who pays; what is refused."""

import math
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from cases import EXACT, carts, gen, start
from torch import Tensor, nn
from torch.testing import assert_close

from metasgd_core import MLP, CartPole, CartPoleTasks, init_theta, per_task
from metasgd_core.tasks.cartpole import fell

F64 = torch.float64
EPISODES, HORIZON = 600, 500
STANDARD = {"length": 0.5, "masspole": 0.1, "masscart": 1.0, "force": 10.0, "gravity": 9.8}
#: Linear in the state: pushes against the fall, and gently against the way to the edge.
BALANCE = (1.0, 1.0, 20.0, 4.0)


def cart(side=0.0, batch=(1,), **physics):
    """Return tasks with the standard physics but for what is named."""
    return CartPoleTasks(*(torch.full(batch, value, dtype=F64)
                           for value in (STANDARD | physics | {"side": side}).values()))


def stands_for_either_sign(state):
    """Nine numbers that balance a cart without being told which way it is pushed.

    m = sign(w·s) guesses the sign from the motion itself; then push right iff m (k·s - m c) > 0.
    """
    w, k = (-16.112, -11.759, -25.055, -24.058), (-9.5127, -7.1234, -11.730, -10.692)
    seen = state * (1.0, 1.0, 5.0, 1.0)
    m = 1.0 if seen @ w > 0 else -1.0
    return int(m * (seen @ k - m * 4.2997) > 0)


class Played(NamedTuple):
    """What gymnasium's CartPole-v1 did in 600 episodes; steps behind an end are NaN and False."""

    tasks: CartPoleTasks
    state: Tensor  # (episodes, steps + 1, 4)
    action: Tensor  # (episodes, steps)
    mask: Tensor
    terminated: Tensor
    truncated: Tensor


@pytest.fixture(scope="module")
def played():
    """Play in gymnasium: 200 standard carts, 300 of random physics, half swapped, at random;
    100 standard ones, half swapped, that stand for all 500 steps."""
    env, rng = gymnasium.make("CartPole-v1", disable_env_checker=True), np.random.default_rng(3)
    physics = {name: np.full(EPISODES, value) for name, value in STANDARD.items()}
    ranges = {"length": (0.1, 4.0), "masspole": (0.02, 2.0), "masscart": (0.2, 5.0),
              "force": (2.0, 30.0), "gravity": (1.0, 30.0)}
    for name, (low, high) in ranges.items():
        physics[name][200:500] = rng.uniform(low, high, 300)
    physics["force"][200:550:2] *= -1
    state = np.full((EPISODES, HORIZON + 1, 4), np.nan)
    action = np.zeros((EPISODES, HORIZON))
    flags = np.zeros((3, EPISODES, HORIZON), dtype=bool)
    raw = env.unwrapped
    for i in range(EPISODES):
        raw.length, raw.masspole, raw.masscart, raw.force_mag, raw.gravity = (
            float(values[i]) for values in physics.values()
        )
        raw.total_mass, raw.polemass_length = raw.masspole + raw.masscart, raw.masspole * raw.length
        env.reset(seed=i)
        state[i, 0] = raw.state
        at_random = rng.integers(2, size=HORIZON)
        for t in range(HORIZON):
            a = int(at_random[t]) if i < 500 else stands_for_either_sign(state[i, t])
            _, _, terminated, truncated, _ = env.step(a)
            state[i, t + 1], action[i, t] = raw.state, a
            flags[:, i, t] = True, terminated, truncated
            if terminated or truncated:
                break
    tasks = CartPoleTasks(*(torch.tensor(values) for values in physics.values()),
                          side=torch.zeros(EPISODES, dtype=F64))
    return Played(tasks, torch.tensor(state), torch.tensor(action),
                  *(torch.tensor(flag) for flag in flags))


def test_each_step_is_gymnasiums_to_1e_14(played):
    """Absolute, float64: from every state that gymnasium visited, the next one."""
    after = played.tasks.step(played.state[:, :-1], played.action)
    error = (after - played.state[:, 1:]).abs()[played.mask]
    lengths = played.mask.sum(-1)
    print(f"{len(error)} steps, largest difference {error.max():.1e}")
    assert (lengths[500:] == HORIZON).all()
    assert len(error) > 60_000
    assert error.max() < 1e-14


def test_free_running_stays_within_1e_12_for_50_steps(played):
    """Absolute, float64. (Over 500 steps no two programs agree: the motion is chaotic.)"""
    state, worst = played.state[:, :1], 0.0
    for t in range(50):
        state = played.tasks.step(state, played.action[:, t : t + 1])
        gap = (state[:, 0] - played.state[:, t + 1]).abs()[played.mask[:, t]]
        worst = max(worst, float(gap.max()))
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-12


def test_episodes_end_where_gymnasiums_end(played):
    """Terminated exactly where the pole has fallen or the cart is off, truncated at 500 else."""
    assert torch.equal(fell(played.state[:, 1:]) & played.mask, played.terminated)
    assert played.terminated.sum() == 500
    assert played.truncated.nonzero().tolist() == [[i, HORIZON - 1] for i in range(500, 600)]


@pytest.mark.parametrize(("axis", "limit"), [(0, 2.4), (2, 12 * 2 * math.pi / 360)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_limits_themselves_are_still_inside(axis, limit, sign):
    state = torch.zeros(2, 4, dtype=F64)
    state[:, axis] = sign * torch.tensor([limit, math.nextafter(limit, math.inf)], dtype=F64)
    assert fell(state).tolist() == [False, True]


@pytest.mark.parametrize("horizon", [12, 40])
def test_whole_episodes_equal_gymnasiums_and_so_do_both_their_ends(horizon):
    """What the family plays, replayed in gymnasium from the same start with the same actions.

    States within 1e-12 (absolute); the mask ends where gymnasium terminates or truncates.
    """
    family = carts(swapped=False, length=(0.5, 0.5), masspole=(0.1, 0.1), force=(10.0, 10.0),
                   horizon=horizon)
    theta, _ = start(family)
    tasks = family.sample_tasks(2, generator=gen(1))
    data = family.sample_data(tasks, per_task(theta, (2,)), 15, generator=gen(2))
    env = gymnasium.make("CartPole-v1", max_episode_steps=horizon, disable_env_checker=True)
    ends = []
    for observation, action, reward, mask in zip(*(part.flatten(0, 1) for part in data)):
        env.reset()
        env.unwrapped.state = observation[0].numpy().copy()
        steps = int(mask.sum())
        for t in range(steps):
            assert np.abs(observation[t].numpy() - env.unwrapped.state).max() < 1e-12
            _, paid, terminated, truncated, _ = env.step(int(action[t]))
            assert (terminated or truncated) == (t == steps - 1)
            assert reward[t] == paid == 1
        ends.append((terminated, truncated))
    # At 40 all have fallen; at 12 some have, some are cut off, and some fall at that very step.
    cut_off = {(False, True), (True, True)} if horizon == 12 else set()
    assert set(ends) == {(True, False)} | cut_off


def test_a_policy_that_balances_stands_for_500_steps_here_and_in_gymnasium():
    """The truncation of CartPole-v1: 500 rewarded steps, no end among them."""
    family = CartPole(MLP((4, 2)).double(), greedy=True)
    theta = {"layers.0.weight": torch.zeros(1, 2, 4, dtype=F64),
             "layers.0.bias": torch.zeros(1, 2, dtype=F64)}
    theta["layers.0.weight"][0, 1] = torch.tensor(BALANCE) / torch.tensor([1.0, 1.0, 5.0, 1.0])
    data = family.sample_data(family.sample_tasks(1, generator=gen()), theta, 20, generator=gen())
    assert data.mask.shape == (1, 20, 500)
    assert data.mask.all()
    assert family.score(theta, data).tolist() == [500.0]
    env = gymnasium.make("CartPole-v1", disable_env_checker=True)
    for episode in range(3):
        env.reset()
        env.unwrapped.state = data.observation[0, episode, 0].numpy().copy()
        ends = [env.step(int(env.unwrapped.state @ BALANCE > 0))[2:4] for _ in range(500)]
        assert ends == [(False, False)] * 499 + [(False, True)]


# ---- how episodes are played


def play(family, phi, shots=20, batch=(3,), seed=2, tasks=None):
    tasks = tasks or family.sample_tasks(*batch, generator=gen(1))
    return tasks, family.sample_data(tasks, phi, shots, generator=gen(seed))


def constant(family, logit, batch=(3,)):
    """Return parameters that prefer action 1 by `logit` wherever they are."""
    phi = per_task({n: torch.zeros_like(p) for n, p in start(family)[0].items()}, batch)
    last = phi["layers.1.bias"].clone()
    last[..., 1] = logit
    return phi | {"layers.1.bias": last}


def test_an_ended_episode_stays_where_it_is_and_is_masked():
    """No new episode begins by itself, and nothing behind an end is rewarded."""
    family = carts(horizon=60)
    theta, _ = start(family)
    tasks, data = play(family, per_task(theta, (3,)))
    lengths = data.mask.sum(-1)
    steps = data.mask.shape[-1]
    assert steps == lengths.max() < 60  # played until the last has ended, and no further
    assert lengths.unique().numel() > 5
    assert torch.equal(data.mask, torch.arange(steps) < lengths.unsqueeze(-1))
    assert torch.equal(data.reward, data.mask.double())
    after = tasks.step(data.observation.flatten(1, 2), data.action.flatten(1, 2))
    after = after.unflatten(1, (20, steps))
    following = data.observation[:, :, 1:]
    assert torch.equal(following[data.mask[..., 1:]], after[:, :, :-1][data.mask[..., 1:]])
    frozen = ~data.mask[..., 1:] & ~data.mask[..., :-1]
    assert torch.equal(following[frozen], data.observation[:, :, :-1][frozen])
    last = after.gather(2, (lengths - 1)[..., None, None].expand(3, 20, 1, 4)).squeeze(2)
    assert fell(last).all()
    assert not fell(data.observation)[data.mask].any()


def test_an_episode_starts_uniform_within_a_twentieth():
    """As gymnasium's, all four numbers: spread, ends and mean (4 standard errors)."""
    family = carts(horizon=1)
    _, data = play(family, constant(family, 0.0, (10,)), shots=400, batch=(10,))
    first = data.observation[:, :, 0].reshape(-1, 4)
    assert first.flatten().unique().numel() == 16_000  # every task and episode has its own
    for values in first.T:
        assert 0.0499 < values.max() <= 0.05
        assert -0.05 <= values.min() < -0.0499
        assert abs(values.mean()) < 4 * 0.05 / 3**0.5 / 4000**0.5
        assert abs(values.std() / (0.05 / 3**0.5) - 1) < 0.03


@pytest.mark.parametrize("logit", [-1.0, 0.0, 2.0])
def test_actions_are_drawn_with_the_policys_probability_anew_at_each_step(logit):
    """Frequencies within 4 standard errors; no step's draw tells of the next one's."""
    family = carts(horizon=6, force=(1.0, 1.0))
    _, data = play(family, constant(family, logit, (10,)), shots=300, batch=(10,))
    assert data.mask.all()
    p = 1 / (1 + math.exp(-logit))
    flat = data.action.reshape(-1, 6)
    assert set(flat.unique().tolist()) == {0.0, 1.0}
    assert (flat.mean(0) - p).abs().max() < 4 * (p * (1 - p) / 3000) ** 0.5
    off_diagonal = torch.corrcoef(flat.T) - torch.eye(6)
    assert off_diagonal.abs().max() < 4.5 / 3000**0.5


def plain_logits(phi, observation):
    """The policy of one task, written out: the angle counts five times."""
    h = (observation * torch.tensor([1.0, 1.0, 5.0, 1.0], dtype=F64)) @ phi["layers.0.weight"].T
    h = (h + phi["layers.0.bias"]).tanh()
    return h @ phi["layers.1.weight"].T + phi["layers.1.bias"]


def test_log_prob_is_that_of_the_two_way_choice():
    """Relative and absolute 1e-12, float64, each task with its own parameters."""
    family = carts()
    phi = init_theta(family.model, generator=gen(4), runs=(3,))
    _, data = play(family, phi)
    got = family.log_prob(phi, data)
    for i in range(3):
        logits = plain_logits({n: p[i] for n, p in phi.items()}, data.observation[i])
        both = logits.log_softmax(-1)
        expected = both.gather(-1, data.action[i].long().unsqueeze(-1)).squeeze(-1)
        assert_close(got[i], expected, rtol=1e-12, atol=1e-12)
    totals = family.log_likelihood(phi, data)
    assert_close(totals, torch.stack([got[i][data.mask[i]].sum() for i in range(3)]))


def test_a_greedy_policy_has_no_luck_after_the_start():
    """Its actions are the likelier ones, whatever the generator said: the start decides all."""
    family = carts(greedy=True, horizon=30)
    phi = init_theta(family.model, generator=gen(4), runs=(3,))
    tasks, data = play(family, phi)
    for i in range(3):
        likelier = plain_logits({n: p[i] for n, p in phi.items()}, data.observation[i]).argmax(-1)
        assert torch.equal(data.action[i], likelier.double())
    again = family.sample_data(tasks, phi, 20, generator=gen(2))
    assert_close(again, data, **EXACT)


def test_greedy_or_not_the_episodes_begin_alike():
    """So that a greedy score and a sampled one are of the same starts."""
    family = carts()
    phi = constant(family, 1.0)
    _, drawn = play(family, phi)
    _, greedy = play(carts(greedy=True), phi)
    assert torch.equal(drawn.observation[:, :, 0], greedy.observation[:, :, 0])
    assert (greedy.action == 1).all()
    assert not (drawn.action == 1).all()


@pytest.mark.parametrize("greedy", [False, True])
def test_how_many_numbers_are_drawn_does_not_depend_on_when_episodes_end(greedy):
    """Else two methods compared on one seed would meet other tasks after the first step."""
    family = carts(horizon=200, greedy=greedy)
    states, steps = set(), set()
    for logit in (0.0, 30.0):  # 30: always to the same side, so over in a moment
        g = gen(5)
        tasks = family.sample_tasks(3, generator=g)
        data = family.sample_data(tasks, constant(family, logit), 4, generator=g)
        states.add(bytes(g.get_state().numpy()))
        steps.add(data.mask.shape[-1])
    assert len(states) == 1
    if not greedy:
        assert len(steps) == 2


def test_the_same_seed_plays_the_same_and_leaves_the_policy_as_it_was():
    family = carts()
    theta, _ = start(family)
    phi = {n: p.clone().requires_grad_() for n, p in per_task(theta, (3,)).items()}
    before = {n: p.detach().clone() for n, p in phi.items()}
    tasks, data = play(family, phi)
    torch.manual_seed(99)
    again_tasks, again = play(family, phi)
    assert_close((again_tasks, again), (tasks, data), **EXACT)
    assert not torch.equal(play(family, phi, seed=3)[1].observation, data.observation)
    assert_close({n: p.detach() for n, p in phi.items()}, before, **EXACT)
    assert not any(part.requires_grad for part in data)


def test_runs_and_tasks_have_carts_and_starts_of_their_own():
    family = carts()
    theta, _ = start(family, runs=(2,))
    tasks, data = play(family, per_task(theta, (2, 3)), shots=4, batch=(2, 3))
    assert tasks.length.shape == (2, 3)
    assert tasks.length.unique().numel() == 6
    assert data.observation[..., 0, :].unique().numel() == 2 * 3 * 4 * 4
    assert data.mask.shape[:3] == (2, 3, 4)


# ---- the families


def test_the_default_is_one_task_and_it_is_gymnasiums():
    tasks = CartPole().sample_tasks(3, generator=gen())
    assert [values.tolist() for values in tasks] == [
        pytest.approx([value] * 3) for value in (*STANDARD.values(), 0.0)
    ]


def test_every_number_of_a_cart_is_uniform_in_its_range_and_half_are_swapped():
    """Kolmogorov and Smirnov's 0.1 % point; shares of one half within 4 standard errors."""
    n = 4000
    ranges = {"length": (0.25, 4.0), "masspole": (0.05, 0.5), "masscart": (0.5, 2.0),
              "force": (5.0, 15.0), "gravity": (5.0, 15.0)}
    family = CartPole(swapped=True, secret_side=True, **ranges)
    tasks = family.sample_tasks(n, generator=gen(7))
    numbers = []
    for name, (low, high) in ranges.items():
        values = getattr(tasks, name).abs().double()
        assert low <= values.min(), name
        assert values.max() <= high, name
        u = (values.sort().values - low) / (high - low)
        assert (u - (torch.arange(n) + 0.5) / n).abs().max() < 1.95 / n**0.5, name
        numbers.append(values)
    numbers += [tasks.force.sign().double(), tasks.side.double()]
    assert set(tasks.side.unique().tolist()) == {-1.0, 1.0}
    for sign in numbers[-2:]:
        assert abs(sign.mean()) < 4 / n**0.5
    off_diagonal = torch.corrcoef(torch.stack(numbers)) - torch.eye(len(numbers))
    assert off_diagonal.abs().max() < 4 / n**0.5  # all are drawn independently
    for kept in ({"swapped": True}, {"secret_side": True}):
        one = CartPole(**kept).sample_tasks(50, generator=gen())
        assert one.force.unique().numel() == (2 if "swapped" in kept else 1)
        assert one.side.unique().numel() == (2 if "secret_side" in kept else 1)


def test_swapped_controls_are_a_negative_force(played):
    """The same pushes under the other names lead through the same states, to the last bit."""
    swapped = played.tasks._replace(force=-played.tasks.force)
    state = played.state[:, :-1]
    one, other = played.tasks.step(state, played.action), swapped.step(state, 1 - played.action)
    assert torch.equal(one[played.mask], other[played.mask])
    assert not torch.equal(one[played.mask], swapped.step(state, played.action)[played.mask])


def test_no_policy_can_earn_more_than_the_horizon_on_both_secret_sides_together():
    """The bound of one half: on every trajectory the two returns add up to at most its length.

    A policy that does not know its side plays the same trajectories on either, and earns half of
    that on average. Counted in whole numbers, exactly; and all steps pay, but those in the very
    middle and the one that falls.
    """
    family = carts(secret_side=True, horizon=60)
    tasks = family.sample_tasks(40, generator=gen(1))._replace(side=torch.ones(40, dtype=F64))
    phi = init_theta(family.model, generator=gen(4), runs=(40,))
    _, right = play(family, phi, tasks=tasks)
    _, left = play(family, phi, tasks=tasks._replace(side=-tasks.side))
    assert torch.equal(left.observation, right.observation)
    assert torch.equal(left.action, right.action)
    both = left.reward + right.reward
    assert both.max() == 1
    returns = both.sum(-1).long()
    lengths = right.mask.sum(-1)
    assert (returns <= lengths).all()
    assert (lengths <= 60).all()
    assert (returns >= lengths - 1).all()
    assert min(left.reward.sum(), right.reward.sum()) > 1000  # either side was visited


def test_a_secret_side_pays_for_standing_there_and_the_middle_pays_nobody():
    """Seven places after a step; standard carts pay for every one, as gymnasium does."""
    places = torch.tensor(
        [[1e-9, 0], [-1e-9, 0], [0.0, 0], [-0.0, 0], [2.0, 0.21], [-2.5, 0], [2.5, 0]], dtype=F64
    )
    after = torch.zeros(1, 1, 7, 4, dtype=F64)
    after[0, 0, :, 0], after[0, 0, :, 2] = places.T
    paid = {side: cart(side).reward(after).flatten().tolist() for side in (0.0, 1.0, -1.0)}
    assert paid == {0.0: [1] * 7, 1.0: [1, 0, 0, 0, 0, 0, 0], -1.0: [0, 1, 0, 0, 0, 0, 0]}


def test_the_score_is_the_mean_return_without_discount():
    family = carts(horizon=60)
    phi = constant(family, 0.0)
    _, data = play(family, phi)
    assert torch.equal(family.score(phi, data), data.mask.double().sum((-2, -1)) / 20)


# ---- what is refused


@pytest.mark.parametrize("name", ["length", "masspole", "masscart"])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (-0.5, 0.5), (0.0, 0.0), (-1.0, -0.5)])
def test_a_length_or_mass_that_is_not_positive_is_refused(name, ends):
    with pytest.raises(ValueError, match=rf"{name} must be a pair \(lowest, highest\) of finite "
                                         rf"positive numbers, got \({ends[0]}, {ends[1]}\)"):
        CartPole(**{name: ends})


@pytest.mark.parametrize("name", ["length", "masspole", "masscart", "force", "gravity"])
@pytest.mark.parametrize("ends", [(2.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_range_of_physics_that_is_none_is_refused(name, ends):
    with pytest.raises(ValueError, match=rf"{name} must be a pair \(lowest, highest\) of finite"):
        CartPole(**{name: ends})


def test_a_force_and_a_gravity_may_have_any_sign():
    tasks = CartPole(force=(-10.0, 10.0), gravity=(-1.0, 0.0)).sample_tasks(20, generator=gen())
    assert tasks.force.sign().unique().numel() == 2
    assert (tasks.gravity <= 0).all()


@pytest.mark.parametrize("name", ["length", "masspole", "masscart"])
@pytest.mark.parametrize("value", [0.0, -0.1, math.nan, math.inf])
def test_a_cart_made_by_hand_that_cannot_be_is_refused(name, value):
    """One of three; the number that is wrong is the one that is named."""
    values = getattr(cart(batch=(3,)), name).clone()
    values[1] = value
    family = carts()
    with pytest.raises(ValueError, match=f"a CartPole cannot have {name} = {value}: it must be "
                                         "finite and positive"):
        play(family, constant(family, 0.0), tasks=cart(batch=(3,))._replace(**{name: values}))


@pytest.mark.parametrize("name", ["force", "gravity", "side"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_cart_made_by_hand_without_finite_physics_is_refused(name, value):
    values = getattr(cart(batch=(3,)), name).clone()
    values[1] = value
    family = carts()
    with pytest.raises(ValueError, match=f"cannot have {name} = {value}: it must be finite$"):
        play(family, constant(family, 0.0), tasks=cart(batch=(3,))._replace(**{name: values}))


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ((4, 8, 1), r"must map 4 observations to 2 outputs, but gives \(1,\) for one observation"),
        ((4, 8, 3), r"but gives \(3,\) for one"),
        ((2, 8, 2), "must map 4 observations to 2 outputs; it does not take the observations"),
        ((5, 2), "it does not take the observations"),
    ],
)
def test_a_policy_of_the_wrong_shape_is_refused(sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        CartPole(MLP(sizes))


def test_any_module_of_the_right_shape_is_a_policy():
    """Not an MLP of ours: it is carried over the tasks by vmap, and plays and scores the same."""
    family = CartPole(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double(),
                      horizon=8)
    phi = init_theta(family.model, generator=gen(4), runs=(3,))
    tasks, data = play(family, phi)
    ours = CartPole(MLP((4, 5, 2), "tanh").double(), horizon=8)
    same = dict(zip(["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"],
                    phi.values()))
    _, expected = play(ours, same, tasks=tasks)
    assert_close(data, expected, rtol=1e-12, atol=1e-12)
    assert_close(family.loss(phi, data), ours.loss(same, expected), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [0, -3, True])
def test_zero_episodes_tasks_or_steps_are_refused(n):
    family = carts()
    least = f"must be a whole number of at least 1, got {n}"
    with pytest.raises(ValueError, match=f"the number of tasks {least}"):
        family.sample_tasks(n, generator=gen())
    with pytest.raises(ValueError, match=f"shots {least}"):
        play(family, constant(family, 0.0), shots=n)
    with pytest.raises(ValueError, match=f"horizon {least}"):
        CartPole(horizon=n)
