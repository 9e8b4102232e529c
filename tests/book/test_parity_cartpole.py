"""The page's CartPole against gymnasium, and its policy gradient against torch, in Chromium."""


import gymnasium
import numpy as np
import pytest
import torch
from pace import in_page

from metasgd_core import MLP, CartPole, CartPoleTasks, Trajectories, init_theta, per_task
from metasgd_core.tasks.cartpole import LIMITS, SEEN, START
from metasgd_core.widgets.figure import module_text

pytestmark = pytest.mark.browser

F64 = torch.float64
STANDARD = {"length": 0.5, "masspole": 0.1, "masscart": 1.0, "force": 10.0, "gravity": 9.8}
RANGES = {"length": (0.1, 4.0), "masspole": (0.02, 2.0), "masscart": (0.2, 5.0),
          "force": (2.0, 30.0), "gravity": (1.0, 30.0)}  # fmt: skip


@pytest.fixture(scope="module")
def page(browser):
    """An empty page that knows the functions of the model, cart.js, and no picture."""
    page = browser.new_page()
    names = ("shared/words.js", "shared/numbers.js", "shared/network.js", "shared/returns.js",
             "cart.js")
    page.add_script_tag(content=module_text(names))
    yield page
    page.close()


def nine_numbers(state):
    """Balances for 500 steps whichever way the force points (chapter 15)."""
    w, k = (-16.112, -11.759, -25.055, -24.058), (-9.5127, -7.1234, -11.730, -10.692)
    seen = state * SEEN
    m = 1.0 if seen @ w > 0 else -1.0
    return int(m * (seen @ k - m * 4.2997) > 0)


@pytest.fixture(scope="module")
def played():
    """120 episodes of gymnasium's own: 80 of random physics at random, 40 that stand to the end."""
    env, rng = gymnasium.make("CartPole-v1", disable_env_checker=True), np.random.default_rng(5)
    raw, episodes = env.unwrapped, []
    for i in range(120):
        physics = dict(STANDARD)
        if i < 80:
            physics = {name: float(rng.uniform(*ends)) for name, ends in RANGES.items()}
        if i % 2:
            physics["force"] *= -1
        raw.length, raw.masspole, raw.masscart, raw.force_mag, raw.gravity = physics.values()
        raw.total_mass, raw.polemass_length = raw.masspole + raw.masscart, raw.masspole * raw.length
        env.reset(seed=i)
        states, actions, flags, over = [raw.state.tolist()], [], [], False
        while not over:
            actions.append(int(rng.integers(2)) if i < 80 else nine_numbers(raw.state))
            _, _, terminated, truncated, _ = env.step(actions[-1])
            states.append(raw.state.tolist())
            flags.append(terminated)
            over = terminated or truncated
        episodes.append({"task": physics, "states": states, "actions": actions, "flags": flags})
    return episodes


def test_each_step_is_gymnasiums_to_1e_14(page, played):
    """Absolute: from every state that gymnasium visited, the next; and whether it ends there."""
    gaps, wrong = page.evaluate(
        """(episodes) => {
          const gaps = []; let wrong = 0;
          for (const { task, states, actions, flags } of episodes) {
            actions.forEach((action, t) => {
              const after = stepCart(task, states[t], action);
              gaps.push(Math.max(...after.map((v, i) => Math.abs(v - states[t + 1][i]))));
              wrong += cartFell(states[t + 1]) !== flags[t];
            });
          }
          return [gaps, wrong];
        }""",
        played,
    )
    assert len(gaps) > 20_000
    assert max(gaps) <= 1e-14
    assert wrong == 0
    assert sum(episode["flags"][-1] for episode in played) == 80
    assert all(len(episode["flags"]) == 500 for episode in played[80:])


def test_free_running_stays_within_1e_12_for_50_steps(page, played):
    """Absolute. (Over 500 steps no two programs agree: the motion is chaotic.)"""
    worst, ends = page.evaluate(
        """(episodes) => {
          let worst = 0, ends = 0;
          for (const { task, states, actions, flags } of episodes) {
            let state = states[0];
            for (let t = 0; t < Math.min(50, actions.length); t++) {
              state = stepCart(task, state, actions[t]);
              worst = Math.max(worst, ...state.map((v, i) => Math.abs(v - states[t + 1][i])));
              ends += cartFell(state) !== flags[t];
            }
          }
          return [worst, ends];
        }""",
        played,
    )
    assert worst <= 1e-12
    assert ends == 0


