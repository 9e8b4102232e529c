"""The ways to take a Meta-SGD meta-step that ``bench.py`` times, all but JAX's (``bench_jax.py``).

A way is a pair: its training, which takes a block of whole meta-steps (data, meta-gradient, Adam)
whenever it is asked, and its meta-gradient on points that are given, by which all are compared
before any is timed. Loops over tasks work on the module's own parameters, as the two libraries
for such loops want it; the ways of this package are timed through ``meta_train`` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import linear, mse_loss
from torch.utils._python_dispatch import TorchDispatchMode

from metasgd_core import META_SGD, MLP, Data, Params, Sinusoid, init_alpha, init_theta, meta_train
from metasgd_core.training.draws import CHUNK

SHOTS = QUERY_SHOTS = 10
LR = 1e-3


class Way(NamedTuple):
    """One way to take a meta-step."""

    #: (tasks, runs, block) -> an iterator that takes `block` meta-steps each time
    train: Callable[[int, int, int], Iterator[Any]]
    #: (theta, alpha, points) -> d theta and d alpha, flat and joined; None for a part of a step
    gradient: Callable[[Params, Params, Data], Tensor] | None = None
    #: meta-steps in a block. A compiled training draws its data for CHUNK of them at once.
    block: int = 1
    #: whether it trains several runs at once, and whether it compiles before the first step
    runs: bool = False
    compiles: bool = False


def start(dtype: torch.dtype, runs: int = 1) -> tuple[Params, Params, torch.Generator]:
    """Return the theta, the alpha and the generator from which every way sets out."""
    generator = torch.Generator().manual_seed(0)
    axes = (runs,) if runs > 1 else ()
    theta = init_theta(MLP(), generator=generator, runs=axes, dtype=dtype)
    return theta, init_alpha(theta, "entry", 0.02, runs=axes), generator


def flat(*parts: Params) -> Tensor:
    return torch.cat([leaf.flatten() for part in parts for leaf in part.values()])


@dataclass(frozen=True)
class Given(Sinusoid):
    """The same points every time, whoever asks."""

    points: Data | None = None

    def sample_data(self, tasks: Any, phi: Any, shots: int, *, generator: torch.Generator) -> Data:
        batch = tasks.amplitude.shape
        return Data(*(leaf.expand(*batch, *leaf.shape[1:]) for leaf in self.points))


def ours(compiled: bool) -> Way:
    """The package: one batched inner gradient; compiled or not."""

    def run(family: Sinusoid, theta: Params, alpha: Params, **settings: Any) -> Iterator[Any]:
        return meta_train(
            family, theta, alpha, META_SGD, shots=SHOTS, query_shots=QUERY_SHOTS,
            compiled=compiled, **settings,
        )

    def train(n_tasks: int, runs: int, block: int) -> Iterator[None]:
        theta, alpha, generator = start(torch.float32, runs)
        return run(
            Sinusoid(), theta, alpha, iterations=10**9, meta_batch=n_tasks, lr=LR,
            generator=generator, record_every=block,
        )

    def gradient(theta: Params, alpha: Params, points: Data) -> Tensor:
        # One step of plain descent with rate 1 moves by the gradient: the same formula as is timed.
        family = Given(MLP().to(points.x.dtype), points=points)
        (end,) = run(
            family, theta, alpha, iterations=1, meta_batch=len(points.x), lr=1.0,
            optimizer=torch.optim.SGD, generator=torch.Generator(),
        )
        return flat(theta, alpha) - flat(end.theta, end.alpha)

    return Way(train, gradient, CHUNK if compiled else 16, runs=True, compiles=compiled)


def data_alone(chunks: bool) -> Way:
    """Only the data of a meta-step, as ours draws them: one step's at a time, or a chunk's."""

    def train(n_tasks: int, runs: int, block: int) -> Iterator[None]:
        family, generator = Sinusoid(), start(torch.float32)[2]
        batch = (block, n_tasks) if chunks else (n_tasks,)
        while True:
            for _ in range(1 if chunks else block):
                tasks = family.sample_tasks(*batch, generator=generator)
                points = family.sample_data(tasks, None, SHOTS + QUERY_SHOTS, generator=generator)
                if chunks:
                    points = list(zip(*(leaf.unbind() for leaf in points), strict=True))
            yield

    return Way(train, block=CHUNK)


def adam_alone(packed: bool) -> Way:
    """Only the outer step: on theta's and alpha's six tensors each, or on one each."""

    def train(n_tasks: int, runs: int, block: int) -> Iterator[None]:
        theta, alpha, _ = start(torch.float32)
        leaves = [flat(theta), flat(alpha)] if packed else [*theta.values(), *alpha.values()]
        for leaf in leaves:
            leaf.grad = torch.ones_like(leaf)
        outer = torch.optim.Adam(leaves, lr=LR, fused=True)
        while True:
            for _ in range(block):
                outer.step()
            yield

    return Way(train, block=CHUNK)


#: The parts of a meta-step that can be timed alone. Compiled, ours takes Adam's step in the same
#: call as the gradient; alone it shows what a call of its own would take.
PARTS = {
    "data, ours, eager": data_alone(chunks=False), "data, ours, compiled": data_alone(chunks=True),
    "Adam, ours, eager": adam_alone(packed=False), "Adam, ours, compiled": adam_alone(packed=True),
}


def by_backward(meta_loss: Callable[[nn.Module, Params, Data], Tensor]) -> Way:
    """A meta-loss with a graph back to the module's parameters and alpha; one run at a time."""

    def begin(theta: Params, alpha: Params) -> tuple[nn.Module, Params, list[Tensor]]:
        net = MLP().to(next(iter(theta.values())).dtype)
        net.load_state_dict(theta)
        alpha = {name: a.clone().requires_grad_() for name, a in alpha.items()}
        return net, alpha, [*net.parameters(), *alpha.values()]

    def gradient(theta: Params, alpha: Params, points: Data) -> Tensor:
        net, alpha, leaves = begin(theta, alpha)
        grads = torch.autograd.grad(meta_loss(net, alpha, points), leaves)
        return torch.cat([g.flatten() for g in grads])

    def train(n_tasks: int, runs: int, block: int) -> Iterator[None]:
        family = Sinusoid()
        theta, alpha, generator = start(torch.float32, runs)
        net, alpha, leaves = begin(theta, alpha)
        outer = torch.optim.Adam(leaves, lr=LR, fused=True)
        while True:
            for _ in range(block):
                tasks = family.sample_tasks(n_tasks, generator=generator)
                points = family.sample_data(
                    tasks, None, SHOTS + QUERY_SHOTS, generator=generator
                )
                outer.zero_grad()
                meta_loss(net, alpha, points).backward()
                outer.step()
            yield

    return Way(train, gradient)


