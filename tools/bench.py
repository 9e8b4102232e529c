"""Time one whole Meta-SGD meta-step (data, meta-gradient, Adam) against other ways to write it.

All ways run in this process, on one thread, in turn, round after round, so that they share
whatever else the machine is doing; what is compared is the ratio within a round, and its median
over the rounds is reported. Before anything is timed, all of them must give the same
meta-gradient, in float64.

    python tools/bench.py [--rounds 20] [--tasks 4 25 100]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import mse_loss

from metasgd_core import META_SGD, MLP, Sinusoid, init_alpha, init_theta, meta_loss, meta_train
from metasgd_core.types import Params

SHOTS = QUERY_SHOTS = 10
#: (family, theta, alpha, tasks, generator) -> the meta-loss, with a graph back to theta and alpha
Loss = Callable[..., Tensor]


def ours(family, theta, alpha, tasks, generator) -> Tensor:
    """The package: one batched inner gradient."""
    return meta_loss(
        family, theta, alpha, tasks, META_SGD,
        shots=SHOTS, query_shots=QUERY_SHOTS, generator=generator,
    )


def _draw(family, tasks, generator) -> tuple[Tensor, Tensor]:
    return family.sample_data(tasks, None, SHOTS + QUERY_SHOTS, generator=generator)


def plain_loop(family, theta, alpha, tasks, generator, run=functional_call) -> Tensor:
    """The textbook: a Python loop over tasks, ``autograd.grad`` in each."""
    total = torch.zeros(())
    for x, y in zip(*_draw(family, tasks, generator), strict=True):
        loss = mse_loss(run(family.model, theta, (x[:SHOTS],)), y[:SHOTS])
        grads = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        phi = {n: p - alpha[n] * g for (n, p), g in zip(theta.items(), grads, strict=True)}
        total = total + mse_loss(run(family.model, phi, (x[SHOTS:],)), y[SHOTS:])
    return total / len(tasks.amplitude)


def lean_loop(family, theta, alpha, tasks, generator) -> Tensor:
    """The same loop, with the network written out as a function instead of called as a module."""
    return plain_loop(family, theta, alpha, tasks, generator, run=_mlp)


def _mlp(_: nn.Module, phi: Params, inputs: tuple[Tensor]) -> Tensor:
    (h,) = inputs
    for depth in range(len(phi) // 2):
        h = torch.relu(h) if depth else h
        h = nn.functional.linear(h, phi[f"layers.{depth}.weight"], phi[f"layers.{depth}.bias"])
    return h


def torch_func(family, theta, alpha, tasks, generator) -> Tensor:
    """``torch.func``: the loss of one task, ``grad`` of it, ``vmap`` over tasks."""

    def support_loss(theta: Params, x: Tensor, y: Tensor) -> Tensor:
        return mse_loss(functional_call(family.model, theta, (x,)), y)

    def task_loss(x: Tensor, y: Tensor) -> Tensor:
        grads = grad(support_loss)(theta, x[:SHOTS], y[:SHOTS])
        phi = {n: p - alpha[n] * grads[n] for n, p in theta.items()}
        return support_loss(phi, x[SHOTS:], y[SHOTS:])

    return vmap(task_loss)(*_draw(family, tasks, generator)).mean()


def with_higher(family, theta, alpha, tasks, generator) -> Tensor:
    """The library ``higher``: a functional copy of the module and of its optimiser for each task.

    Its SGD takes one rate a tensor; alpha per entry enters as a rescaling of the gradients.
    """
    import higher

    def scale(grads: list[Tensor]) -> list[Tensor]:
        return [a * g for a, g in zip(alpha.values(), grads, strict=True)]

    inner = torch.optim.SGD(family.model.parameters(), lr=1.0)
    total = torch.zeros(())
    for x, y in zip(*_draw(family, tasks, generator), strict=True):
        with higher.innerloop_ctx(family.model, inner) as (net, opt):
            net.update_params(list(theta.values()))
            loss = mse_loss(net(x[:SHOTS]), y[:SHOTS])
            opt.step(loss, grad_callback=scale)
            total = total + mse_loss(net(x[SHOTS:]), y[SHOTS:])
    return total / len(tasks.amplitude)


WAYS: dict[str, Loss] = {
    "ours": ours, "plain loop": plain_loop, "lean loop": lean_loop, "torch.func": torch_func,
    "higher": with_higher,
}


def start(dtype: torch.dtype) -> tuple[Sinusoid, Params, Params, torch.Generator]:
    generator = torch.Generator().manual_seed(0)
    family = Sinusoid(model=MLP().to(dtype))
    theta = init_theta(family.model, generator=generator)
    return family, theta, init_alpha(theta, "entry", 0.02), generator


def check_agreement(ways: dict[str, Loss]) -> float:
    """Return the largest relative difference between any way's meta-gradient and ours."""
    family, theta, alpha, generator = start(torch.float64)
    leaves = [p.requires_grad_() for p in (*theta.values(), *alpha.values())]
    tasks = family.sample_tasks(7, generator=generator)
    state = generator.get_state()
    found = {}
    for name, way in ways.items():
        generator.set_state(state)
        grads = torch.autograd.grad(way(family, theta, alpha, tasks, generator), leaves)
        found[name] = torch.cat([g.flatten() for g in grads])
    reference = found["ours"]
    worst = max(float((g - reference).abs().max() / reference.abs().max()) for g in found.values())
    if worst > 1e-10:
        raise SystemExit(f"the ways disagree on the meta-gradient (relative {worst:.1e})")
    return worst


