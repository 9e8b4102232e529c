"""Time whole Meta-SGD meta-steps (data, meta-gradient, Adam), ours and others': ``make bench``.

    python tools/bench.py            measure, and print the tables
    python tools/bench.py --write    also store them, in place of this processor's last, for the
                                     page "Where the time goes"
    python tools/bench.py --page     only write that page's tables again, from what is stored

Every way runs in this process, on one core and one thread, in turn, round after round, so that all
share whatever else the machine is doing. Compared is the ratio within a round; reported, its median
over the rounds. Before anything is timed, all must give the same meta-gradient.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from bench_report import tables, write_page
from bench_ways import PARTS, QUERY_SHOTS, SHOTS, Way, missing, operations, start, ways
from torch import Tensor

from metasgd_core import MLP, Sinusoid
from metasgd_core.studies.jobs import processor

RESULT = Path(__file__).resolve().parents[1] / "metasgd_core" / "results" / "speed.json"
#: Seconds that a way computes before the next has its turn. A single step would start from the
#: caches that the way before left behind, which no training does.
TURN = 0.3
#: The largest difference of two meta-gradients in float64, relative to the largest entry.
SAME = 1e-10


def pin() -> int | None:
    """Keep this process, and the threads that it starts from now on, to one core; return which."""
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def check_agreement(ways: dict[str, Way]) -> dict[str, float]:
    """Return how far each way's meta-gradient is from the first's, see `check_same`."""
    theta, alpha, generator = start(torch.float64)
    family = Sinusoid(MLP().double())
    tasks = family.sample_tasks(7, generator=generator)
    points = family.sample_data(tasks, None, SHOTS + QUERY_SHOTS, generator=generator)
    return check_same({name: way.gradient(theta, alpha, points) for name, way in ways.items()})


def check_same(found: dict[str, Tensor]) -> dict[str, float]:
    """Return how far each meta-gradient is from the first, relative to its largest entry.

    Raises
    ------
    SystemExit
        If one is not the same up to rounding: its way computes something else.
    """
    first, reference = next(iter(found.items()))
    scale = reference.abs().max()
    apart = {name: float((g - reference).abs().max() / scale) for name, g in found.items()}
    wrong = ", ".join(f"{name} ({off:.1e})" for name, off in apart.items() if not off <= SAME)
    if wrong:
        raise SystemExit(f"Not the meta-gradient of {first} (relative difference): {wrong}.")
    return apart


def seconds_of(blocks: Iterator[Any], times: int = 1) -> float:
    began = time.perf_counter()
    for _ in range(times):
        next(blocks)
    return time.perf_counter() - began


def take_turns(trainings: dict[str, tuple[Way, int, int]], rounds: int) -> dict[str, Any]:
    """Return the seconds a meta-step of each training, one figure a round.

    `trainings` are (way, tasks, runs) by name. A way that compiles also gets the seconds for that.
    """
    running, blocks, rows = {}, {}, {}
    for name, (way, tasks, runs) in trainings.items():
        running[name] = way.train(tasks, runs, way.block)
        first, usual = seconds_of(running[name]), seconds_of(running[name])
        blocks[name] = max(1, round(TURN / usual))
        rows[name] = {"compiling": round(first - usual, 2) if way.compiles else None, "seconds": []}
    for _ in range(rounds):
        for name, (way, _, _) in trainings.items():
            took = seconds_of(running[name], blocks[name]) / (blocks[name] * way.block)
            rows[name]["seconds"].append(float(f"{took:.4g}"))
    return rows


def measure(ways: dict[str, Way], tasks: list[int], runs: list[int], rounds: int) -> dict[str, Any]:
    """Return the whole report; the page's tables are made from nothing else."""
    began = time.perf_counter()
    apart = check_agreement(ways)
    print(f"The same meta-gradient in all ways, to {max(apart.values()):.0e} (relative, float64).")
    groups = {f"{n} tasks": {name: (way, n, 1) for name, way in ways.items()} for n in tasks}
    groups["runs"] = {
        f"{name}, {r} runs": (way, tasks[0], r)
        for name, way in ways.items() if way.runs for r in runs
    }
    groups["parts"] = {name: (part, tasks[0], 1) for name, part in PARTS.items()}
    rows = {}
    for group, trainings in groups.items():
        print(f"Timing {group} ...", flush=True)
        rows[group] = take_turns(trainings, rounds)
    counts = {name: [operations(way, n) for n in tasks]
              for name, way in ways.items() if not way.compiles}
    packages = ["torch", "jax", "optax", "torchopt", "higher", "numpy"]
    return {
        "date": time.strftime("%Y-%m-%d"), "processor": processor(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages if name not in missing()},
        "tasks": tasks, "runs": runs, "rounds": rounds,
        "minutes": round((time.perf_counter() - began) / 60, 1), "apart": apart,
        "operations": counts, "groups": rows,
    }


def stored() -> dict[str, dict[str, Any]]:
    """Return the last report of each processor that was measured."""
    return json.loads(RESULT.read_text(encoding="utf-8"))


def store(report: dict[str, Any]) -> None:
    """Put the report in place of the processor's last, and write the page's tables."""
    together = stored() | {report["processor"]: report}
    RESULT.write_text(json.dumps(together, indent=1) + "\n", encoding="utf-8")
    write_page(together)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[4, 25, 100, 1000])
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--ways", nargs="+", metavar="WAY", help="only these")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--write", action="store_true", help="store them as this processor's")
    parser.add_argument("--page", action="store_true", help="only the page, from what is stored")
    args = parser.parse_args(arguments)
    if args.page:
        write_page(stored())
        return
    core = pin()  # before JAX is imported, which counts the cores it may use
    torch.set_num_threads(1)
    print("One thread." if core is None else f"One thread, on core {core} alone.")
    if absent := missing():
        print(f"Not installed here, and so not timed: {', '.join(absent)}. `make bench` installs "
              "what to compare with into an environment of its own, .venv-bench.")
    found = ways()
    if unknown := [name for name in args.ways or [] if name not in found]:
        parser.error(f"no way {unknown[0]!r} here; there are: {', '.join(map(repr, found))}")
    torch._inductor.config.force_disable_caches = True  # else only the first bench compiles
    warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")
    report = {"command": shlex.join(["python", *sys.argv]), "pinned": core is not None} | measure(
        {name: found[name] for name in args.ways or found}, args.tasks, args.runs, args.rounds
    )
    print("", *filter(None, tables(report).values()), sep="\n\n")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.write:
        store(report)


if __name__ == "__main__":
    main()