def plain_loop(
    net: nn.Module, alpha: Params, points: Data, predict: Callable[..., Tensor] = functional_call
) -> Tensor:
    """The textbook: a Python loop over tasks, ``autograd.grad`` in each."""
    theta = dict(net.named_parameters())
    losses = []
    for x, y in zip(*points, strict=True):
        loss = mse_loss(predict(net, theta, (x[:SHOTS],)), y[:SHOTS])
        grads = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        phi = {n: p - alpha[n] * g for (n, p), g in zip(theta.items(), grads, strict=True)}
        losses.append(mse_loss(predict(net, phi, (x[SHOTS:],)), y[SHOTS:]))
    return torch.stack(losses).mean()


def lean_loop(net: nn.Module, alpha: Params, points: Data) -> Tensor:
    """The same loop, with the network written out as a function instead of called as a module."""

    def predict(net: nn.Module, phi: Params, inputs: tuple[Tensor]) -> Tensor:
        (h,) = inputs
        for depth in range(len(phi) // 2):
            h = torch.relu(h) if depth else h
            h = linear(h, phi[f"layers.{depth}.weight"], phi[f"layers.{depth}.bias"])
        return h

    return plain_loop(net, alpha, points, predict)


def torch_func(net: nn.Module, alpha: Params, points: Data) -> Tensor:
    """``torch.func``: the loss of one task, ``grad`` of it, ``vmap`` over tasks."""
    theta = dict(net.named_parameters())

    def loss(phi: Params, x: Tensor, y: Tensor) -> Tensor:
        return mse_loss(functional_call(net, phi, (x,)), y)

    def task_loss(x: Tensor, y: Tensor) -> Tensor:
        grads = grad(loss)(theta, x[:SHOTS], y[:SHOTS])
        phi = {name: p - alpha[name] * grads[name] for name, p in theta.items()}
        return loss(phi, x[SHOTS:], y[SHOTS:])

    return vmap(task_loss)(*points).mean()


def with_higher(net: nn.Module, alpha: Params, points: Data) -> Tensor:
    """``higher``: a functional copy of the module and of its optimiser for each task.

    Its SGD takes one rate a tensor; a rate an entry enters as a rescaling of the gradients.
    """
    import higher

    def scale(grads: list[Tensor]) -> list[Tensor]:
        return [a * g for a, g in zip(alpha.values(), grads, strict=True)]

    inner = torch.optim.SGD(net.parameters(), lr=1.0)
    losses = []
    for x, y in zip(*points, strict=True):
        with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (copy, unrolled):
            unrolled.step(mse_loss(copy(x[:SHOTS]), y[:SHOTS]), grad_callback=scale)
            losses.append(mse_loss(copy(x[SHOTS:]), y[SHOTS:]))
    return torch.stack(losses).mean()


def with_torchopt(net: nn.Module, alpha: Params, points: Data) -> Tensor:
    """TorchOpt: its differentiable optimiser steps the module, which is set back for each task.

    What it calls MetaSGD is differentiable SGD with one rate for all. A rate an entry is a
    transformation of the gradients of one's own, in the optimiser that MetaSGD is built on.
    """
    import torchopt
    from torchopt.base import GradientTransformation

    rates = {p: alpha[name] for name, p in net.named_parameters()}

    def descend(grads: Any, state: Any, *, params: Any, inplace: bool) -> tuple[Any, Any]:
        return tuple(-rates[p] * g for p, g in zip(params, grads, strict=True)), state

    inner = torchopt.MetaOptimizer(net, GradientTransformation(lambda params: (), descend))
    theta = torchopt.extract_state_dict(net)
    losses = []
    for x, y in zip(*points, strict=True):
        inner.step(mse_loss(net(x[:SHOTS]), y[:SHOTS]))
        losses.append(mse_loss(net(x[SHOTS:]), y[SHOTS:]))
        torchopt.recover_state_dict(net, theta)
    return torch.stack(losses).mean()


#: The peers, and the package that each needs.
PEERS = {
    "higher": "higher", "TorchOpt": "torchopt", "JAX jit": "jax", "JAX jit, packed": "jax",
    "JAX scan": "jax",
}


def ways() -> dict[str, Way]:
    """Return every way there is, without the peers that are not installed."""
    found = {
        "ours, eager": ours(compiled=False),
        "ours, compiled": ours(compiled=True),
        "plain loop": by_backward(plain_loop),
        "lean loop": by_backward(lean_loop),
        "torch.func": by_backward(torch_func),
        "higher": by_backward(with_higher),
        "TorchOpt": by_backward(with_torchopt),
    }
    absent = missing()
    if "jax" not in absent:
        found |= import_module("bench_jax").WAYS
    return {name: way for name, way in found.items() if PEERS.get(name) not in absent}


class Dispatched(TorchDispatchMode):
    """Counts the operations that reach PyTorch's kernels and views, below autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return operation(*args, **(kwargs or {}))


def operations(way: Way, n_tasks: int) -> int:
    """Return how many operations one meta-step of a way that does not compile dispatches."""
    steps = way.train(n_tasks, 1, 1)
    next(steps)  # the first also makes Adam's moments
    with Dispatched() as dispatched:
        next(steps)
    return dispatched.count


def missing() -> list[str]:
    """Return the packages of peers that are not installed here."""
    needed = dict.fromkeys(PEERS.values()) | {"optax": None}
    return [package for package in needed if find_spec(package) is None]