def blocks(way: Loss, n_tasks: int, size: int) -> Iterator[None]:
    """Take `size` whole meta-steps each time the iterator is asked."""
    family, theta, alpha, generator = start(torch.float32)
    if way is ours:
        yield from meta_train(
            family, theta, alpha, META_SGD, iterations=10**9, meta_batch=n_tasks, shots=SHOTS,
            query_shots=QUERY_SHOTS, generator=generator, record_every=size,
        )
    leaves = [p.requires_grad_() for p in (*theta.values(), *alpha.values())]
    outer = torch.optim.Adam(leaves, lr=1e-3, fused=True)
    while True:
        for _ in range(size):
            tasks = family.sample_tasks(n_tasks, generator=generator)
            outer.zero_grad()
            way(family, theta, alpha, tasks, generator).backward()
            outer.step()
        yield


def time_ways(
    ways: dict[str, Loss], n_tasks: int, rounds: int, size: int = 20
) -> dict[str, list[float]]:
    """Return each way's seconds a meta-step, one figure a round, the ways taking turns.

    A turn is `size` steps long: a single step would start from the caches that the way before
    left behind, which no training does.
    """
    running = {name: blocks(way, n_tasks, size) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, block in running.items():
            began = time.perf_counter()
            next(block)
            if round_:  # the first warms up
                seconds[name].append((time.perf_counter() - began) / size)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[4, 25, 100])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ways = dict(WAYS)
    if importlib.util.find_spec("higher") is None:
        print("higher is not installed here: left out (pip install higher)")
        del ways["higher"]
    worst = check_agreement(ways)
    print(f"same meta-gradient in all ways: largest relative difference {worst:.1e}, float64")
    print(f"torch {torch.__version__}, one thread, {platform.machine()}, {args.rounds} rounds")
    print(f"{'tasks':>5}  {'way':<12}{'ms a step':>10}{'times ours':>12}   (medians)")
    report = []
    for n_tasks in args.tasks:
        seconds = time_ways(ways, n_tasks, args.rounds)
        for name, values in seconds.items():
            ratios = [a / b for a, b in zip(values, seconds["ours"], strict=True)]
            row = {"tasks": n_tasks, "way": name, "ms": 1e3 * statistics.median(values),
                   "ratio": statistics.median(ratios)}
            report.append(row)
            print(f"{n_tasks:>5}  {name:<12}{row['ms']:>10.2f}{row['ratio']:>12.2f}")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
