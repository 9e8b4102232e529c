"""The shared vocabulary: parameters, data, and what a family of tasks must offer.

Every tensor of the package carries its batch axes on the left: ``(*batch, ...)``, where ``batch``
is ``(tasks,)`` or ``(*runs, tasks)``. A run is one whole meta-training (one seed, one setting of a
sweep); runs never see each other's numbers.
"""

from __future__ import annotations

from math import inf
from operator import index
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

#: Values of a model's parameters, keyed like ``module.named_parameters()``;
#: each leaf is ``(*batch, *shape of the parameter)``.
Params = dict[str, Tensor]


class Data(NamedTuple):
    """Labelled points of supervised tasks.

    Attributes
    ----------
    x : Tensor
        ``(*batch, shots, inputs)``.
    y : Tensor
        ``(*batch, shots, outputs)``.
    """

    x: Tensor
    y: Tensor


class Trajectories(NamedTuple):
    """Episodes that a policy has played in the tasks of a batch.

    Attributes
    ----------
    observation : Tensor
        ``(*batch, episodes, steps, observations)``: what the policy saw before each step.
    action : Tensor
        ``(*batch, episodes, steps, ...)``: what it did.
    reward : Tensor
        ``(*batch, episodes, steps)``: what the step brought; 0 after the end of an episode.
    mask : Tensor
        ``(*batch, episodes, steps)``, True for the steps that were taken. Episodes end at
        different times; the longest decides how many steps there are.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    mask: Tensor


class TaskFamily(Protocol):
    """A distribution over tasks, with what meta-learning needs to know of each.

    Attributes
    ----------
    model : nn.Module
        The architecture that meets the tasks; only its names and shapes are used.
    on_policy : bool
        Whether the data depend on the parameters that collect them. False for supervised tasks:
        K shots stay the same K shots over all inner steps. True for reinforcement learning, where
        every inner step collects afresh under the current parameters.
    one_draw : bool
        Whether a task's samples run out, so that support and query must come from one draw, in
        training and in evaluation. A family without this attribute is taken for False.
    score_name : str
        What `score` is, for an axis or a table.
    higher_is_better : bool
        Whether a higher score is a better one.

    Notes
    -----
    Where samples come in kinds, as the drawings of a few classes do, a *shot* is one of each kind:
    leaves of data are then ``(*batch, shots, kinds, ...)``, and every number of shots is balanced.
    """

    @property
    def model(self) -> nn.Module: ...

    on_policy: bool
    score_name: str
    higher_is_better: bool

    def sample_tasks(self, *batch: int, generator: torch.Generator) -> Any:
        """Draw independent tasks: a NamedTuple of tensors whose leading axes are `batch`.

        What follows the batch axes is the family's own business: ``(*batch, ...)``.
        """

    def sample_data(
        self, tasks: Any, phi: Params, shots: int, *, generator: torch.Generator
    ) -> Any:
        """Draw `shots` fresh samples a task: a NamedTuple of ``(*batch, shots, ...)`` tensors."""

    def loss(self, phi: Params, data: Any) -> Tensor:
        """Return one loss a task, ``(*batch,)``: the mean over that task's own samples."""

    def score(self, phi: Params, data: Any) -> Tensor:
        """Return what is reported for each task, ``(*batch,)``."""


def check_count(name: str, value: int, *, least: int = 1) -> None:
    """Refuse a count that is not a whole number of at least `least`.

    Raises
    ------
    ValueError
        Naming the count, the value given and the smallest value allowed.
    """
    try:
        wrong = isinstance(value, bool) or index(value) < least  # numpy's integers count, too
    except TypeError:
        wrong = True
    if wrong:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_like(name: str, given: Tensor, parameter: Tensor) -> None:
    """Refuse data of another dtype or on another device than the parameters.

    Raises
    ------
    ValueError
        Naming the data, both dtypes or devices, and the mend.
    """
    if given.dtype != parameter.dtype:
        raise ValueError(
            f"{name} is {given.dtype} but the parameters are {parameter.dtype}; convert one, "
            f"for example {name}.to({parameter.dtype})"
        )
    if given.device != parameter.device:
        raise ValueError(
            f"{name} is on {given.device} but the parameters are on {parameter.device}; move one, "
            "or draw both with generators of the same device"
        )


def check_number(name: str, value: float, *, positive: bool = False) -> None:
    """Refuse a number that is not finite, or negative, or (where it must be positive) zero.

    Raises
    ------
    ValueError
        Naming the number and the value given.
    """
    if not 0 <= value < inf or (positive and value == 0):
        raise ValueError(
            f"{name} must be a finite number {'above' if positive else 'of at least'} 0, "
            f"got {value!r}"
        )


def split(data: Any, axis: int, n: int) -> Any:
    """Return the samples in `n` groups of one size, ``(*batch, n, shots / n, ...)``.

    Parameters
    ----------
    data : NamedTuple of Tensor
        Leaves ``(*batch, shots, ...)``.
    axis : int
        Where the shots are: the number of batch axes.
    """
    return type(data)(*(leaf.unflatten(axis, (n, -1)) for leaf in data))


def take(data: Any, axis: int, start: int, n: int) -> Any:
    """Return `n` samples a task from `start` on, beginning again at the end.

    Parameters
    ----------
    data : NamedTuple of Tensor
        Leaves ``(*batch, shots, ...)``.
    axis : int
        Where the shots are: the number of batch axes.
    start, n : int
        The first one, and how many.
    """
    total = data[0].shape[axis]
    if start + n <= total:
        return type(data)(*(leaf.narrow(axis, start, n) for leaf in data))
    index = torch.arange(start, start + n, device=data[0].device) % total
    return type(data)(*(leaf.index_select(axis, index) for leaf in data))
