"""Time one meta-step of the swapped CartPoles against a loop over tasks with gymnasium's own.

Both collect 10 episodes a task, take the inner step, collect 10 more under the adapted policy and
differentiate; 20 tasks, at most 200 steps an episode. The loop plays each task in gymnasium's
``CartPoleVectorEnv`` (ten carts at once: its fastest way) and takes ``autograd.grad`` for that
task. Given the same chances both must find the same meta-gradient; then they take turns in one
process, on one thread, and the median of the ratios within a round is reported.

    python tools/bench_cartpole.py [--rounds 10]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from torch import Tensor
from torch.func import functional_call

from metasgd_core import MAML, MLP, CartPole, Trajectories, init_theta, meta_loss
from metasgd_core.tasks.cartpole import SEEN, START
from metasgd_core.types import Params

TASKS, EPISODES, ALPHA = 20, 10, 3.0


def ours(family, theta, tasks, generator) -> Tensor:
    """The package: all tasks and episodes side by side."""
    return meta_loss(
        family, theta, ALPHA, tasks, MAML,
        shots=EPISODES, query_shots=EPISODES, generator=generator,
    )


def gymnasium_loop(family, theta, tasks, generator) -> Tensor:
    """One task after the other, each in a gymnasium environment of its own."""
    like = tasks.force
    chances = []
    for _ in ("support", "query"):
        starts = torch.rand(len(like), EPISODES, 4, generator=generator, dtype=like.dtype)
        size = (family.horizon, len(like), EPISODES)
        chances.append((2 * START * starts - START,
                        torch.rand(size, generator=generator, dtype=like.dtype).logit()))

    def preference(phi: Params, observation: Tensor) -> Tensor:
        seen = observation * torch.tensor(SEEN, dtype=like.dtype)
        left, right = functional_call(family.model, phi, (seen,)).unbind(-1)
        return right - left

    def loss(phi: Params, data: Trajectories) -> Tensor:
        log_prob = torch.nn.functional.logsigmoid(
            (2 * data.action - 1) * preference(phi, data.observation)
        )
        return family.objective(log_prob, data)

    def play(phi: Params, task: int, start: Tensor, chance: Tensor) -> Trajectories:
        env = CartPoleVectorEnv(EPISODES, max_episode_steps=family.horizon)
        env.force_mag = float(tasks.force[task])
        env.reset()
        env.state = start.T.double().numpy().copy()
        playing = torch.ones(EPISODES, dtype=torch.bool)
        steps = []
        with torch.no_grad():
            for t in range(family.horizon):
                state = torch.from_numpy(env.state.T.copy()).to(like.dtype)
                action = preference(phi, state) > chance[t, task]
                _, reward, terminated, _, _ = env.step(action.long().numpy())
                steps.append((state, action.to(like.dtype),
                              torch.from_numpy(reward).to(like.dtype) * playing, playing))
                playing = playing & ~torch.from_numpy(terminated)
                if not playing.any():
                    break
        observation, *rest = zip(*steps, strict=True)
        return Trajectories(torch.stack(observation, 1), *(torch.stack(r, 1) for r in rest))

    total = torch.zeros((), dtype=like.dtype)
    (start, chance), (query_start, query_chance) = chances
    for task in range(len(like)):
        support = play(theta, task, start[task], chance)
        grads = torch.autograd.grad(loss(theta, support), list(theta.values()), create_graph=True)
        phi = {n: p - ALPHA * g for (n, p), g in zip(theta.items(), grads, strict=True)}
        total = total + loss(phi, play(phi, task, query_start[task], query_chance))
    return total / len(like)


WAYS = {"ours": ours, "gymnasium loop": gymnasium_loop}


def meta_gradient(way, dtype: torch.dtype, horizon: int, seed: int) -> Tensor:
    family = CartPole(MLP((4, 64, 2), "tanh").to(dtype), swapped=True, horizon=horizon)
    theta = init_theta(family.model, generator=torch.Generator().manual_seed(0), output_scale=0.1)
    theta = {n: p.requires_grad_() for n, p in theta.items()}
    generator = torch.Generator().manual_seed(seed)
    tasks = family.sample_tasks(TASKS, generator=generator)
    grads = torch.autograd.grad(way(family, theta, tasks, generator), list(theta.values()))
    return torch.cat([g.flatten() for g in grads])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    a, b = (meta_gradient(way, torch.float64, 200, 1) for way in WAYS.values())
    worst = float((a - b).abs().max() / a.abs().max())
    if worst > 1e-6:
        raise SystemExit(f"the two disagree on the meta-gradient (relative {worst:.1e})")
    print(f"same meta-gradient both ways: largest relative difference {worst:.1e}, float64")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for round_ in range(args.rounds + 1):
        for name, way in WAYS.items():
            began = time.perf_counter()
            meta_gradient(way, torch.float32, 200, round_)
            if round_:  # the first warms up
                seconds[name].append(time.perf_counter() - began)
    print(f"torch {torch.__version__}, one thread, {TASKS} tasks, {args.rounds} rounds")
    for name, values in seconds.items():
        ratio = statistics.median(x / y for x, y in zip(values, seconds["ours"], strict=True))
        print(f"{name:<16}{1e3 * statistics.median(values):>8.0f} ms{ratio:>8.1f} times ours")


if __name__ == "__main__":
    main()
