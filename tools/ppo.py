"""Train stable-baselines3's PPO on CartPole-v1: the figures beside which chapter 14 puts its own.

PPO is no dependency of the book, so it has an environment of its own, and what it measured is
stored in ``metasgd_core/results/ppo-cartpole.json``. To make that file again (on one core about
twenty minutes; the figures change a little with the processor and the versions):

    python3.11 -m venv ppo-venv
    ppo-venv/bin/pip install torch==2.13.0 numpy==2.4.6 gymnasium==1.4.0 stable-baselines3==2.9.2
    ppo-venv/bin/python tools/ppo.py

Two settings are trained, five seeds each. ``default`` is PPO as it comes. ``tuned`` is what
rl-baselines3-zoo 2.9.2 gives for CartPole-v1 (hyperparams/ppo.yml); ``lin_0.001`` is the zoo's
word for "falls from 0.001 to 0 in a straight line over the training", so it cannot go on longer.

After every 10 240 environment steps (5 of default's rollouts, 40 of tuned's, so no rollout is cut
in two), and at the end, the policy as it is then plays 100 episodes on its own vector of
environments: always the likelier action, no best policy kept. Only the training's steps are
counted.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import re
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

try:
    import gymnasium
    import numpy as np
    from stable_baselines3 import PPO
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
except ModuleNotFoundError as error:
    raise SystemExit(f"{error.name} is not installed here: see the top of {__file__}") from None

ENVIRONMENT = "CartPole-v1"
SEEDS = range(5)
EPISODES = 100
#: Environment steps from one evaluation to the next.
EVERY = 10_240

#: rl-baselines3-zoo's own words, n_envs and n_timesteps included.
TUNED = {
    "n_envs": 8, "n_timesteps": 100_000,
    "n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.8,
    "ent_coef": 0.0, "learning_rate": "lin_0.001", "clip_range": "lin_0.2",
}  # fmt: skip
_OF_PPO = inspect.signature(PPO).parameters
DEFAULT = {name: _OF_PPO[name].default for name in TUNED if name in _OF_PPO}
DEFAULT = {"n_envs": 1, "n_timesteps": 30 * EVERY, **DEFAULT}


def schedule(value: float | str) -> float | Callable[[float], float]:
    """Read the zoo's ``lin_0.001``: a function of what is left of the training, from 1 to 0."""
    if not isinstance(value, str):
        return value
    start = float(value.removeprefix("lin_"))
    return lambda left: left * start


def mean_return(model: BaseAlgorithm, seed: int) -> float:
    """Return the mean number of steps the pole stands (at most 500), likelier action always."""
    envs = gymnasium.make_vec(ENVIRONMENT, EPISODES, vectorization_mode="vector_entry_point")
    state, _ = envs.reset(seed=seed)
    standing = np.ones(EPISODES, dtype=bool)
    total = 0.0
    while standing.any():
        action, _ = model.predict(state, deterministic=True)
        state, reward, terminated, truncated, _ = envs.step(action)
        total += reward[standing].sum()  # an environment that is done starts again: not counted
        standing &= ~(terminated | truncated)
    return float(total) / EPISODES


class Watch(BaseCallback):
    """Evaluate the policy between two rollouts, and take the evaluation's time out of the count."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed, self.seconds = seed, 0.0
        self.returns: dict[int, float] = {}  # after so many steps

    def _on_rollout_start(self) -> None:
        if self.num_timesteps % EVERY == 0:
            self._evaluate()

    def _on_training_end(self) -> None:
        self._evaluate()

    def _on_step(self) -> bool:
        return True

    def _evaluate(self) -> None:
        start = time.process_time()
        # Other episodes for each seed and each count, and none that was trained on.
        seed = 1_000_000 * (1 + self.seed) + self.num_timesteps
        self.returns[self.num_timesteps] = mean_return(self.model, seed)
        self.seconds += time.process_time() - start


def train(settings: dict[str, Any], seed: int) -> tuple[dict[int, float], float]:
    """Train once; return the mean return after each count of steps, and the seconds it took.

    They are the processor's, without evaluation: on one thread of an idle machine, the clock's too.
    """
    settings = {name: schedule(value) for name, value in settings.items()}
    steps = settings.pop("n_timesteps")
    envs = make_vec_env(ENVIRONMENT, settings.pop("n_envs"))
    watch = Watch(seed)
    start = time.process_time()
    model = PPO("MlpPolicy", envs, seed=seed, device="cpu", **settings)
    model.learn(steps, callback=watch)
    return watch.returns, time.process_time() - start - watch.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = Path(__file__).parents[1] / "metasgd_core" / "results" / "ppo-cartpole.json"
    parser.add_argument("out", type=Path, nargs="?", default=default, help="the JSON file written")
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    packages = ("stable-baselines3", "gymnasium", "torch", "numpy")
    report = {
        "what": f"PPO on {ENVIRONMENT}: returns[seed][i] is the mean return of {EPISODES} episodes"
        " after steps[i] environment steps; seconds[seed] is the training's processor time",
        "command": "python tools/ppo.py",
        "date": date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, one used",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "settings_from": {
            "default": f"stable-baselines3 {version('stable-baselines3')}",
            "tuned": "rl-baselines3-zoo 2.9.2, hyperparams/ppo.yml",
        },
        "episodes": EPISODES,
        "seeds": list(SEEDS),
    }
    for name, settings in {"tuned": TUNED, "default": DEFAULT}.items():
        runs = []
        for seed in SEEDS:
            runs.append(train(settings, seed))
            last = list(runs[-1][0].values())[-3:]
            print(f"{name}, seed {seed}: {runs[-1][1]:.0f} s, the last returns {last}", flush=True)
        report[name] = {
            "settings": settings,
            "steps": list(runs[0][0]),
            "returns": [[round(r, 2) for r in returns.values()] for returns, _ in runs],
            "seconds": [round(seconds, 1) for _, seconds in runs],
        }
    text = json.dumps(report, indent=1)
    text = re.sub(r"\[[^][]*\]", lambda row: " ".join(row[0].split()), text)  # a row on one line
    out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
