"""Train and test the families of CartPoles of chapter 10, and store what the chapter reads.

    python tools/cartpole.py [--families swapped secret physics] [--rows ...]

Each row is five trainings at once (along the runs axis), one thread; a row of the swapped controls
takes about a minute and a half, one of the secret side three minutes, on one core. A row that was
killed goes on from its checkpoint in _build/cartpole, a row that is done is not trained again:
delete the folder to begin anew. The result, ``metasgd_core/results/cartpole-*.safetensors``, holds
for each row theta, alpha, and the returns of every test task after 0 to 3 updates.

Settings were chosen on validation tasks (seed 1000), the figures are of test tasks (seed 2000).
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from metasgd_core import (
    JOINT,
    MAML,
    META_SGD,
    CartPole,
    Method,
    Trajectories,
    evaluate,
    init_alpha,
    init_theta,
    meta_train,
    progress,
)
from metasgd_core.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "metasgd_core" / "results"
STATE = ROOT / "_build" / "cartpole"
SEEDS, TEST_TASKS, EPISODES = 5, 100, 10
VALIDATION, TEST = 1000, 2000

#: Steps that the policies of a training have played in the environment.
PLAYED = [0]


@dataclass(frozen=True)
class Counted(CartPole):
    """CartPole, with its steps counted."""

    def sample_data(self, *args, **kwargs) -> Trajectories:
        data = super().sample_data(*args, **kwargs)
        PLAYED[0] += int(data.mask.sum())
        return data


LOG = replace(META_SGD, alpha_form="log")
SCALAR = replace(LOG, name="learned scalar", alpha_shape="scalar")
TRAINING = {
    "swapped": {"iterations": 100, "lr": 3e-2},
    "secret": {"iterations": 200, "lr": 2e-2},
    "physics": {"iterations": 60, "lr": 1e-2},
}
FAMILIES = {
    "swapped": Counted(swapped=True, horizon=200),
    "secret": Counted(secret_side=True, horizon=200),
    "physics": Counted(length=(0.25, 4.0), force=(5.0, 15.0), gravity=(5.0, 15.0), horizon=200),
}
#: Method, first alpha, and the outer rate of log alpha, if it is learned.
ROWS: dict[str, dict[str, tuple[Method, float, float]]] = {
    "secret": {
        "maml-3": (MAML, 3.0, 0.0), "metasgd-3": (LOG, 3.0, 0.1), "metasgd-0.1": (LOG, 0.1, 0.1),
        "maml-0.1": (MAML, 0.1, 0.0), "scalar-0.1": (SCALAR, 0.1, 0.1),
        # Here alpha grows too slowly: theta has picked a side before.
        "metasgd-0.1-slow": (LOG, 0.1, 0.05), "scalar-0.1-slow": (SCALAR, 0.1, 0.05),
        "joint": (JOINT, 0.0, 0.0),
    },
    "swapped": {
        "maml-1": (MAML, 1.0, 0.0), "maml-3": (MAML, 3.0, 0.0), "metasgd-3": (LOG, 3.0, 0.05),
        "metasgd-0.1": (LOG, 0.1, 0.05), "maml-0.1": (MAML, 0.1, 0.0),
        "scalar-0.1": (SCALAR, 0.1, 0.05), "joint": (JOINT, 0.0, 0.0),
    },
    "physics": {"joint": (JOINT, 0.0, 0.0)},
}
#: Rates among which fine-tuning chooses its own, by the return after three updates.
FINE_TUNING_RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def first_theta(family: CartPole):
    return init_theta(family.model, generator=generator(0), runs=(SEEDS,), output_scale=0.1)


def train(name: str, row: str, method: Method, rate: float, alpha_lr: float):
    """Train a row's five seeds; return theta, alpha, seconds and environment steps a seed."""
    family = FAMILIES[name]
    theta = first_theta(family)
    alpha = init_alpha(theta, method.alpha_shape, rate, runs=(SEEDS,))
    began, PLAYED[0] = time.perf_counter(), 0
    records = meta_train(
        family, theta, alpha, method, meta_batch=20, shots=EPISODES, query_shots=EPISODES,
        generator=generator(1), alpha_lr=alpha_lr, final_lr=0.1, clip=1.0, record_every=20,
        checkpoint=STATE / f"{name}-{row}.training", **TRAINING[name],
    )
    *_, last = progress(records, iterations=TRAINING[name]["iterations"], label=f"{name} {row}")
    return last.theta, last.alpha, time.perf_counter() - began, PLAYED[0] / SEEDS


