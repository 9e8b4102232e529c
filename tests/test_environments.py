"""The families as gymnasium's environments: the same physics, the same rewards, its own checks."""

import importlib
import inspect
import subprocess
import sys
import warnings
from itertools import count

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from patience import PATIENCE

from metasgd_core import environments
from metasgd_core.tasks.cartpole import CartPoleTasks

CARTPOLE, NAVIGATION = "metasgd_core/CartPole-v0", "metasgd_core/Navigation-v0"
# Pushes against the fall, and gently against the way to the edge: stands for 500 steps.
BALANCE = np.array([1.0, 1.0, 20.0, 4.0])


def balance(observation, t):
    return int(observation @ BALANCE > 0)


def at_random(seed):
    """A policy that draws the same actions each time it is made from the same seed."""
    actions = np.random.default_rng(seed).integers(2, size=500)
    return lambda observation, t: int(actions[t])


def play(env, policy, seed):
    """Play one episode: observations (one more than steps), rewards, and how it ended."""
    observation, _ = env.reset(seed=seed)
    observations, rewards = [observation], []
    for t in count():
        observation, reward, terminated, truncated, _ = env.step(policy(observation, t))
        observations.append(observation)
        rewards.append(reward)
        if terminated or truncated:
            return np.array(observations), rewards, terminated, truncated


def complaints(env):
    """Return what gymnasium's checker warns of; what it refuses outright raises."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Drawing a CartPole needs pygame, which is not ours to install.
        check_env(env.unwrapped, skip_render_check=bool(env.metadata["render_modes"]))
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("force", [10.0, -10.0])
@pytest.mark.parametrize("side", [0, 1, -1])
def test_gymnasiums_checker_has_no_more_to_say_than_of_its_own_cartpole(force, side):
    """Of that it says that velocities without a bound are "probably too high"; nothing else."""
    env = gymnasium.make(CARTPOLE, force=force, side=side, length=1.2, gravity=7.0)
    said = complaints(env)
    assert said == complaints(gymnasium.make("CartPole-v1"))
    assert all("infinity" in sentence for sentence in said)


@pytest.mark.parametrize("start", ["origin", "uniform"])
@pytest.mark.parametrize("reward", ["distance", "squared"])
def test_gymnasiums_checker_has_nothing_to_say_of_navigation(start, reward):
    env = gymnasium.make(NAVIGATION, goal=(0.3, -0.2), start=start, reward=reward)
    assert complaints(env) == []


def test_gymnasium_finds_them_by_the_modules_name_and_a_second_import_is_silent():
    """In a process that has not imported the module, with every warning an error."""
    code = f"""if True:
        import gymnasium
        env = gymnasium.make("metasgd_core.environments:{CARTPOLE}", length=1.0)
        assert env.unwrapped.length == 1.0 and env.spec.max_episode_steps == 500
        env = gymnasium.make("metasgd_core.environments:{NAVIGATION}", goal=(0.1, 0.2))
        assert env.unwrapped.goal.tolist() == [0.1, 0.2] and env.spec.max_episode_steps == 100"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True,
                   timeout=PATIENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(environments)


def test_with_the_defaults_it_is_cartpole_v1_bit_for_bit():
    """Observations, rewards and both ends: with random actions, and 500 steps upright."""
    ours, theirs = gymnasium.make(CARTPOLE), gymnasium.make("CartPole-v1")
    ends = []
    for seed in range(40):
        policy = balance if seed < 5 else at_random(seed)
        one, other = play(ours, policy, seed), play(theirs, policy, seed)
        assert np.array_equal(one[0], other[0])
        assert one[1:] == other[1:]
        ends.append(one[2:])
    assert ends == [(False, True)] * 5 + [(True, False)] * 35


