"""What is said of the errors of many tasks, some of which may have exploded."""

from __future__ import annotations

from math import inf

from torch import Tensor, stack

#: What is kept of them.
STATISTICS = ("mean", "median", "exploded", "mean of the others")
#: A task whose error is not finite or above this has exploded: no curve is as far from 0.
EXPLODED = 100.0


def statistics(errors: Tensor) -> Tensor:
    """Return the `STATISTICS` over the last axis, ``(*batch, tasks)`` to ``(*batch, 4)``.

    What is not a number counts as infinite. NaN as the mean of the others: there are none.
    """
    errors = errors.double().nan_to_num(inf, inf)
    bad = errors > EXPLODED
    others = errors.where(~bad, 0.0).sum(-1) / (~bad).sum(-1)
    return stack([errors.mean(-1), errors.median(-1).values, bad.sum(-1).double(), others], -1)
