"""Ranges that the numbers of a task are drawn from."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

#: Lowest and highest value; equal ends fix the value.
Range = tuple[float, float]


def check_range(name: str, given: Range, *, positive: bool = False) -> None:
    """Refuse what is not two finite numbers in order (and above zero, where they must be).

    Raises
    ------
    ValueError
        Naming the quantity and the range given.
    """
    low, high = given
    if not -inf < low <= high < inf or (positive and low <= 0):
        raise ValueError(
            f"{name} must be a pair (lowest, highest) of finite "
            f"{'positive ' if positive else ''}numbers, got {given}"
        )


def draw(
    given: Range, size: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Draw uniformly from a range, on the generator's device."""
    low, high = given
    u = torch.rand(size, generator=generator, device=generator.device, dtype=dtype)
    return low + (high - low) * u
