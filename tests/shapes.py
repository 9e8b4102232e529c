# ruff: noqa: F722 (axes in quotes are jaxtyping's words, not Python)
"""Shapes as signatures, enforced while the tests run.

Each contract below is an empty function whose signature says, in jaxtyping's words, which axes must
agree. Once switched on (cases.py does, which every test of the package imports), it is called
through beartype with what a function of the package was given and what it returned. (Contracts
and not annotations in the package: its parameters are dictionaries whose leaves differ in shape,
and its readers need neither library.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import Float, jaxtyped
from torch import Tensor

from metasgd_core import Sinusoid, evaluation, meta_training, objectives

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
def adapt_contract(
    theta: Float[Tensor, "*batch_and_shape"], phi: Float[Tensor, "*batch_and_shape"]
) -> None: ...


@typed
def meta_loss_contract(
    amplitude: Float[Tensor, "*runs tasks"], loss: Float[Tensor, "*runs"]
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


def switch_on() -> None:
    """Hold every call that training and evaluation make to its contract, from now on."""

    def hold(owner: Any, name: str, check: Callable) -> None:
        setattr(owner, name, _after(getattr(owner, name), check))

    hold(Sinusoid, "sample_tasks", lambda tasks, *_: tasks_contract(*tasks))
    hold(Sinusoid, "sample_data", lambda data, _, tasks, *__: data_contract(tasks[0], *data))
    hold(Sinusoid, "loss", lambda losses, _, phi, data: loss_contract(*data, losses))
    hold(Sinusoid, "score", lambda losses, _, phi, data: loss_contract(*data, losses))
    hold(objectives, "adapt", _adapted)
    hold(evaluation, "adapt", _adapted)
    hold(meta_training, "meta_loss",
         lambda loss, _, theta, alpha, tasks, *__: meta_loss_contract(tasks[0], loss))