def test(name: str, theta, alpha, seed: int, n_tasks: int):
    """Return sampled and greedy returns, ``(seeds, 4, n_tasks)`` each."""
    family = replace(FAMILIES[name], horizon=500)
    kinds = {"sampled": family, "greedy": replace(family, greedy=True)}
    return {
        kind: evaluate(
            family, theta, alpha, shots=EPISODES, query_shots=EPISODES, steps=3, n_tasks=n_tasks,
            generator=generator(seed), scorer=scorer,
        ).scores
        for kind, scorer in kinds.items()
    }


def fine_tuning_rate(name: str, theta) -> tuple[float, dict[str, float]]:
    """Return the rate that is best for theta after three updates on validation tasks, and all."""
    family = replace(FAMILIES[name], horizon=500)
    found = {
        rate: float(evaluate(
            family, theta, rate, shots=EPISODES, query_shots=EPISODES, steps=3, n_tasks=20,
            generator=generator(VALIDATION),
        ).scores[:, 3].mean())
        for rate in FINE_TUNING_RATES
    }
    return max(found, key=lambda rate: found[rate]), {str(k): round(v, 1) for k, v in found.items()}


def make_row(name: str, row: str) -> None:
    """Train and test one row, unless its file is there."""
    path = STATE / f"{name}-{row}.safetensors"
    if path.exists():
        return
    notes: dict[str, object] = {}
    if row == "random":
        theta, notes["seconds"], notes["steps"] = first_theta(FAMILIES[name]), 0.0, 0.0
    else:
        method, rate, alpha_lr = ROWS[name][row]
        theta, alpha, notes["seconds"], notes["steps"] = train(name, row, method, rate, alpha_lr)
        notes |= {"first_alpha": rate, "alpha_lr": alpha_lr}
    if row in ("random", "joint"):
        rate, notes["validation"] = fine_tuning_rate(name, theta)
        alpha = init_alpha(theta, "scalar", rate, runs=(SEEDS,))
        notes["rate"] = rate
    scores = test(name, theta, alpha, TEST, TEST_TASKS)
    tensors = {f"theta.{n}": p for n, p in theta.items()}
    one = len({id(a) for a in alpha.values()}) == 1
    rates = {"": next(iter(alpha.values()))} if one else alpha
    tensors |= {f"alpha.{n}": a for n, a in rates.items()}
    save_checkpoint(path, tensors | scores, notes)
    means = scores["sampled"].mean((0, -1)).tolist()
    greedy = scores["greedy"].mean((0, -1)).tolist()
    print(f"{name:8}{row:14} sampled {[round(m) for m in means]} greedy "
          f"{[round(m) for m in greedy]} {notes}", flush=True)


def collect(name: str) -> None:
    """Put the rows of a family into the one file that the chapter reads."""
    tensors, notes = {}, {}
    for path in sorted(STATE.glob(f"{name}-*.safetensors")):
        row = path.stem.removeprefix(f"{name}-")
        part, state = load_checkpoint(path)
        tensors |= {f"{row}/{key}": value for key, value in part.items()}
        notes[row] = {k: v for k, v in state.items() if k != "format"}
    provenance = {
        "command": f"python tools/cartpole.py --families {name}", "torch": torch.__version__,
        "python": platform.python_version(), "machine": platform.machine(),
        "cores": os.cpu_count(), "date": datetime.date.today().isoformat(),
        "seeds": SEEDS, "test_tasks": TEST_TASKS, "episodes": EPISODES,
        "training": TRAINING[name], "rows": notes,
    }
    save_checkpoint(RESULTS / f"cartpole-{name}.safetensors", tensors, provenance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--families", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rows", nargs="+", help="only these; all by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    STATE.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    for name in args.families:
        for row in args.rows or [*ROWS[name], "random"]:
            make_row(name, row)
        collect(name)


if __name__ == "__main__":
    main()
