"""Train and test the arms of the alpha lab, which chapter 7 reads: ``make alpha-lab``.

    python tools/lab.py            everything, both sets of seeds
    python tools/lab.py --quick    a twentieth of the iterations; writes nothing

Killed at any moment, the same command goes on from the checkpoints in _build/lab. The result,
``metasgd_core/results/alpha-lab.safetensors``, holds for every arm and seed the error on
validation tasks during training, the mean error on test tasks after 0 to 10 inner steps, and what
alpha became.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

import jobs
import torch

from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.studies import lab

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "metasgd_core" / "results" / "alpha-lab.safetensors"
STATE = ROOT / "_build" / "lab"
#: Arms whose theta and alpha are stored whole, so that their figures can be computed again.
WHOLE = {"start": 4, "fixed": 2}


def work(name: str, folder: Path, tell) -> None:
    """Train a group of arms and test it; see :mod:`jobs`."""
    arms = lab.LAB[name]
    quick = folder.name == "quick"
    iterations = lab.ITERATIONS // 20 if quick else lab.ITERATIONS
    training, on_the_way = folder / f"{name}.training", folder / f"{name}.curve"
    curve = jobs.noted(training, on_the_way)
    with suppress(FloatingPointError):  # that all runs of a group are lost is a result, too
        for record in lab.train(
            arms, iterations=iterations, record_every=iterations // 40,
            checkpoint=training, compiled=not quick,
        ):
            curve[record.iteration] = lab.held_out(
                record.theta, record.alpha, seed=lab.VALIDATION, n_tasks=100, steps=1
            )[..., 1, :].mean(-1)
            save_checkpoint(on_the_way, {str(k): v for k, v in curve.items()}, {})
            tell(0.9 * record.iteration / iterations)
    scores = lab.held_out(record.theta, record.alpha)
    done = sorted(curve)
    tensors = {
        "iteration": torch.tensor(done), "validation": torch.stack([curve[k] for k in done], -1),
        "test": scores.mean(-1), "diverged": record.diverged,
    }
    if arms.method.learn_alpha:
        _, first = lab.begin(arms)
        moved = {n: ~a.isclose(first[n], rtol=1e-4) for n, a in record.alpha.items()}
        tensors |= {
            f"alpha {what}": value
            for what, value in lab.what_alpha_became(record.alpha, moved).items()
        }
        if name == "start":
            tensors["alpha of seed 0"] = flat(record.alpha)[:, 0]
            tensors["moved of seed 0"] = flat(moved)[:, 0]
    if name in WHOLE:
        arm = WHOLE[name]
        tensors |= {f"theta.{n}": p[arm] for n, p in record.theta.items()}
        tensors |= {f"alpha.{n}": a[arm] for n, a in record.alpha.items()}
    save_checkpoint(folder / f"{name}.safetensors", tensors, {})


def flat(alpha) -> torch.Tensor:
    return torch.cat([a.reshape(*a.shape[:2], -1) for a in alpha.values()], dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    folder = STATE / ("quick" if args.quick else "whole")
    names = list(lab.LAB)
    made = jobs.run(work, names, folder, args.processes)
    found = {}
    for name in names:
        part = load_checkpoint(folder / f"{name}.safetensors")[0]
        found |= {f"{name}/{key}": value for key, value in part.items()}
        after = part["test"][..., 1].mean(1)
        print(f"{name:32} " + "  ".join(
            f"{start}: {value:.3f}" for start, value in zip(lab.LAB[name].starts, after.tolist())
        ))
    print(f"{made['seconds']:.0f} s with {made['processes']} processes")
    if not args.quick:
        save_checkpoint(RESULT, found, {"made": made | {"command": "python tools/lab.py"}})
        print(f"written: {RESULT.relative_to(ROOT)}")
    jobs.clear(names, folder)


if __name__ == "__main__":
    main()