def test_the_limits_themselves_are_still_inside(page):
    """And a state that is no number has fallen."""
    edge, lean = LIMITS
    states = [[s * edge, 0, 0, 0] for s in (1, -1)] + [[0, 0, s * lean, 0] for s in (1, -1)]
    beyond = [[float(np.nextafter(v, 9 * v)) if v else 0.0 for v in state] for state in states]
    assert page.evaluate("(s) => s.map(cartFell)", states) == [False] * 4
    assert page.evaluate("(s) => s.map(cartFell)", beyond) == [True] * 4
    assert page.evaluate("cartFell([NaN, 0, 0, 0])")


def tasks_of(physics, side):
    one = {name: torch.full((1,), float(value), dtype=F64) for name, value in physics.items()}
    return CartPoleTasks(**one, side=torch.full((1,), float(side), dtype=F64))


def recorded(case, hidden, shots, horizon, side):
    """A policy of float32 numbers, episodes played by torch, and torch's gradient, in float64."""
    draws = torch.Generator().manual_seed(case)
    model = MLP((4, hidden, 2), "tanh")
    theta = {n: p.double() for n, p in init_theta(model, generator=draws).items()}
    family = CartPole(model=model.double(), horizon=horizon)
    phi = {n: p.requires_grad_() for n, p in per_task(theta, (1,)).items()}
    data = family.sample_data(tasks_of(STANDARD, side), phi, shots, generator=draws)
    grads = torch.autograd.grad(family.loss(phi, data).sum(), list(phi.values()))
    flat = [torch.cat([p.detach().flatten() for p in part]) for part in (phi.values(), grads)]
    return data, *flat, family


def as_run(data):
    """What the page's functions want: rows in the order (step, episode)."""
    observation, action, reward, mask = (part[0].transpose(0, 1) for part in data)
    return {"count": observation.shape[1], "steps": observation.shape[0],
            "lengths": mask.sum(0).tolist(), "observation": observation.flatten().tolist(),
            "action": action.flatten().tolist(), "reward": reward.flatten().tolist()}  # fmt: skip


GRADIENT = """([hidden, theta, run]) => {
  const net = makeNetwork([4, hidden, 2], "tanh");
  run.observation = Float64Array.from(run.observation);
  run.reward = Float64Array.from(run.reward);
  const weights = Float64Array.from(theta), alpha = weights.map((_, i) => (i % 5) - 1);
  return [advantagesOf(run, CART.discount), policyGradient(net, weights, run),
          policyStep(net, weights, alpha, run)].map((part) => [...part]);
}"""


def close(found, reference):
    gap = (torch.tensor(found, dtype=F64) - reference).abs().max()
    assert gap <= 1e-9 * max(1.0, float(reference.abs().max())), float(gap)


def test_the_policy_gradient_is_torchs_to_1e_9(page):
    """200 random cases: advantages, gradient, and the step with a rate for each number."""
    moved = 0
    for case in range(200):
        hidden, shots, horizon = 1 + case % 64, 1 + case % 12, (5, 60, 200)[case % 3]
        side = (1, -1, 0)[case % 7 % 3]
        data, theta, gradient, family = recorded(case, hidden, shots, horizon, side)
        found = page.evaluate(GRADIENT, [hidden, theta.tolist(), as_run(data)])
        close(found[0], family.objective.advantages(data)[0].T.flatten())
        close(found[1], gradient)
        alpha = torch.arange(len(theta), dtype=F64) % 5 - 1
        close(found[2], theta - alpha * gradient)
        moved += bool(gradient.abs().max() > 1e-6)
    assert moved > 120  # the others had nothing to tell their steps apart


def test_rewards_that_tell_nothing_make_no_step(page):
    """Episodes of one step each have equal returns: rounding must not be blown up to a gradient."""
    data = Trajectories(
        observation=torch.randn(1, 4, 1, 4, dtype=F64),
        action=torch.tensor([[[0.0], [1.0], [1.0], [0.0]]], dtype=F64),
        reward=torch.ones(1, 4, 1, dtype=F64),
        mask=torch.ones(1, 4, 1, dtype=torch.bool),
    )
    theta = [0.1] * (4 * 3 + 3 + 3 * 2 + 2)
    advantage, gradient, _ = page.evaluate(GRADIENT, [3, theta, as_run(data)])
    assert set(advantage) == set(map(abs, gradient)) == {0}