def test_a_negative_force_swaps_left_and_right():
    straight, swapped = gymnasium.make(CARTPOLE, force=7.0), gymnasium.make(CARTPOLE, force=-7.0)
    for seed in range(5):
        policy = at_random(seed)
        one = play(straight, policy, seed)
        other = play(swapped, lambda o, t, policy=policy: 1 - policy(o, t), seed)
        assert np.array_equal(one[0], other[0])
        assert one[1:] == other[1:]
        assert not np.array_equal(one[0], play(swapped, policy, seed)[0])


@pytest.mark.parametrize(
    "physics",
    [{"length": 1.0}, {"masspole": 0.3}, {"masscart": 2.0}, {"force": 5.0}, {"gravity": 20.0}],
    ids=lambda physics: next(iter(physics)),
)
def test_every_number_of_the_physics_counts_in_every_episode(physics):
    """Also after a reset, and to 1e-14 (absolute, float64) as the batched family has it."""
    env, usual = gymnasium.make(CARTPOLE, **physics), gymnasium.make(CARTPOLE)
    first = play(env, at_random(1), seed=1)[0]
    assert np.array_equal(first, play(env, at_random(1), seed=1)[0])
    assert not np.array_equal(first[:9], play(usual, at_random(1), seed=1)[0][:9])

    standard = {"length": 0.5, "masspole": 0.1, "masscart": 1.0, "force": 10.0, "gravity": 9.8,
                "side": 0.0}
    task = CartPoleTasks(**{name: torch.tensor([value], dtype=torch.float64)
                            for name, value in (standard | physics).items()})
    raw = env.unwrapped
    for seed in range(10):
        raw.reset(seed=seed)
        before = torch.tensor(raw.state).reshape(1, 1, 4)
        raw.step(seed % 2)
        after = task.step(before, torch.tensor([[float(seed % 2)]]))
        assert np.abs(after.numpy().ravel() - raw.state).max() < 1e-14


def test_the_arguments_have_the_names_of_the_batched_family():
    parameters = set(inspect.signature(environments.CartPoleEnvironment).parameters)
    assert parameters - {"render_mode"} == set(CartPoleTasks._fields)


def test_the_two_sides_rewards_add_up_to_at_most_one():
    """The bound of one half rests on this. The side enters the reward and nothing else."""
    left, right = (gymnasium.make(CARTPOLE, side=side) for side in (-1, 1))
    collected = np.zeros(2)
    for seed in range(10):
        policy = balance if seed < 3 else at_random(seed)
        states, *of_left, terminated, _ = play(left, policy, seed)
        same, *of_right, _, _ = play(right, policy, seed)
        assert np.array_equal(states, same)
        rewards = np.array([*of_left, *of_right])
        stands = np.ones(rewards.shape[1], dtype=bool)
        stands[-1] = not terminated
        x = states[1:, 0]
        assert rewards.tolist() == [(stands & (x < 0)).tolist(), (stands & (x > 0)).tolist()]
        assert rewards.sum(axis=0).max() <= 1
        collected += rewards.sum(axis=1)
    assert collected.min() > 100  # both sides were visited
    for env in (left, right):  # in the very middle neither pays
        env.reset(seed=0)
        env.unwrapped.state = np.zeros(4)
        assert env.step(1)[1] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"length": 0.0}, "length must be a finite number above zero, got 0.0"),
        ({"length": -0.5}, "length must be a finite number above zero, got -0.5"),
        ({"masspole": float("nan")}, "masspole must be a finite number above zero, got nan"),
        ({"masscart": float("inf")}, "masscart must be a finite number above zero, got inf"),
        ({"masscart": None}, "masscart must be a finite number above zero, got None"),
        ({"force": float("nan")}, "force must be a finite number, got nan"),
        ({"gravity": float("-inf")}, "gravity must be a finite number, got -inf"),
        ({"side": 2}, r"side must be 0 \(none\), 1 or -1, got 2"),
        ({"side": "left"}, r"side must be 0 \(none\), 1 or -1, got 'left'"),
    ],
)
def test_a_cartpole_that_cannot_be_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        gymnasium.make(CARTPOLE, **arguments)


