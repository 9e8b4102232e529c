"""Make the table of the Meta-SGD paper again, from nothing: what ``make table`` runs.

    python tools/table.py                 the table and its variants, whole
    python tools/table.py --only table    the eighteen cells
    python tools/table.py --choose        how the outer rates were chosen, on validation tasks
    python tools/table.py --quick         the same in a minute, with short trainings; writes nothing

Killed at any moment, the same command goes on from the checkpoints in _build/table, which go when
it is done. The result, ``metasgd_core/results/sinusoid-table.safetensors``, holds for every
training the last theta and alpha, the meta-loss on the way, and each test curve's error, with how
it was made.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import jobs
import torch

from metasgd_core.checkpoint import load_checkpoint, save_checkpoint
from metasgd_core.studies import table

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "metasgd_core" / "results" / "sinusoid-table.safetensors"
STATE = ROOT / "_build" / "table"
QUICK_ITERATIONS = 1200
#: Outer rates and what is left of them at the end, tried on validation tasks.
CHOICES = {
    f"{name}, rate {lr:g} to {lr * final:g}": replace(setting, lr=lr, final_lr=final)
    for name, setting in table.PROTOCOL.items()
    for lr in (1e-3, 3e-3)
    for final in (1.0, 0.01)
}
SETTINGS = table.TABLE | table.VARIANTS | CHOICES


def work(name: str, folder: Path, tell) -> None:
    """Train one setting and test it; see :mod:`jobs`."""
    setting = SETTINGS[name]
    quick, choosing = folder.name == "quick", name in CHOICES
    iterations = QUICK_ITERATIONS if quick else table.ITERATIONS
    training, on_the_way = folder / f"{name}.training", folder / f"{name}.losses"
    losses = jobs.noted(training, on_the_way)
    for record in table.train(
        setting, seeds=5 if choosing else table.SEEDS, iterations=iterations,
        record_every=max(1, iterations // 60), checkpoint=training, compiled=not quick,
    ):
        # A training that was over already has no loss to tell, but the file has.
        losses.setdefault(record.iteration, record.loss)
        save_checkpoint(on_the_way, {str(k): v for k, v in losses.items()}, {})
        tell(0.95 * record.iteration / iterations)
    tensors = {f"theta.{n}": p for n, p in record.theta.items()}
    if setting.method.learn_alpha:
        tensors |= {f"alpha.{n}": a for n, a in record.alpha.items()}
    in_order = [losses[iteration] for iteration in sorted(losses)]
    tensors |= {"losses": torch.stack(in_order, dim=-1), "diverged": record.diverged}
    redraws = 10 if quick else table.REDRAWS
    for shots in (setting.shots,) if choosing else table.SHOTS:
        tensors[f"tested on {shots}"] = table.held_out(
            setting, record.theta, record.alpha, shots, redraws=redraws,
            seed=table.VALIDATION if choosing else table.TEST,
        )
    save_checkpoint(folder / f"{name}.safetensors", tensors, {})


def collect(names: list[str], folder: Path) -> dict[str, torch.Tensor]:
    parts = {name: load_checkpoint(folder / f"{name}.safetensors")[0] for name in names}
    return {f"{name}/{key}": value for name, part in parts.items() for key, value in part.items()}


def show(names: list[str], found: dict[str, torch.Tensor]) -> None:
    for name in names:
        cells = []
        for shots in table.SHOTS:
            scores = found.get(f"{name}/tested on {shots}")
            if scores is not None:
                by_seed = scores.mean(dim=-1)
                cells.append(f"{shots}: {by_seed.mean():.3f} (seeds {by_seed.std():.3f})")
        print(f"{name:45} " + "  ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=("table", "variants"))
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    groups = {"table": list(table.TABLE), "variants": list(table.VARIANTS)}
    names = groups[args.only] if args.only else [*table.TABLE, *table.VARIANTS]
    if args.choose:
        names = list(CHOICES)
    folder = STATE / ("quick" if args.quick else "choose" if args.choose else "whole")
    made = jobs.run(work, names, folder, args.processes)
    found = collect(names, folder)
    show(names, found)
    print(f"{made['seconds']:.0f} s with {made['processes']} processes")
    if args.quick:
        jobs.clear(names, folder)
        return
    # What other commands of this tool have found stays in the file.
    old, notes = load_checkpoint(RESULT) if RESULT.exists() else ({}, {"made": {}})
    kept = {key: value for key, value in old.items() if key.split("/")[0] not in names}
    option = "--choose" if args.choose else f"--only {args.only}" if args.only else ""
    command = f"python tools/table.py {option}".strip()
    notes["made"] |= {name: made | {"command": command} for name in names}
    RESULT.parent.mkdir(exist_ok=True)
    save_checkpoint(RESULT, kept | found, {"made": notes["made"], "seeds": table.SEEDS})
    jobs.clear(names, folder)
    print(f"written: {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