def test_played_episodes_are_the_packages(page):
    """The page's whole episodes, replayed with torch: states, rewards and the ends."""
    for side, seed in ((1, 0), (-1, 1), (0, 2)):
        run = page.evaluate(
            """([task, seed]) => {
              const net = makeNetwork([4, 8, 2], "tanh");
              const theta = Float64Array.from({ length: net.count }, (_, i) => Math.sin(7 * i) / 2);
              const run = beginEpisodes(task, cartStream(seed, 1), 10, 40);
              const over = [1, 7, Infinity].map((n) => playEpisodes(run, net, theta, false, n));
              return { ...run, over, observation: [...run.observation], action: [...run.action],
                       reward: [...run.reward], lengths: [...run.lengths],
                       theta: [...theta], logits: [...cartLogits(net, theta, run.observation)],
                       chance: run.action.reduce((all, _, i) =>
                         [...all, mulberry(run.stream, 40 + i)], []) };
            }""",
            [STANDARD | {"side": side}, seed],
        )
        assert run["over"] == [False, False, True]
        steps, task = run["steps"], tasks_of(STANDARD, side)
        states = torch.tensor(run["observation"], dtype=F64).view(40, 10, 4)[:steps]
        actions = torch.tensor(run["action"], dtype=F64).view(40, 10)[:steps]
        assert states[0].abs().max() <= START
        assert states[0].std() > START / 4
        seen = torch.tensor(run["observation"], dtype=F64).view(1, -1, 4)
        parts = torch.tensor(run["theta"], dtype=F64).split([32, 8, 16, 2])
        shapes = {"layers.0.weight": (8, 4), "layers.0.bias": (8,),
                  "layers.1.weight": (2, 8), "layers.1.bias": (2,)}  # fmt: skip
        phi = {n: p.view(1, *shape) for (n, shape), p in zip(shapes.items(), parts)}
        logits = CartPole(model=MLP((4, 8, 2), "tanh").double()).logits(phi, seen)[0]
        assert (logits - torch.tensor(run["logits"], dtype=F64)).abs().max() < 1e-12
        chosen = (logits.sigmoid() > torch.tensor(run["chance"], dtype=F64)).view(40, 10)
        assert 0.2 < actions.sum() / sum(run["lengths"]) < 0.8
        for i, length in enumerate(run["lengths"]):
            assert torch.equal(chosen[:length, i], actions[:length, i] > 0)
            after = task.step(states[None, :length, i], actions[None, :length, i])[0]
            assert (after[:-1] - states[1:length, i]).abs().max() <= 1e-14
            fallen = (after[:, 0].abs() > LIMITS[0]) | (after[:, 2].abs() > LIMITS[1])
            assert fallen.nonzero().flatten().tolist() == ([length - 1] if length < 40 else [])
            paid = torch.tensor(run["reward"], dtype=F64).view(40, 10)[:length, i]
            assert torch.equal(paid, task.reward(after[None, None])[0, 0])


def test_the_random_numbers_are_mulberry32s(page):
    """As Tommy Ettinger published it, in Python's own whole numbers."""

    def mulberry32(seed, count):
        mask = 2**32 - 1
        for _ in range(count):
            seed = (seed + 0x6D2B79F5) & mask
            t = seed
            t = ((t ^ (t >> 15)) * (t | 1)) & mask
            t ^= (t + ((t ^ (t >> 7)) * (t | 61) & mask)) & mask
            yield ((t ^ (t >> 14)) + 0.5) / 2**32

    for seed in (0, 1, 12345, 2**31 - 1):
        drawn = page.evaluate(
            "(seed) => Array.from({ length: 500 }, (_, i) => mulberry(seed, i))", seed
        )
        assert drawn == list(mulberry32(seed, 500))


def test_ten_episodes_and_the_step_take_less_than_100_ms(page):
    """500 steps each, with 4-64-2 numbers that hold the pole: processor time of a usual machine."""
    took = in_page(
        page,
        """([task, k]) => {
          const net = makeNetwork([4, 64, 2], "tanh"), theta = new Float64Array(net.count);
          const feedback = [0.2, 0.4, 0.8, 0.8]; // one unit that pushes against the fall
          for (let j = 0; j < 4; j++) theta[j] = feedback[j] * 0.5;
          theta[net.layers[1].weight + 64] = 40;
          const run = beginEpisodes(task, cartStream(k, 1), 10);
          playEpisodes(run, net, theta, false);
          policyStep(net, theta, theta, run);
          window.longest = Math.max(window.longest ?? 0, Math.min(...run.lengths));
        }""",
        [STANDARD | {"side": 1}],
        times=9,
    )
    assert page.evaluate("longest") > 300  # the episodes are long ones
    print(f"best {took[0]:.0f} ms, median {took[4]:.0f} ms")
    assert took[0] < 100