def test_the_reward_is_minus_the_distance_after_the_move_or_its_square():
    """A goal 0.3 right and 0.4 up. Cut to (0.1, -0.1), the first move leaves 0.2 and 0.5 to go."""
    for reward, expected in (("distance", -np.sqrt(0.29)), ("squared", -0.29)):
        env = gymnasium.make(NAVIGATION, goal=(0.3, 0.4), reward=reward)
        env.reset(seed=0)
        observation, got, terminated, truncated, _ = env.step(np.array([5.0, -7.0]))
        assert np.array_equal(observation, np.float32([0.1, -0.1]))
        assert got == pytest.approx(expected, abs=1e-15)
        assert (terminated, truncated) == (False, False)
        # Back to the origin, with a move that is not cut: now the whole 0.5 is left.
        assert env.step(np.array([-0.1, 0.1]))[1] == pytest.approx(
            -0.5 if reward == "distance" else -0.25, abs=1e-15
        )


def test_an_episode_ends_at_its_goal_or_after_100_steps():
    env = gymnasium.make(NAVIGATION, goal=(0.25, -0.25))
    _, rewards, *end = play(env, lambda position, t: (0.25, -0.25) - position, seed=0)
    assert (len(rewards), *end) == (3, True, False)
    # Just outside the radius of 0.01 it goes on, just inside it does not.
    for rest, ends in ((0.0101, False), (0.0099, True)):
        env.reset(seed=0)
        for move in (0.1, 0.1, 0.05 - rest / np.sqrt(2)):
            *_, terminated, _, _ = env.step(np.array([move, -move]))
        assert terminated is ends

    # And whoever walks away is cut off, still inside the observation space.
    positions, rewards, *end = play(env, lambda position, t: np.array([-9.0, 9.0]), seed=0)
    assert (len(rewards), *end) == (100, False, True)
    assert np.array_equal(positions[-1], np.float32([-10, 10]))
    assert all(position in env.observation_space for position in positions)


def test_an_episode_starts_at_the_origin_or_anywhere_in_the_square():
    """Uniform in [-0.5, 0.5]²: means within 4 standard errors, ends within 0.01 of the edges."""
    fixed, varying = (gymnasium.make(NAVIGATION, start=s) for s in ("origin", "uniform"))
    assert not any(fixed.reset(seed=seed)[0].any() for seed in range(3))
    varying.reset(seed=1)
    starts = np.array([varying.reset()[0] for _ in range(1000)])
    assert np.abs(starts).max() <= 0.5
    assert (np.abs(starts.mean(axis=0)) < 4 * np.sqrt(1 / 12 / 1000)).all()
    assert starts.min(axis=0) == pytest.approx([-0.5] * 2, abs=0.01)
    assert starts.max(axis=0) == pytest.approx([0.5] * 2, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"goal": (0.6, 0.0)}, r"goal must be two numbers \(x, y\) in \[-0.5, 0.5\], got \(0.6"),
        ({"goal": (0.1, float("nan"))}, "goal must be two numbers"),
        ({"goal": (0.1, 0.2, 0.3)}, "goal must be two numbers"),
        ({"goal": "home"}, "goal must be two numbers .* got 'home'"),
        ({"start": "goal"}, "start must be 'origin' or 'uniform', got 'goal'"),
        ({"reward": "sparse"}, "reward must be 'distance' or 'squared', got 'sparse'"),
    ],
)
def test_a_navigation_that_cannot_be_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        gymnasium.make(NAVIGATION, **arguments)


@pytest.mark.parametrize("action", [[0.1], [[0.1, 0.1]], [0.1, float("nan")]])
def test_an_action_that_leads_nowhere_is_refused(action):
    """A policy that has diverged says NaN: without a word, so would every later position."""
    env = environments.NavigationEnvironment()
    with pytest.raises(ResetNeeded, match="call reset\\(\\) before step\\(\\)"):
        env.step(np.zeros(2))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action must be two finite velocities, got"):
        env.step(np.array(action))
