# ruff: noqa: F722 (axes in quotes are jaxtyping's words, not Python)
"""Shapes as signatures, enforced while the tests run.

Each contract below is an empty function whose signature says, in jaxtyping's words, which axes must
agree. While a test runs (conftest.py sees to it) it is called through beartype with what a function
of the package was given and what it returned; afterwards the package is as it was. (Contracts
and not annotations in the package: its parameters are dictionaries whose leaves differ in shape,
and its readers need neither library.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from beartype import beartype
from jaxtyping import Bool, Float, Shaped, jaxtyped
from torch import Tensor

from metasgd_core import CartPole, Navigation, Sinusoid, readers
from metasgd_core.policy_gradient import PolicyFamily, PolicyGradient
from metasgd_core.training import gradient

typed = jaxtyped(typechecker=beartype)


@typed
def tasks_contract(
    amplitude: Float[Tensor, "*batch"],
    frequency: Float[Tensor, "*batch"],
    phase: Float[Tensor, "*batch"],
) -> None: ...


@typed
def data_contract(
    amplitude: Float[Tensor, "*batch"],
    x: Float[Tensor, "*batch shots 1"],
    y: Float[Tensor, "*batch shots 1"],
) -> None: ...


@typed
def loss_contract(
    x: Float[Tensor, "*batch shots inputs"],
    y: Float[Tensor, "*batch shots outputs"],
    losses: Float[Tensor, "*batch"],
) -> None: ...


@typed
def carts_contract(
    length: Float[Tensor, "*batch"],
    masspole: Float[Tensor, "*batch"],
    masscart: Float[Tensor, "*batch"],
    force: Float[Tensor, "*batch"],
    gravity: Float[Tensor, "*batch"],
    side: Float[Tensor, "*batch"],
) -> None: ...


@typed
def goals_contract(x: Float[Tensor, "*batch"], y: Float[Tensor, "*batch"]) -> None: ...


@typed
def cartpole_data_contract(
    length: Float[Tensor, "*batch"],
    observation: Float[Tensor, "*batch episodes steps 4"],
    action: Float[Tensor, "*batch episodes steps"],
    reward: Float[Tensor, "*batch episodes steps"],
    mask: Bool[Tensor, "*batch episodes steps"],
) -> None: ...


@typed
def navigation_data_contract(
    x: Float[Tensor, "*batch"],
    observation: Float[Tensor, "*batch episodes steps 2"],
    action: Float[Tensor, "*batch episodes steps 2"],
    reward: Float[Tensor, "*batch episodes steps"],
    mask: Bool[Tensor, "*batch episodes steps"],
) -> None: ...


@typed
def of_each_step_contract(
    mask: Bool[Tensor, "*batch episodes steps"], value: Float[Tensor, "*batch episodes steps"]
) -> None: ...


@typed
def of_each_task_contract(
    mask: Bool[Tensor, "*batch episodes steps"], value: Float[Tensor, "*batch"]
) -> None: ...


@typed
def adapt_contract(
    theta: Float[Tensor, "*batch_and_shape"], phi: Float[Tensor, "*batch_and_shape"]
) -> None: ...


@typed
def meta_loss_contract(
    first_of_each: Shaped[Tensor, "*runs"], loss: Float[Tensor, "*runs"]
) -> None: ...


def _after(function: Callable, check: Callable) -> Callable:
    def checked(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        check(result, *args)
        return result

    return checked


def _adapted(phi: dict, loss: Any, theta: dict, *_: Any) -> None:
    assert phi.keys() == theta.keys()
    for name, p in theta.items():
        adapt_contract(p, phi[name])


@contextmanager
def enforced() -> Iterator[None]:
    """Hold every call that training and evaluation make to its contract, and then no longer."""
    with pytest.MonkeyPatch.context() as patch:
        _hold_all(patch)
        yield


def _hold_all(patch: pytest.MonkeyPatch) -> None:
    def hold(owner: Any, name: str, check: Callable) -> None:
        patch.setattr(owner, name, _after(getattr(owner, name), check))

    hold(Sinusoid, "sample_tasks", lambda tasks, *_: tasks_contract(*tasks))
    hold(Sinusoid, "sample_data", lambda data, _, tasks, *__: data_contract(tasks[0], *data))
    hold(Sinusoid, "loss", lambda losses, _, phi, data: loss_contract(*data, losses))
    hold(Sinusoid, "score", lambda losses, _, phi, data: loss_contract(*data, losses))
    hold(CartPole, "sample_tasks", lambda tasks, *_: carts_contract(*tasks))
    hold(Navigation, "sample_tasks", lambda tasks, *_: goals_contract(*tasks))
    hold(CartPole, "sample_data",
         lambda data, _, tasks, *__: cartpole_data_contract(tasks[0], *data))
    hold(Navigation, "sample_data",
         lambda data, _, tasks, *__: navigation_data_contract(tasks[0], *data))
    hold(PolicyGradient, "advantages",
         lambda values, _, data: of_each_step_contract(data.mask, values))
    for family in (CartPole, Navigation):
        hold(family, "log_prob",
             lambda values, _, phi, data: of_each_step_contract(data.mask, values))
    for name in ("loss", "score", "log_likelihood"):
        hold(PolicyFamily, name,
             lambda values, _, phi, data: of_each_task_contract(data.mask, values))
    hold(readers, "adapt", _adapted)
    hold(gradient, "meta_loss",
         lambda loss, _, theta, alpha, tasks, *__: meta_loss_contract(of_first(tasks, loss), loss))


def of_first(tasks: Any, loss: Tensor) -> Tensor:
    """Return one number of each run's first task: what follows the tasks' axis is the family's."""
    own = tasks[0].flatten(loss.ndim)
    return own[..., 0]
