"""Time Meta-SGD meta-steps of a convolutional network, ours and other ways: part of ``make bench``.

    python tools/bench_conv.py            measure, and print the tables
    python tools/bench_conv.py --write    also store them as this processor's, for the page

The network of chapter 12 (16 filters, batch norm) on 28 x 28 images, 5 ways, 1 support and 3 query
drawings of each. All take the same whole meta-step through ``meta_train``; what differs is how a
layer is computed (``conv_ways.py``). Measured as in ``bench.py``, of which this is a part of its
own because it takes a minute alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench import check_same, pin, take_turns
from bench_report import digits, ms, origin, put, ratio, table
from bench_ways import Way, flat
from conv_ways import WAYS, By

from metasgd_core import META_SGD, init_alpha, init_theta, meta_loss, meta_train
from metasgd_core.models import ConvNet
from metasgd_core.studies.jobs import processor

RESULT = Path(__file__).resolve().parents[1] / "metasgd_core" / "results" / "speed-conv.json"
SETTINGS = {"shots": 1, "query_shots": 3}


def family(way: str, dtype: torch.dtype = torch.float32, filters: int = 16) -> By:
    """Return tasks on random images: what is on them makes no difference to the time."""
    images = torch.rand(50, 20, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.15
    return By(ConvNet(filters=filters).to(dtype), images, way=WAYS[way])


def start(tasks: By) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    theta = init_theta(tasks.model, generator=generator)
    return {"theta": theta, "alpha": init_alpha(theta, "entry", 0.4), "generator": generator}


def train(way: str, n_tasks: int, runs: int, block: int) -> Iterator[Any]:
    """Take `block` meta-steps each time."""
    tasks = family(way)
    return meta_train(tasks, **start(tasks), method=META_SGD, iterations=10**9, lr=1e-3,
                      meta_batch=n_tasks, record_every=block, **SETTINGS)  # fmt: skip


def gradient(way: str) -> torch.Tensor:
    """Return the meta-gradient of three tasks in float64, a smaller network's."""
    tasks = family(way, torch.float64, filters=3)
    begin = start(tasks)
    leaves = [p.requires_grad_() for part in ("theta", "alpha") for p in begin[part].values()]
    drawn = tasks.sample_tasks(3, generator=begin["generator"])
    loss = meta_loss(tasks, tasks=drawn, method=META_SGD, **begin, **SETTINGS)
    return flat(dict(enumerate(torch.autograd.grad(loss, leaves))))


def measure(tasks: list[int], rounds: int) -> dict[str, Any]:
    """Return the whole report."""
    began = time.perf_counter()
    apart = check_same({name: gradient(name) for name in WAYS})
    groups = {}
    for n in tasks:
        print(f"Timing {n} tasks ...", flush=True)
        ways = {name: (Way(partial(train, name)), n, 1) for name in WAYS}
        groups[f"{n} tasks"] = take_turns(ways, rounds)
    return {
        "date": time.strftime("%Y-%m-%d"), "processor": processor(),
        "python": platform.python_version(), "packages": {"torch": torch.__version__},
        "rounds": rounds, "minutes": round((time.perf_counter() - began) / 60, 1),
        "apart": apart, "groups": groups,
    }


def tables(report: dict[str, Any]) -> str:
    """Return the Markdown tables of one processor."""
    on, groups = report["processor"], list(report["groups"])
    steps = table(
        f"Milliseconds a meta-step of the convolutional network: {on}", ["way", *groups],
        [[name, *(digits(ms(report, g, name)) for g in groups)] for name in WAYS],
    )
    ratios = table(
        f"How many times as long each takes as ours: {on}", ["way", *groups],
        [[name, *("{} ({} to {})".format(*map(digits, ratio(report, g, name, "ours")))
                  for g in groups)] for name in WAYS if name != "ours"],
    )
    return "\n\n".join([steps, ratios, origin(report)])


def stored() -> dict[str, dict[str, Any]]:
    """Return the last report of each processor that was measured."""
    return json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}


def blocks(reports: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the page's block."""
    return {"convolutions": "\n\n".join(map(tables, reports.values()))}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--write", action="store_true", help="store them as this processor's")
    args = parser.parse_args(arguments)
    core = pin()
    torch.set_num_threads(1)
    report = {"command": shlex.join(["python", *sys.argv]), "pinned": core is not None} | measure(
        args.tasks, args.rounds
    )
    print("", tables(report), sep="\n")
    if args.write:
        reports = stored() | {report["processor"]: report}
        RESULT.write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
        put(blocks(reports))


if __name__ == "__main__":
    main()
