"""Train the papers' own network on Omniglot, on a GPU, and see how well it tells new characters.

Four convolutions of 64 filters, batch norm, 5 ways, 1 shot, one inner step, 32 tasks a
meta-iteration. Trained on the 30 background alphabets in all quarter turns, tested on the 20
evaluation alphabets, none of which it has met. Needs CUDA, and Omniglot (see
``metasgd_core/characters.py``):

    python tools/omniglot_gpu.py --bench --seconds 60 --out bench.json
    python tools/omniglot_gpu.py --method Meta-SGD --seconds 200 --compiled --out meta-sgd.json

Training takes a given time: a few meta-iterations are timed first (with ``--compiled`` in both
modes, and the faster one trains), and then as many are done as fit, so that the learning rate has
fallen to a tenth at the end. With ``--speed bench.json`` the times are taken from there. Theta and
alpha are stored beside the report.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from conv_ways import WAYS, By
from safetensors.torch import save_file
from torch import Tensor

from metasgd_core import (
    METHODS,
    Method,
    Params,
    Record,
    adapt,
    init_alpha,
    init_theta,
    meta_loss,
    meta_train,
    per_task,
    share_alpha,
    t_interval,
)
from metasgd_core.characters import omniglot
from metasgd_core.models import ConvNet
from metasgd_core.tasks.images import Images, score_alone
from metasgd_core.types import take

WAYS_A_TASK, SHOTS, QUERY_SHOTS, TASKS = 5, 1, 15, 32
#: Chosen before: alpha's first value is MAML's for 5 ways.
SETTINGS: dict[str, Any] = {
    "shots": SHOTS, "query_shots": QUERY_SHOTS, "lr": 3e-3, "final_lr": 0.1, "clip": 10.0,
}  # fmt: skip
ALPHA = 0.4
#: Inner steps after which the test looks: one as in training, three as MAML's table was made.
STEPS = 3
#: Test episodes at once: each holds 75 queries with the support beside each.
AT_ONCE = 50


def now(device: str) -> float:
    """Return the clock's seconds when the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def start(family: Images, method: Method, seed: int, device: str) -> dict[str, Any]:
    """Return theta, alpha, method and generator: what every training sets out from."""
    generator = torch.Generator(device).manual_seed(seed)
    theta = init_theta(family.model, generator=generator)
    alpha = init_alpha(theta, method.alpha_shape, ALPHA)
    return {"theta": theta, "alpha": alpha, "method": method, "generator": generator}


def training(
    family: Images, method: Method, seed: int, device: str, **changes: Any
) -> Iterator[Record]:
    return meta_train(family, **start(family, method, seed, device), **(SETTINGS | changes))


def speed(family: Images, method: Method, device: str, **changes: Any) -> tuple[float, float]:
    """Return the seconds of a meta-iteration, and those before the second block of them."""
    begun = now(device)
    block = 10
    records = training(family, method, 99, device, iterations=10**6, record_every=block, **changes)
    next(records)
    warm = now(device)
    for _ in range(3):
        next(records)
    return (now(device) - warm) / (3 * block), warm - begun


def timed(family: Images, method: Method, device: str, *, compiled: bool) -> dict[str, float]:
    """Return the milliseconds of a meta-iteration, eager and, if asked for and possible, compiled.
    """
    found = {"eager": 1e3 * speed(family, method, device, meta_batch=TASKS)[0]}
    if compiled:
        try:
            fast, _ = speed(family, method, device, meta_batch=TASKS, compiled=True)
            found["compiled"] = 1e3 * fast
        except RuntimeError as error:
            say(f"not compiled: {error}")
    return found


def stored(path: Path) -> dict[str, float]:
    """Return the same from the report of a `bench`."""
    steps = json.loads(path.read_text(encoding="utf-8"))["meta-step, ms"]
    names = {mode: f"{mode}, {TASKS} tasks" for mode in ("eager", "compiled")}
    return {mode: steps[name] for mode, name in names.items() if name in steps}


