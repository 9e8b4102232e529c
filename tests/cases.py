"""What several tests share: generators, small families, a plain copy of the inner loop."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from metasgd_core import (
    MLP,
    CartPole,
    Data,
    GaussianMLP,
    Navigation,
    Params,
    Sinusoid,
    Trajectories,
    init_alpha,
    init_theta,
)

#: Two statements of "the same number" in float64: the first for one derivative or one step, the
#: second for a whole training, where rounding has had time to grow.
STEP = {"rtol": 1e-12, "atol": 1e-12}
TRAINING = {"rtol": 1e-9, "atol": 1e-10}
EXACT = {"rtol": 0, "atol": 0}


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def used(seed: int) -> torch.Generator:
    """Return a generator of that seed from which something has been drawn."""
    generator = gen(seed)
    torch.rand(5, generator=generator)
    return generator


def sines(*sizes: int, activation: str = "relu", dtype: torch.dtype = torch.float64) -> Sinusoid:
    """Return the fixed-frequency family with a small network, in float64 unless told otherwise."""
    return Sinusoid(MLP(sizes or (1, 4, 4, 1), activation).to(dtype))


def carts(dtype: torch.dtype = torch.float64, **changes: Any) -> CartPole:
    """Return strong carts with a small policy: most episodes of 12 steps end before."""
    settings: dict[str, Any] = {
        "length": (0.25, 1.0), "masspole": (0.05, 0.5), "force": (20.0, 40.0), "swapped": True,
        "horizon": 12,
    }
    return CartPole(MLP((4, 5, 2), "tanh").to(dtype), **(settings | changes))


def walks(dtype: torch.dtype = torch.float64, **changes: Any) -> Navigation:
    """Return the plane with a small policy and short episodes, in float64."""
    return Navigation(GaussianMLP((2, 5, 2), "tanh", -1.0).to(dtype), **({"horizon": 8} | changes))


def recorded(family: Any) -> tuple[Any, list[Trajectories]]:
    """Return the family, and a list to which it adds all that it plays."""
    played = []

    class Recorded(type(family)):
        def sample_data(self, *args: Any, **kwargs: Any) -> Trajectories:
            played.append(super().sample_data(*args, **kwargs))
            return played[-1]

    return Recorded(**{f.name: getattr(family, f.name) for f in fields(family)}), played


def start(
    family: Any, shape: str = "entry", rate: float = 0.05, runs: tuple[int, ...] = ()
) -> tuple[Params, Params]:
    """Return a first theta and a constant alpha of the given shape."""
    theta = init_theta(family.model, generator=gen(1), runs=runs)
    return theta, init_alpha(theta, shape, rate, runs=runs)


def signed_alpha(theta: Params, seed: int = 5, size: float = 0.1) -> Params:
    """Return rates of both signs, another one for every entry."""
    g = gen(seed)
    return {
        name: size * torch.randn(p.shape, generator=g, dtype=p.dtype) for name, p in theta.items()
    }


def of_task(params: Params, *index: int) -> Params:
    return {name: p[index] for name, p in params.items()}


def wanted(params: Params) -> Params:
    """Copy parameters and ask for their gradients."""
    return {name: p.detach().clone().requires_grad_() for name, p in params.items()}


def gradients(value: Tensor, *groups: Params) -> list[Params]:
    """Differentiate a scalar with respect to several sets of parameters."""
    leaves = [p for group in groups for p in group.values()]
    flat = iter(torch.autograd.grad(value, leaves))
    return [{name: next(flat) for name in group} for group in groups]


@dataclass
class Quadratic:
    """A task is a bowl with its lowest point at c: L(w) = 1/2 (w - c)^T H (w - c)."""

    hessian: Tensor

    def loss(self, phi: Params, centre: Tensor) -> Tensor:
        gap = phi["w"] - centre
        return 0.5 * torch.einsum("...i,ij,...j->...", gap, self.hessian, gap)


@dataclass
class OneOfRuns:
    """A family that draws for `runs` runs at once but shows only those that `pick` names.

    Trained with ``pick=1``, a theta without run axes meets exactly the tasks and points that run 1
    meets when all of them train together (``pick=slice(None)``). `poison` names a run and the
    meta-iteration whose data are NaN for it.
    """

    family: Sinusoid
    runs: int
    pick: int | slice
    poison: tuple[int, int] | None = None
    on_policy: bool = False
    met: list[Tensor] = field(default_factory=list, repr=False)

    @property
    def model(self) -> torch.nn.Module:
        return self.family.model

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> Any:
        self.all_tasks = self.family.sample_tasks(self.runs, batch[-1], generator=generator)
        tasks = type(self.all_tasks)(*(part[self.pick] for part in self.all_tasks))
        self.met.append(tasks.amplitude)
        return tasks

    def sample_data(
        self, tasks: Any, phi: Any, shots: int, *, generator: torch.Generator
    ) -> Data:
        x, y = self.family.sample_data(self.all_tasks, phi, shots, generator=generator)
        if self.poison is not None and len(self.met) == self.poison[1]:
            y = y.clone()
            y[self.poison[0]] = torch.nan
        return Data(x[self.pick], y[self.pick])

    def loss(self, phi: Params, data: Data) -> Tensor:
        return self.family.loss(phi, data)

    score = loss