def train(
    family: Images, method: Method, seconds: float, seed: int, device: str, ms: dict[str, float]
) -> tuple[Record, dict[str, Any]]:
    """Train for about so many seconds in the faster mode; return the last record, and how it went.
    """
    say(f"{method.name}: a meta-iteration takes {ms} ms")
    mode = min(ms, key=lambda mode: ms[mode])
    iterations = max(20, int(1e3 * seconds / ms[mode]))
    begun, warm, curve, ended = now(device), (0.0, 0), [], "as planned"
    records = training(
        family, method, seed, device, meta_batch=TASKS, iterations=iterations,
        record_every=max(1, iterations // 40), compiled=mode == "compiled",
    )  # fmt: skip
    try:
        for record in records:
            clock, loss = now(device), record.loss.item()
            warm = warm if curve else (clock, record.iteration)  # the first waits for the compiler
            curve.append([record.iteration, round(clock - begun, 2), round(loss, 4)])
            say(f"{method.name}: {record.iteration} of {iterations}, {clock - begun:.0f} s, "
                f"loss {loss:.3f}")  # fmt: skip
            if clock - warm[0] > 1.2 * seconds and record.iteration < iterations:
                ended = "stopped: slower than was measured"
                break
    except FloatingPointError as error:
        ended = str(error)
    done = max(1, record.iteration - warm[1])
    return record, {
        "mode": mode, "ms measured before": ms, "ended": ended,
        "iterations": record.iteration, "iterations planned": iterations,
        "seconds in all": clock - begun, "seconds a meta-iteration": (clock - warm[0]) / done,
        "iteration, seconds, loss": curve,
    }  # fmt: skip


@torch.no_grad()
def test(
    family: Images, theta: Params, alpha: Params, episodes: int, seed: int, device: str
) -> dict[str, list[float]]:
    """Return accuracies with their 95 % intervals over episodes, all queries together and alone."""
    generator = torch.Generator(device).manual_seed(seed)
    scores: dict[str, list[Tensor]] = {}
    for begin in range(0, episodes, AT_ONCE):
        n = min(AT_ONCE, episodes - begin)
        tasks = family.sample_tasks(n, generator=generator)
        data = family.sample_data(tasks, None, SHOTS + QUERY_SHOTS, generator=generator)
        support, query = take(data, 1, 0, SHOTS), take(data, 1, SHOTS, QUERY_SHOTS)
        phi, rates = per_task(theta, (n,)), share_alpha(theta, alpha, (n,))
        for step in range(STEPS + 1):
            found = {f"{step} steps, transductive": family.score(phi, query)}
            if step in (1, STEPS):
                found[f"{step} steps, each query alone beside the support"] = score_alone(
                    family, phi, support, query
                )
            for name, score in found.items():
                scores.setdefault(name, []).append(score)
            phi = adapt(family.loss, phi, rates, support)
    intervals = {name: t_interval(torch.cat(parts).double()) for name, parts in scores.items()}
    return {name: [round(part.item(), 5) for part in pair] for name, pair in intervals.items()}


def bench(
    family: Images, seconds: float, device: str, tasks: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """Time meta-steps of Meta-SGD, eager and compiled, and the meta-gradient in other ways.

    Yields the report each time that it has grown. Nothing is compiled that would hardly be ready
    within the seconds.
    """
    begun, method = now(device), METHODS["Meta-SGD"]
    steps: dict[str, float] = {}
    gradients: dict[str, float] = {}
    report: dict[str, Any] = {"meta-step, ms": steps, "meta-gradient, ms": gradients}
    for n in tasks:
        steps[f"eager, {n} tasks"] = ms = 1e3 * speed(family, method, device, meta_batch=n)[0]
        say(f"eager, {n} tasks: {ms:.2f} ms")
    for name, way in WAYS.items():
        for n in tasks:
            other = By(family.model, family.images, family.ways, family.turns, way)
            gradients[f"{name}, {n} tasks"] = ms = 1e3 * gradient_seconds(other, n, device)
            say(f"meta-gradient, {name}, {n} tasks: {ms:.2f} ms")
    yield report
    longest = 0.0
    for n in reversed(tasks):
        if now(device) - begun + longest > seconds:
            break
        try:
            fast, compiling = speed(family, method, device, meta_batch=n, compiled=True)
        except RuntimeError as error:
            say(f"not compiled: {error}")
            yield report | {"not compiled because": str(error)}
            break
        longest = max(longest, compiling)
        steps[f"compiled, {n} tasks"] = 1e3 * fast
        report[f"seconds to compile, {n} tasks"] = compiling
        say(f"compiled, {n} tasks: {1e3 * fast:.2f} ms, after {compiling:.0f} s")
        yield report


def gradient_seconds(family: Images, tasks: int, device: str, repeats: int = 5) -> float:
    """Return the least seconds of one meta-gradient of Meta-SGD, on data drawn beforehand."""
    mine = start(family, METHODS["Meta-SGD"], 99, device)
    leaves = [p.requires_grad_() for part in ("theta", "alpha") for p in mine[part].values()]
    drawn = family.sample_tasks(tasks, generator=mine["generator"])
    shots = {"shots": SHOTS, "query_shots": QUERY_SHOTS}
    data = family.sample_data(drawn, None, sum(shots.values()), generator=mine["generator"])

    def once() -> float:
        begun = now(device)
        torch.autograd.grad(meta_loss(family, tasks=drawn, data=data, **mine, **shots), leaves)
        return now(device) - begun

    once()
    return min(once() for _ in range(repeats))


def say(line: str) -> None:
    print(line, flush=True)


def store(path: Path, report: dict[str, Any], device: str) -> None:
    if device == "cuda":
        report["GB at most"] = torch.cuda.max_memory_allocated() / 1e9
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def run(arguments: argparse.Namespace, device: str = "cuda", **tiny: Any) -> None:
    """Do what is asked for and store the report; `tiny` makes it small enough for a test."""
    split = omniglot()
    images = torch.cat([split.training.images, split.validation.images]).to(device)
    model = ConvNet(WAYS_A_TASK, tiny.get("filters", 64), norm="batch").to(device)
    family = Images(model, images, WAYS_A_TASK, turns=4)
    report: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]), "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "tasks": TASKS, "alpha": ALPHA, **SETTINGS,
    }  # fmt: skip
    out, seconds, seed = arguments.out, arguments.seconds, arguments.seed
    if arguments.bench:
        for found in bench(family, seconds, device, tiny.get("tasks", (4, 16, 32))):
            store(out, report | found, device)
        return
    method = METHODS[arguments.method]
    ms = (stored(arguments.speed) if arguments.speed
          else timed(family, method, device, compiled=arguments.compiled))  # fmt: skip
    record, went = train(family, method, seconds, seed, device, ms)
    report |= {"method": method.name, "seed": seed, **went}
    store(out, report, device)
    numbers = {f"{group}/{name}": p.clone() for group in ("theta", "alpha")
               for name, p in getattr(record, group).items()}  # fmt: skip
    save_file(numbers, out.with_suffix(".safetensors"))
    held_out = Images(model, split.evaluation.images.to(device), WAYS_A_TASK)
    episodes = tiny.get("episodes", 1000)
    report["accuracy and its 95 % interval over episodes"] = accuracy = test(
        held_out, record.theta, record.alpha, episodes, 10_000 + seed, device
    )
    say(json.dumps(accuracy, indent=1))
    store(out, report, device)


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", action="store_true", help="time meta-steps, train nothing")
    parser.add_argument("--method", choices=("Meta-SGD", "MAML"), default="Meta-SGD")
    parser.add_argument("--seconds", type=float, default=200, help="of training, or of --bench")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true", help="compile, where that is faster")
    parser.add_argument("--speed", type=Path, help="a report of --bench: time nothing again")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file written")
    return parser.parse_args(words)


def main() -> None:
    arguments = parsed()
    if not torch.cuda.is_available():
        raise SystemExit("This trains a full-size network and needs a CUDA device: none is here.")
    run(arguments)


if __name__ == "__main__":
    main()
